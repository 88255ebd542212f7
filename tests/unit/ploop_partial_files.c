/* Partial clusters in files: on each backend; after the death of their server (D2); and a dead server's table of them
 * that cannot be (D9). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ploop/disk.h"
#include "ploop/partial.h"
#include "tests/support/other_process.h"
#include "tests/support/rig.h"

#define CLUSTERS 8u
#define UNITS	 (RIG_CLUSTER_BYTES / LAY_UNIT_BYTES)
#define LEFT	 5u /* clusters that the dead server had written to */

static char dir[64], holder[512];
static struct pl_loop *loop;

static void setup(void)
{
	const char *build = getenv("BUILD");
	snprintf(holder, sizeof(holder), "%s/ploop-holder", build ? build : "build/release");
	snprintf(dir, sizeof(dir), "/tmp/partial-XXXXXX");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
}

static void path_of(uint32_t image, char out[128])
{
	snprintf(out, 128, "%s/level-%u", dir, image);
}

static void remove_images(uint32_t n)
{
	char path[128];
	for (uint32_t i = 0; i < n; i++) {
		path_of(i, path);
		unlink(path);
	}
	rmdir(dir);
}

TestSuite(ploop_partial_files, .init = setup, .timeout = 120);

/* ---- backends */

static void on(enum pl_backend backend)
{
	struct pl_loop_options o = {.size = sizeof(o), .backend = backend};
	struct rig_shape shape = {.version = 2, .clusters = 24, .depth = 2, .full_base = true, .dir = dir};
	cr_assert(eq(int, pl_loop_new(&o, &loop), 0), "%s", pl_error());
	struct rig *r = rig_new(loop, &shape, prng_seed(1));
	r->small_percent = 70;
	for (int life = 0; life < 4; life++) {
		cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
		cr_assert(rig_run(r, 60) && rig_drain(r), "%s", r->why);
		cr_expect(r->disk->writer->partials->count > 0);
		cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
		rig_switch(r, NULL);
		cr_assert(rig_run(r, 40) && rig_wait(r), "%s", r->why);
		if (life % 2)
			rig_finish(r);
		cr_assert(rig_wait(r) && rig_drain(r) && rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
		cr_assert(eq(int, rig_leave(r), 0), "%s", pl_error());
	}
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	cr_expect(r->disk->writer->partials->count == 0, "the last life finished them");
	cr_expect(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_expect(zero(int, rig_close(r)));
	uint32_t files = r->files;
	rig_free(r);
	pl_loop_free(loop);
	remove_images(files);
}

Test(ploop_partial_files, work_on_threads)
{
	on(PL_BACKEND_PLAIN);
}

Test(ploop_partial_files, work_on_what_the_kernel_offers)
{
	on(PL_BACKEND_AUTO);
}

/* ---- a dead server */

static int open_disk(uint32_t flags, size_t images, struct pl_disk **out)
{
	char paths[2][128];
	struct pl_image_ref refs[2] = {{.path = paths[0], .dir_fd = -1}, {.path = paths[1], .dir_fd = -1}};
	struct pl_chain_spec spec = {.size = sizeof(spec), .images = refs, .count = images};
	struct pl_open_options options = {.size = sizeof(options), .flags = flags, .holder_program = holder};
	path_of(0, paths[0]);
	path_of(1, paths[1]);
	if (!loop)
		invariant(pl_loop_new(NULL, &loop) == 0);
	return pl_disk_open(loop, &spec, &options, out);
}

static void write_unit(struct pl_disk *d, uint32_t g, uint32_t unit, uint8_t byte)
{
	uint8_t data[LAY_UNIT_BYTES];
	memset(data, byte, sizeof(data));
	invariant(pl_write(d, data, sizeof(data), (uint64_t)g * RIG_CLUSTER_BYTES + unit * LAY_UNIT_BYTES, 0) == 0);
}

static void expect_unit(struct pl_disk *d, uint32_t g, uint32_t unit, uint8_t byte)
{
	uint8_t got[LAY_UNIT_BYTES];
	invariant(pl_read(d, got, sizeof(got), (uint64_t)g * RIG_CLUSTER_BYTES + unit * LAY_UNIT_BYTES) == 0);
	for (uint32_t i = 0; i < sizeof(got); i++)
		cr_assert(eq(u8, got[i], byte), "cluster %u, unit %u, byte %u", g, unit, i);
}

static void serve_and_die(void *arg)
{
	(void)arg;
	struct pl_disk *d;
	loop = NULL;
	invariant(open_disk(0, 2, &d) == 0);
	for (uint32_t g = 0; g < LEFT; g++)
		write_unit(d, g, g, (uint8_t)(100 + g));
}

static void close_disk(struct pl_disk *d)
{
	cr_assert(eq(int, pl_disk_close(d), 0), "%s", pl_error());
}

/* A base full of 1, and above it what a server that is dead had acknowledged. */
static void make_dead_server(void)
{
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = CLUSTERS * RIG_CLUSTER_SECTORS,
		.cluster_sectors = RIG_CLUSTER_SECTORS,
	};
	char path[128];
	for (uint32_t i = 0; i < 2; i++) {
		path_of(i, path);
		cr_assert(eq(int, pl_image_create(path, &o), 0), "%s", pl_error());
	}
	struct pl_disk *d;
	cr_assert(eq(int, open_disk(0, 1, &d), 0), "%s", pl_error());
	for (uint32_t i = 0; i < CLUSTERS * UNITS; i++)
		write_unit(d, i / UNITS, i % UNITS, 1);
	close_disk(d);
	pl_loop_free(loop);
	loop = NULL;
	struct other_process p = other_process_start(serve_and_die, NULL);
	other_process_kill_later(&p, 0);
	other_process_reap(&p);
}

static void expect_all(struct pl_disk *d)
{
	cr_expect(eq(u32, d->writer->partials->count, LEFT));
	for (uint32_t g = 0; g < CLUSTERS; g++)
		for (uint32_t unit = 0; unit < UNITS; unit++)
			expect_unit(d, g, unit, g == unit && g < LEFT ? (uint8_t)(100 + g) : 1);
}

/* Nothing was flushed: but for the holder's table there is no trace of them. */
Test(ploop_partial_files, D2_they_survive_their_server)
{
	struct pl_disk *d;
	make_dead_server();
	for (uint32_t peek = 0; peek <= PL_OPEN_PEEK; peek += PL_OPEN_PEEK) {
		cr_assert(eq(int, open_disk(PL_OPEN_READONLY | peek, 2, &d), 0), "%s", pl_error());
		expect_all(d);
		close_disk(d);
	}
	cr_assert(eq(int, open_disk(0, 2, &d), 0), "%s", pl_error());
	expect_all(d);
	close_disk(d);
	pl_loop_free(loop);
	remove_images(2);
}

/* ---- tables that cannot be true */

struct table {
	struct store *store;
	struct survive survive;
	struct partial_shm *shm;
};

static struct table take_table(void)
{
	struct table t = {0};
	char path[128];
	path_of(1, path);
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	cr_assert(eq(int, store_file_open(loop, &ref, true, &t.store), 0), "%s", pl_error());
	cr_assert(eq(int, survive_attach(t.store, CLUSTERS, RIG_CLUSTER_SECTORS, holder, &t.survive), 0), "%s",
		  pl_error());
	cr_assert(t.survive.inherited);
	t.shm = pending_partials(t.survive.shm);
	cr_assert(eq(u32, t.shm->end, LEFT));
	return t;
}

/* It keeps what we made of it. */
static void give_table(struct table *t)
{
	survive_detach(&t->survive, false);
	store_close(t->store);
}

Test(ploop_partial_files, D9_a_table_that_cannot_be_is_refused)
{
	make_dead_server();
	invariant(pl_loop_new(NULL, &loop) == 0);
	struct table t = take_table();
	const uint64_t good = *partial_shm_cell(t.shm, 1), other = *partial_shm_cell(t.shm, 2);
	const uint64_t bits = partial_shm_cell(t.shm, 1)[1];
	const struct gclu g = partial_word_guest(good);
	const struct fclu f = partial_word_file(good);
	const struct {
		const char *what;
		uint64_t word, bits;
		bool readers;
	} bad[] = {
		{"a guest cluster outside the disk", partial_word((struct gclu){CLUSTERS}, f), bits, true},
		{"a file cluster of the header", partial_word(g, (struct fclu){0}), bits, true},
		{"a file cluster behind the end", partial_word(g, (struct fclu){1000}), bits, true},
		{"no unit", good, 0, true},
		{"a unit that no cluster has", good, bits | UINT64_C(1) << UNITS, true},
		{"a guest cluster twice", partial_word(partial_word_guest(other), f), bits, true},
		{"a file cluster twice", partial_word(g, partial_word_file(other)), bits, false},
	};
	give_table(&t);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct pl_disk *d;
		t = take_table();
		partial_shm_cell(t.shm, 1)[0] = bad[i].word;
		partial_shm_cell(t.shm, 1)[1] = bad[i].bits;
		give_table(&t);
		cr_expect(eq(int, open_disk(0, 2, &d), -EUCLEAN), "%s", bad[i].what);
		if (bad[i].readers)
			cr_expect(eq(int, open_disk(PL_OPEN_READONLY, 2, &d), -EUCLEAN), "%s", bad[i].what);
	}
	t = take_table();
	partial_shm_cell(t.shm, 1)[0] = good;
	partial_shm_cell(t.shm, 1)[1] = bits;
	give_table(&t);
	struct pl_disk *d;
	cr_assert(eq(int, open_disk(0, 2, &d), 0), "refused, nothing of it was changed: %s", pl_error());
	expect_all(d);
	close_disk(d);
	pl_loop_free(loop);
	remove_images(2);
}
