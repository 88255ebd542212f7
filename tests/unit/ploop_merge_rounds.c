/* While the live top is merged into its parent two images are written: flushes wait for the rounds of both. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "tests/support/rig.h"

static struct pl_loop *loop;

static void setup(void)
{
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
}

static void teardown(void)
{
	pl_loop_free(loop);
}

TestSuite(ploop_merge_rounds, .init = setup, .fini = teardown, .timeout = 120);

static struct rig_shape two(bool raw_base)
{
	return (struct rig_shape){
		.version = 2, .clusters = 60, .depth = 2, .raw_base = raw_base, .io_align = 512, .mem_align = 512};
}

static void turns(struct rig *r, uint64_t n)
{
	while (n--)
		cr_assert(rig_turn(r), "%s", r->why);
}

/* Rounds of both images, asked for at any moment, wait for each other and end. */
static void flush_while_merged(bool raw_base, uint64_t seed)
{
	struct rig_shape shape = two(raw_base);
	struct rig *r = rig_new(loop, &shape, seed);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	for (uint64_t c = 0; c < shape.clusters; c++)
		rig_submit(r, PL_WRITE, 0, c * RIG_CLUSTER_SECTORS, RIG_CLUSTER_SECTORS, false);
	cr_assert(rig_drain(r), "%s", r->why);
	rig_merge(r, 1, PL_INTO_PARENT);
	while (r->change.kind != RIG_NO_CHANGE) {
		turns(r, prng_below(&r->random, 6));
		rig_submit(r, PL_FLUSH, 0, 0, 0, false);
		cr_assert(eq(str, r->why, ""), "SEED=%llu", (unsigned long long)seed);
	}
	cr_assert(rig_drain(r) && rig_wait(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	rig_free(r);
}

Test(ploop_merge_rounds, flushes_end_while_the_top_is_merged_into_its_parent)
{
	for (uint64_t seed = 1; seed < 100; seed++) {
		flush_while_merged(false, seed);
		flush_while_merged(true, seed);
	}
}

/* A flush that waits for the top when the roles are exchanged back waits for the image below too. */
static void flush_while_cancelled(uint64_t seed)
{
	struct rig_shape shape = two(false);
	struct rig *r = rig_new(loop, &shape, seed);
	rig_start_journal(r, 0);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	for (uint64_t c = 0; c < 56; c++)
		rig_submit(r, PL_WRITE, 0, c * RIG_CLUSTER_SECTORS, RIG_CLUSTER_SECTORS, false);
	cr_assert(rig_drain(r), "%s", r->why);
	rig_merge(r, 1, PL_INTO_PARENT);
	turns(r, 4 + seed % 16);
	for (uint64_t c = 56; c < 60; c++)
		rig_submit(r, PL_WRITE, 0, c * RIG_CLUSTER_SECTORS, RIG_CLUSTER_SECTORS, false);
	cr_assert(rig_drain(r), "%s", r->why);
	rig_cancel(r);
	turns(r, seed % 7);
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false) && rig_drain(r), "%s", r->why);
	r->power.failed = true;
	cr_assert(rig_wait(r), "%s", r->why);
	rig_close(r);
	rig_lose_power(r, &r->chain, SURVIVES_NOTHING);
	cr_assert(eq(int, rig_settle_lower(r), 0), "%s", pl_error());
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, MODEL_POWER_FAILED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
}

Test(ploop_merge_rounds, D1_a_flush_waits_for_both_images_of_a_merge_that_is_cancelled)
{
	for (uint64_t seed = 1; seed < 150; seed++)
		flush_while_cancelled(seed);
}
