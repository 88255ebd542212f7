/* D2: what a killed process had acknowledged is there for the next one, flushed or not; and a table of changes that
 * cannot be true is refused with a sentence. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "layout/header.h"
#include "ploop/disk.h"
#include "tests/support/model.h"
#include "tests/support/other_process.h"

#define CLUSTERS	40u
#define CLUSTER_SECTORS 64u
#define CLUSTER_BYTES	(CLUSTER_SECTORS * SECTOR_BYTES)
#define IN_USE_OFFSET	44

static char base_path[512], top_path[512], holder[512];
static struct pl_loop *loop;

static void make_image(const char *path)
{
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = CLUSTERS * CLUSTER_SECTORS,
		.cluster_sectors = CLUSTER_SECTORS,
	};
	cr_assert(eq(int, pl_image_create(path, &o), 0), "%s", pl_error());
}

static void setup(void)
{
	const char *dir = getenv("TMPDIR"), *build = getenv("BUILD");
	snprintf(holder, sizeof(holder), "%s/ploop-holder", build ? build : "build/release");
	snprintf(base_path, sizeof(base_path), "%s/base-%d", dir ? dir : "/tmp", (int)getpid());
	snprintf(top_path, sizeof(top_path), "%s/top-%d", dir ? dir : "/tmp", (int)getpid());
	make_image(base_path);
	make_image(top_path);
}

static void teardown(void)
{
	unlink(base_path);
	unlink(top_path);
}

TestSuite(ploop_survive, .init = setup, .fini = teardown, .timeout = 60);

static int open_disk(uint32_t flags, struct pl_disk **out)
{
	if (!loop)
		cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	struct pl_image_ref refs[] = {
		{.path = base_path, .dir_fd = -1},
		{.path = top_path, .dir_fd = -1},
	};
	struct pl_chain_spec spec = {.size = sizeof(spec), .images = refs, .count = 2};
	struct pl_open_options options = {.size = sizeof(options), .flags = flags, .holder_program = holder};
	return pl_disk_open(loop, &spec, &options, out);
}

static struct pl_disk *must_open(uint32_t flags)
{
	struct pl_disk *d;
	cr_assert(eq(int, open_disk(flags, &d), 0), "%s", pl_error());
	return d;
}

static void must_close(struct pl_disk *d)
{
	cr_assert(eq(int, pl_disk_close(d), 0), "%s", pl_error());
	pl_loop_free(loop);
	loop = NULL;
}

static void write_cluster(struct pl_disk *d, uint32_t g, uint32_t id)
{
	static uint8_t buf[CLUSTER_BYTES];
	model_fill(buf, g * CLUSTER_SECTORS, CLUSTER_SECTORS, id);
	invariant(pl_write(d, buf, CLUSTER_BYTES, (uint64_t)g * CLUSTER_BYTES, 0) == 0);
}

static void expect_cluster(struct pl_disk *d, uint32_t g, uint32_t id)
{
	static uint8_t want[CLUSTER_BYTES], got[CLUSTER_BYTES];
	model_fill(want, g * CLUSTER_SECTORS, CLUSTER_SECTORS, id);
	cr_assert(eq(int, pl_read(d, got, CLUSTER_BYTES, (uint64_t)g * CLUSTER_BYTES), 0), "%s", pl_error());
	cr_expect(zero(int, memcmp(want, got, CLUSTER_BYTES)), "cluster %u", g);
}

/* The name of the holder's socket, as survive.h tells it. */
static void socket_path(char *out, size_t n)
{
	struct stat st;
	char dir[256];
	cr_assert(eq(int, pl_run_dir(dir, sizeof(dir)), 0), "%s", pl_error());
	cr_assert(eq(int, stat(top_path, &st), 0));
	snprintf(out, n, "%s/hold-%llx-%llu", dir, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
}

static bool holder_is_there(void)
{
	char path[512];
	socket_path(path, sizeof(path));
	return access(path, F_OK) == 0;
}

/* ---- life after death */

static void serve_and_die(void *arg)
{
	uint32_t life = *(uint32_t *)arg;
	loop = NULL;
	struct pl_disk *d;
	if (open_disk(0, &d) < 0)
		_exit(1);
	for (uint32_t g = 0; g < CLUSTERS / 2; g++)
		write_cluster(d, g, life);
	write_cluster(d, CLUSTERS / 2 + life, life);
	if (life == 2) {
		invariant(pl_flush(d) == 0);
		invariant(pl_discard(d, CLUSTER_BYTES, 0) == 0);
		invariant(pl_write_zeroes(d, CLUSTER_BYTES, CLUSTER_BYTES, 0) == 0);
		write_cluster(d, 0, 77);
	}
}

static void live_once(uint32_t life)
{
	struct other_process p = other_process_start(serve_and_die, &life);
	other_process_kill_later(&p, 0);
	other_process_reap(&p);
}

Test(ploop_survive, D2_acknowledged_writes_survive_a_kill)
{
	live_once(1);
	cr_expect(holder_is_there());
	struct pl_disk *d = must_open(0);
	for (uint32_t g = 0; g < CLUSTERS / 2; g++)
		expect_cluster(d, g, 1);
	must_close(d);
	cr_expect(not(holder_is_there()));
	d = must_open(PL_OPEN_READONLY);
	expect_cluster(d, 7, 1);
	must_close(d);
}

Test(ploop_survive, D2_several_deaths_lose_nothing)
{
	live_once(1);
	live_once(3);
	live_once(2);
	struct pl_disk *d = must_open(0);
	expect_cluster(d, 0, 77);
	expect_cluster(d, 1, MODEL_ZEROS);
	expect_cluster(d, 5, 2);
	expect_cluster(d, CLUSTERS / 2 + 1, 1);
	expect_cluster(d, CLUSTERS / 2 + 2, 2);
	expect_cluster(d, CLUSTERS / 2 + 3, 3);
	must_close(d);
	cr_expect(not(holder_is_there()));
}

Test(ploop_survive, D2_readers_see_what_a_dead_server_left)
{
	live_once(1);
	for (int peek = 0; peek <= 1; peek++) {
		struct pl_disk *d = must_open(PL_OPEN_READONLY | (peek ? PL_OPEN_PEEK : 0));
		expect_cluster(d, 3, 1);
		must_close(d);
	}
	cr_expect(holder_is_there());
	must_close(must_open(0));
}

Test(ploop_survive, D2_peek_sees_what_a_live_server_has)
{
	uint32_t life = 1;
	struct other_process p = other_process_start(serve_and_die, &life);
	struct pl_disk *d = must_open(PL_OPEN_READONLY | PL_OPEN_PEEK);
	expect_cluster(d, 3, 1);
	must_close(d);
	other_process_kill_later(&p, 0);
	other_process_reap(&p);
	must_close(must_open(0));
}

Test(ploop_survive, a_failed_start_of_the_holder_is_told)
{
	struct pl_disk *d;
	snprintf(holder, sizeof(holder), "/nonexistent/holder");
	cr_expect(lt(int, open_disk(0, &d), 0));
	cr_expect(ne(ptr, (void *)strstr(pl_error(), "/nonexistent/holder"), NULL), "%s", pl_error());
	cr_expect(not(holder_is_there()));
	pl_loop_free(loop);
}

/* A holder that ends who starts it, before it begins. */
static void write_deadly_holder(char *path, size_t n)
{
	snprintf(path, n, "%s.holder", top_path);
	FILE *script = fopen(path, "w");
	cr_assert(ne(ptr, script, NULL));
	fprintf(script, "#!/bin/sh\nkill -KILL $PPID\nexec '%s' \"$@\"\n", holder);
	fclose(script);
	cr_assert(eq(int, chmod(path, 0700), 0));
}

Test(ploop_survive, a_holder_waits_for_nobody_when_its_server_died_at_once)
{
	char script[sizeof(holder)];
	write_deadly_holder(script, sizeof(script));
	snprintf(holder, sizeof(holder), "%s", script);
	pid_t server = fork();
	if (server == 0) {
		struct pl_disk *d;
		_exit(open_disk(0, &d) < 0);
	}
	cr_expect(eq(int, child_wait(server), -1), "it was not killed");
	for (int i = 0; i < 1000 && holder_is_there(); i++)
		usleep(10000);
	cr_expect(not(holder_is_there()));
	unlink(script);
}

/* ---- tables that cannot be true */

struct table {
	struct store *store;
	struct survive survive;
};

static void mark_in_use(void)
{
	uint8_t bytes[4];
	autofd int fd = open(top_path, O_WRONLY);
	store_le32(bytes, LAY_IN_USE);
	cr_assert(eq(int, (int)pwrite(fd, bytes, sizeof(bytes), IN_USE_OFFSET), (int)sizeof(bytes)));
}

/* A holder with a table of our own making. */
static struct table hold_table(uint32_t guest_clusters, uint64_t word)
{
	struct table t = {0};
	struct pl_image_ref ref = {.path = top_path, .dir_fd = -1};
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	cr_assert(eq(int, store_file_open(loop, &ref, true, &t.store), 0), "%s", pl_error());
	cr_assert(eq(int, survive_attach(t.store, guest_clusters, CLUSTER_SECTORS, holder, &t.survive), 0), "%s",
		  pl_error());
	t.survive.shm->slots[5] = word;
	mark_in_use();
	return t;
}

static void drop_table(struct table *t)
{
	survive_detach(&t->survive, true);
	store_close(t->store);
	pl_loop_free(loop);
	loop = NULL;
	cr_expect(not(holder_is_there()));
}

Test(ploop_survive, D9_table_that_cannot_be_true_is_refused)
{
	static const struct {
		uint32_t g, f;
	} wrong[] = {
		{CLUSTERS, 1},		    /* beyond the disk */
		{UINT32_MAX, 1}, {0, 1000}, /* beyond the file */
		{0, UINT32_MAX}, {3, 1},    /* the cluster of another */
	};
	struct pl_disk *d = must_open(0);
	write_cluster(d, 0, 1);
	must_close(d);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct table t = hold_table(CLUSTERS, (uint64_t)wrong[i].g << 32 | wrong[i].f);
		for (uint32_t flags = 0; flags <= PL_OPEN_READONLY; flags += PL_OPEN_READONLY) {
			if (i == 4 && flags)
				continue; /* who only reads keeps no account of clusters */
			cr_expect(eq(int, open_disk(flags, &d), -EUCLEAN), "row %zu", i);
			cr_expect(ne(ptr, (void *)strstr(pl_error(), top_path), NULL), "%s", pl_error());
		}
		drop_table(&t);
	}
}

Test(ploop_survive, D9_table_of_another_disk_is_refused)
{
	struct table t = hold_table(CLUSTERS + 1, PENDING_EMPTY);
	struct pl_disk *d;
	cr_expect(eq(int, open_disk(0, &d), -EUCLEAN));
	cr_expect(ne(ptr, (void *)strstr(pl_error(), "another disk"), NULL), "%s", pl_error());
	drop_table(&t);
}
