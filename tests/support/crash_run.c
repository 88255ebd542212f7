#include "tests/support/crash_run.h"

#include <stdio.h>
#include <string.h>

/* Until the power fails, or to the end and through a clean close. */
static bool live(struct rig *r, const struct crash_plan *plan, uint64_t fails_at_op)
{
	medium_start_journal(r->top, fails_at_op);
	r->top->lies = plan->sync_lies;
	r->reuses_early = plan->reuses_early;
	int opened = rig_open(r);
	if (opened < 0) {
		if (!r->top->powerless)
			snprintf(r->why, sizeof(r->why), "open: %s", pl_error());
		return r->top->powerless;
	}
	bool ok = rig_run(r, plan->ops);
	ok = rig_drain(r) && ok;
	if (r->busy > 0) /* they hang: it cannot be closed */
		return false;
	int closed = rig_close(r);
	if (!r->top->powerless && closed < 0 && ok) {
		snprintf(r->why, sizeof(r->why), "close: %s", pl_error());
		return false;
	}
	return ok && (r->top->powerless || rig_check_closed(r));
}

/* Open what is left, compare, close, check. */
static bool look(struct rig *r, bool goes_on)
{
	if (rig_open(r) < 0) {
		snprintf(r->why, sizeof(r->why), "open after power failure: %s", pl_error());
		return false;
	}
	bool ok = rig_judge(r, MODEL_POWER_FAILED) && (!goes_on || rig_settle(r));
	if (rig_close(r) < 0 && ok) {
		snprintf(r->why, sizeof(r->why), "close after power failure: %s", pl_error());
		return false;
	}
	return ok && rig_check_closed(r);
}

static bool look_at_all(struct rig *r, const struct crash_plan *plan, bool goes_on)
{
	struct medium *failed = r->top;
	r->top = r->media[r->shape.depth - 1] = NULL;
	bool ok = true;
	for (uint32_t i = 0; ok && i < plan->images; i++) {
		enum survivors what = i == 0 ? SURVIVES_NOTHING : i == 1 ? SURVIVES_ALL : SURVIVES_SOME;
		rig_replace_top(r, medium_after_crash(failed, what, &r->random));
		ok = look(r, goes_on && i + 1 == plan->images);
		if (!ok) {
			size_t n = strlen(r->why);
			snprintf(r->why + n, sizeof(r->why) - n, " [power failed at op %llu, outcome %u]",
				 (unsigned long long)failed->fails_at_op, i);
		}
	}
	medium_free(failed);
	return ok;
}

bool crash_run(struct rig *r, const struct crash_plan *plan, bool *reached)
{
	uint64_t fails_at_op = plan->fails_at_op;
	*reached = false;
	for (uint32_t life = 0; life <= plan->lives; life++) {
		bool ok = live(r, plan, fails_at_op);
		if (!ok || !r->top->powerless)
			return ok;
		*reached = true;
		r->reuses_early = false;
		if (!look_at_all(r, plan, life < plan->lives))
			return false;
		fails_at_op = 1 + prng_below(&r->random, 60);
	}
	return true;
}
