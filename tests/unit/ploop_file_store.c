/* The same requests on image files, over io_uring and over threads: chains of three, several requests in flight. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "ploop/lock.h"
#include "tests/support/rig.h"

static char dir[256];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof(dir), "%s/files-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
}

static void remove_images(void)
{
	char path[300];
	for (uint32_t i = 0; i < RIG_MAX_DEPTH; i++) {
		snprintf(path, sizeof(path), "%s/level-%u", dir, i);
		unlink(path);
	}
}

static void teardown(void)
{
	remove_images();
	rmdir(dir);
}

TestSuite(ploop_file_store, .init = setup, .fini = teardown, .timeout = 120);

static void several_lives(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = rig_new(loop, shape, seed);
	cr_assert(eq(str, r->why, ""));
	for (int life = 0; life < 3; life++) {
		cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
		cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		cr_assert(rig_run(r, 60) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	}
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
	remove_images();
}

static void on_backend(enum pl_backend backend)
{
	struct pl_loop *loop;
	struct pl_loop_options options = {.size = sizeof(options), .backend = backend};
	if (pl_loop_new(&options, &loop) < 0)
		cr_skip("%s", pl_error());
	for (uint64_t seed = prng_seed(1), last = seed + 8; seed < last; seed++) {
		struct rig_shape shape = {
			.version = 1 + seed % 2,
			.clusters = 24,
			.depth = 1 + seed % 3,
			.raw_base = seed % 4 == 0,
			.dir = dir,
		};
		several_lives(loop, &shape, seed);
	}
	pl_loop_free(loop);
}

Test(ploop_file_store, a_closed_disk_is_free_at_once)
{
	char path[300];
	struct pl_loop *loop;
	struct rig_shape shape = {.version = 2, .clusters = 4, .depth = 1, .dir = dir};
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	struct rig *r = rig_new(loop, &shape, 1);
	snprintf(path, sizeof(path), "%s/level-0", dir);
	int other = open(path, O_RDWR);
	for (int i = 0; i < 50; i++) {
		cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
		cr_assert(rig_run(r, 5) && rig_drain(r), "%s", r->why);
		cr_assert(eq(int, lock_image(other, LOCK_READER, 0, path), -EBUSY));
		cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
		cr_assert(eq(int, lock_image(other, LOCK_WRITER, 0, path), 0), "%s", pl_error());
		lock_drop(other);
	}
	close(other);
	rig_free(r);
	pl_loop_free(loop);
}

Test(ploop_file_store, random_requests_agree_with_the_model_over_io_uring)
{
	on_backend(PL_BACKEND_URING);
}

Test(ploop_file_store, random_requests_agree_with_the_model_over_threads)
{
	on_backend(PL_BACKEND_PLAIN);
}
