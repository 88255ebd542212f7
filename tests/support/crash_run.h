/* One random run whose power fails at its N-th change or sync, and what is found afterwards, several times over. */
#ifndef PLOOP_TEST_CRASH_RUN_H
#define PLOOP_TEST_CRASH_RUN_H

#include "tests/support/rig.h"

struct crash_plan {
	uint32_t ops;	      /* requests of the run */
	uint64_t fails_at_op; /* 0: not at all; the run ends with a close */
	uint32_t images;      /* how many of the possible outcomes are looked at */
	uint32_t lives;	      /* the run goes on with the last of them, and fails again, so often */
	uint32_t changes_percent; /* how often the chain changes: rig_random_change() */
	bool merges;
	bool no_partials;
	enum rig_phase fails_in; /* then @fails_at_op counts what is done in that */
	bool gap; /* half of the disk lies on another page of the BAT */
	bool partials; /* small writes over a full base; they are filled, finished and left in between */
	/* broken on purpose, for the test of the tests */
	bool sync_lies;	/* of the top */
	bool lower_sync_lies; /* of the images below it: only merges write them */
	bool reuses_early, forgets_old_top, forgets_order, forgets_units;
};

/* @r is not open; it is used up. false: r->why. *@reached: the run was long enough for its power to fail. */
bool crash_run(struct rig *r, const struct crash_plan *plan, bool *reached);

/* ---- many of them */

struct crash_tally {
	uint64_t crashes;
	char why[768]; /* "": all is well */
};

/* One seed is one disk and one sequence of requests; every @step-th op, from @at on, the power fails. */
void crash_walk(struct pl_loop *loop, uint64_t seed, struct crash_plan plan, uint64_t at, uint64_t step,
		struct crash_tally *t);
/* CRASHES of the environment, or @otherwise; a quarter of that under AddressSanitizer. */
uint64_t crash_count(uint64_t otherwise);

#endif
