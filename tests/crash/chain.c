/* Power failures while the chain changes: at every change and sync, of any of its images, of short random runs. Every
 * chain that the descriptor may name at that moment is opened and judged.
 *
 *   SEED=n      the first run's seed
 *   CRASHES=n   how many power failures a test tries at least (`make crash N=…`) */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

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

TestSuite(crash_chain, .init = setup, .fini = teardown, .timeout = 100000);

/* They change all the time; a failure is tried at each op. */
static const struct crash_plan switches = {.ops = 12, .images = 3, .changes_percent = 30};
static const struct crash_plan merges = {
	.ops = 16, .images = 3, .changes_percent = 30, .merges = true, .fails_in = RIG_MERGING};

static void must_hold(struct crash_plan plan, uint64_t crashes)
{
	struct crash_tally t = {0};
	uint64_t step = plan.lives ? 17 : plan.fails_in ? 3 : 1;
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (; t.crashes < crash_count(crashes) && !t.why[0]; seed++)
		crash_walk(loop, seed, plan, 1 + seed % step, step, &t);
	cr_expect(eq(str, t.why, ""));
}

Test(crash_chain, D1_D3_D4_hold_while_the_top_changes)
{
	must_hold(switches, 1200);
}

Test(crash_chain, D1_D3_D4_hold_over_several_lives_in_which_the_top_changes)
{
	struct crash_plan plan = switches;
	plan.ops = 60;
	plan.lives = 3;
	must_hold(plan, 200);
}

Test(crash_chain, D1_D3_D4_hold_while_images_are_merged)
{
	must_hold(merges, 1000);
}

Test(crash_chain, D1_D3_D4_hold_over_several_lives_in_which_images_are_merged)
{
	struct crash_plan plan = merges;
	plan.ops = 60;
	plan.lives = 3;
	plan.fails_in = RIG_ANYTIME;
	must_hold(plan, 200);
}

Test(crash_chain, D1_D3_D7_hold_while_a_top_with_partial_clusters_changes)
{
	struct crash_plan plan = switches;
	plan.partials = true;
	must_hold(plan, 200);
}

Test(crash_chain, D1_D3_D7_hold_while_images_with_partial_clusters_are_merged)
{
	struct crash_plan plan = merges;
	plan.partials = true;
	must_hold(plan, 400);
}

Test(crash_chain, D1_D3_D7_hold_over_several_lives_of_partial_clusters_in_a_chain_that_changes)
{
	struct crash_plan plan = merges;
	plan.partials = true;
	plan.ops = 60;
	plan.lives = 3;
	plan.fails_in = RIG_ANYTIME;
	must_hold(plan, 100);
}

/* A top that is sealed has partial clusters on both pages: they are filled, put into the one, then the other; then the
 * header lets the fence down, and is closed. */
Test(crash_chain, D1_D3_D7_hold_while_a_top_with_partial_clusters_on_two_pages_is_sealed)
{
	struct crash_plan plan = {.ops = 10, .images = 4, .changes_percent = 60, .partials = true, .gap = true,
				  .fails_in = RIG_SEALING};
	must_hold(plan, 250);
}

/* ---- a test that cannot fail proves nothing: the same runs, with a rule broken, must be caught */

static void must_be_caught(struct crash_plan plan)
{
	struct crash_tally t = {0};
	for (uint64_t seed = 1; t.crashes < 20000 && !t.why[0]; seed++)
		crash_walk(loop, seed, plan, 1, 1, &t);
	cr_log_info("%llu crashes until: %s", (unsigned long long)t.crashes, t.why);
	cr_expect(ne(ptr, strstr(t.why, "after power failure"), NULL), "what was caught is something else: %s", t.why);
}

Test(crash_chain, D1_broken_flush_that_forgets_the_old_top_is_caught)
{
	struct crash_plan plan = switches;
	plan.forgets_old_top = true;
	must_be_caught(plan);
}

Test(crash_chain, D3_broken_entries_before_data_in_a_merge_are_caught)
{
	struct crash_plan plan = merges;
	plan.lower_sync_lies = true;
	must_be_caught(plan);
}
