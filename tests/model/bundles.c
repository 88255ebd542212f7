/* Thousands of operations at random on some bundles, and a model that knows what must come of them.
 *
 *   SEED=n            another run; a failure prints its own
 *   OPS=n             how many operations a run has
 *   MODEL_DIR=dir     where (default: in memory)
 *   MODEL_SECONDS=n   how long each test goes on, run after run (`make model SECONDS=n`) */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <time.h>

#include "ops.h"

#define COMPARE_EVERY 8

TestSuite(model_bundles, .timeout = 100000);

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);
	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

static void run(uint64_t seed, bool running, uint32_t deaths_percent)
{
	struct world *w = calloc(1, sizeof(*w));
	uint64_t ops = number("OPS", 400);
	world_begin(w, seed);
	w->running = running;
	w->deaths_percent = deaths_percent;
	world_new_bundle(w);
	while (w->ops < ops) {
		world_operate(w);
		if (w->ops % COMPARE_EVERY == 0)
			world_compare(w);
	}
	world_compare(w);
	cr_log_info("SEED=%llu: %llu operations done, %llu refused, %llu died, %llu cancelled",
		    (unsigned long long)seed, (unsigned long long)w->done, (unsigned long long)w->refused,
		    (unsigned long long)w->died, (unsigned long long)w->cancelled);
	cr_expect(gt(u64, w->done, 0));
	world_end(w);
	free(w);
}

/* Runs with one seed after the other until the time is over; one at least. */
static void go_on(bool running, uint32_t deaths_percent)
{
	time_t end = time(NULL) + (time_t)number("MODEL_SECONDS", 3);
	uint64_t seed = prng_seed(1);
	do
		run(seed++, running, deaths_percent);
	while (time(NULL) < end);
}

Test(model_bundles, stopped_disks_are_what_the_operations_made_of_them)
{
	go_on(false, 0);
}

Test(model_bundles, running_disks_are_what_the_operations_made_of_them)
{
	go_on(true, 0);
}

Test(model_bundles, D6_operations_that_die_leave_one_of_the_states_between)
{
	go_on(false, 30);
}

Test(model_bundles, D6_operations_on_running_disks_that_die_leave_one_of_the_states_between)
{
	go_on(true, 30);
}
