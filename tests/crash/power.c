/* Power failures: at every change and sync of short random runs, at some of longer ones. What was not durable is lost,
 * kept or torn; the disk is opened again, compared with the model, closed, checked.
 *
 *   SEED=n      the first run's seed
 *   CRASHES=n   how many power failures a test tries at least (`make crash N=…`) */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "tests/support/crash_run.h"

static struct pl_loop *loop;

static void setup(void)
{
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
}

static void teardown(void)
{
	pl_loop_free(loop);
}

TestSuite(crash, .init = setup, .fini = teardown, .timeout = 100000);

Test(crash, D1_D3_D4_hold_at_every_point_of_short_runs)
{
	struct crash_tally t = {0};
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (; t.crashes < crash_count(2000) && !t.why[0]; seed++)
		crash_walk(loop, seed, (struct crash_plan){.ops = 6 + seed % 24, .images = 5}, 1, 1, &t);
	cr_expect(eq(str, t.why, ""));
}

Test(crash, D1_D3_D4_hold_over_several_lives_of_long_runs)
{
	struct crash_tally t = {0};
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (; t.crashes < crash_count(400) && !t.why[0]; seed++)
		crash_walk(loop, seed, (struct crash_plan){.ops = 120, .images = 3, .lives = 3}, 1 + seed % 40, 41, &t);
	cr_expect(eq(str, t.why, ""));
}

static void must_hold(struct crash_plan plan, uint64_t crashes, uint64_t step)
{
	struct crash_tally t = {0};
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (; t.crashes < crash_count(crashes) && !t.why[0]; seed++)
		crash_walk(loop, seed, plan, 1, step, &t);
	cr_expect(eq(str, t.why, ""));
}

Test(crash, D1_D3_D7_hold_with_partial_clusters)
{
	must_hold((struct crash_plan){.ops = 20, .images = 4, .partials = true}, 700, 1);
}

Test(crash, D1_D3_D7_hold_with_partial_clusters_over_several_lives)
{
	must_hold((struct crash_plan){.ops = 80, .images = 3, .lives = 3, .partials = true}, 150, 29);
}

/* The journal took the error that they waited for, again and again. */
Test(crash, writes_that_wait_for_space_end_when_the_disk_has_failed)
{
	struct crash_tally t = {0};
	crash_walk(loop, 777294, (struct crash_plan){.ops = 80, .images = 3, .lives = 3, .partials = true}, 1, 29, &t);
	cr_expect(eq(str, t.why, ""));
}

/* A test that cannot fail proves nothing: the same runs, with a rule broken, must be caught. */
static void must_be_caught(struct crash_plan plan)
{
	struct crash_tally t = {0};
	for (uint64_t seed = 1; t.crashes < 20000 && !t.why[0]; seed++)
		crash_walk(loop, seed, plan, 1, 1, &t);
	cr_log_info("%llu crashes until: %s", (unsigned long long)t.crashes, t.why);
	cr_expect(ne(str, t.why, ""));
}

Test(crash, D3_broken_bat_before_data_is_caught)
{
	must_be_caught((struct crash_plan){.ops = 30, .images = 5, .no_partials = true, .sync_lies = true});
}

Test(crash, D3_broken_entries_beside_copies_and_reused_space_are_caught)
{
	must_be_caught((struct crash_plan){.ops = 30, .images = 5, .no_partials = true, .forgets_order = true});
}

Test(crash, D4_broken_reuse_before_the_round_is_caught)
{
	must_be_caught((struct crash_plan){.ops = 30, .images = 5, .reuses_early = true});
}

Test(crash, D3_broken_journal_before_data_is_caught)
{
	must_be_caught((struct crash_plan){.ops = 30, .images = 5, .partials = true, .sync_lies = true});
}

Test(crash, D1_broken_journal_that_lacks_units_is_caught)
{
	must_be_caught((struct crash_plan){.ops = 30, .images = 5, .partials = true, .forgets_units = true});
}
