/* The same requests on image files, over io_uring and over threads: chains of three, several requests in flight. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <unistd.h>

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

Test(ploop_file_store, random_requests_agree_with_the_model_over_io_uring)
{
	on_backend(PL_BACKEND_URING);
}

Test(ploop_file_store, random_requests_agree_with_the_model_over_threads)
{
	on_backend(PL_BACKEND_PLAIN);
}
