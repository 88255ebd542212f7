#include "tests/support/crash_run.h"

#include "ploop/bat_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void break_rules(struct rig *r, const struct crash_plan *plan)
{
	r->reuses_early = plan->reuses_early;
	r->forgets_old_top = plan->forgets_old_top;
	r->forgets_order = plan->forgets_order;
	r->forgets_units = plan->forgets_units;
	for (uint32_t i = 0; i < r->chain.depth; i++)
		r->chain.at[i].m->lies = i + 1 < r->chain.depth ? plan->lower_sync_lies : plan->sync_lies;
}

/* Until the power fails, or to the end and through a clean close. */
static bool live(struct rig *r, const struct crash_plan *plan, uint64_t fails_at_op)
{
	r->fails_in = plan->fails_in;
	rig_start_journal(r, fails_at_op);
	break_rules(r, plan);
	r->no_partials = plan->no_partials;
	int opened = rig_open(r);
	if (opened < 0) {
		if (!r->power.failed)
			rig_wrong(r, "open: %s", pl_error());
		return r->power.failed;
	}
	r->changes_percent = plan->changes_percent;
	r->merges = plan->merges;
	r->small_percent = plan->partials ? 60 : 0;
	r->rests_percent = plan->partials ? 15 : 0;
	bool ok = rig_run(r, plan->ops);
	ok = rig_drain(r) && ok;
	if (r->busy > 0) /* they hang: it cannot be closed */
		return false;
	if (prng_percent(&r->random, 50)) /* else it is closed while the chain changes */
		ok = rig_wait(r) && ok;
	int closed = r->disk ? rig_close(r) : 0;
	if (!r->power.failed && closed < 0 && ok)
		return rig_wrong(r, "close: %s", pl_error());
	return ok && !r->why[0] && (r->power.failed || rig_check_closed(r));
}

/* A reader sees the same and writes nothing, or says that an image must be settled first. */
static bool look_only(struct rig *r)
{
	int opened = rig_open_flags(r, PL_OPEN_READONLY);
	if (opened == -EAGAIN)
		return true;
	if (opened < 0)
		return rig_wrong(r, "open for reading after power failure: %s", pl_error());
	bool ok = rig_judge(r, MODEL_POWER_FAILED);
	rig_close(r);
	return ok;
}

/* Open what is left, compare, close, check. */
static bool look(struct rig *r, bool goes_on)
{
	if (prng_percent(&r->random, 20) && !look_only(r))
		return false;
	if (rig_settle_lower(r) < 0)
		return rig_wrong(r, "settling what is below the top after power failure: %s", pl_error());
	if (rig_open(r) < 0)
		return rig_wrong(r, "open after power failure: %s", pl_error());
	bool ok = rig_judge(r, MODEL_POWER_FAILED) && (!goes_on || rig_settle(r));
	if (rig_close(r) < 0 && ok)
		return rig_wrong(r, "close after power failure: %s", pl_error());
	return ok && rig_check_closed(r);
}

static enum survivors outcome(uint32_t i)
{
	return i == 0 ? SURVIVES_NOTHING : i == 1 ? SURVIVES_ALL : SURVIVES_SOME;
}

/* The descriptor names @named. */
static bool look_at_all(struct rig *r, const struct rig_chain *named, const struct crash_plan *plan, bool goes_on)
{
	for (uint32_t i = 0; i < plan->images; i++) {
		rig_lose_power(r, named, outcome(i));
		if (look(r, goes_on && i + 1 == plan->images))
			continue;
		size_t n = strlen(r->why);
		snprintf(r->why + n, sizeof(r->why) - n, " [outcome %u, %u images]", i, named->depth);
		return false;
	}
	return true;
}

static bool look_at_both(struct rig *r, const struct crash_plan *plan, bool goes_on)
{
	struct rig_chain chain = r->chain, other = r->other;
	uint64_t at = r->power.ops;
	bool goes_on_other = goes_on && other.depth > 0 && prng_percent(&r->random, 50);
	bool ok = true;
	if (other.depth > 0 && !goes_on_other)
		ok = look_at_all(r, &other, plan, false);
	ok = ok && look_at_all(r, &chain, plan, goes_on && !goes_on_other);
	if (goes_on_other)
		ok = ok && look_at_all(r, &other, plan, true);
	size_t n = strlen(r->why);
	if (!ok)
		snprintf(r->why + n, sizeof(r->why) - n, " [power failed at op %llu]", (unsigned long long)at);
	rig_forget_others(r);
	return ok;
}

bool crash_run(struct rig *r, const struct crash_plan *plan, bool *reached)
{
	uint64_t fails_at_op = plan->fails_at_op;
	*reached = false;
	for (uint32_t life = 0; life <= plan->lives; life++) {
		bool ok = live(r, plan, fails_at_op);
		if (!ok || !r->power.failed)
			return ok;
		*reached = true;
		break_rules(r, &(struct crash_plan){0});
		if (!look_at_both(r, plan, life < plan->lives))
			return false;
		fails_at_op = 1 + prng_below(&r->random, 60);
	}
	return true;
}

/* ---- many of them */

void crash_walk(struct pl_loop *loop, uint64_t seed, struct crash_plan plan, uint64_t at, uint64_t step,
		struct crash_tally *t)
{
	char text[128];
	struct prng p = {seed};
	struct rig_shape shape = rig_random_shape(&p);
	if (plan.partials) {
		shape.full_base = true;
		shape.depth = MAX(shape.depth, 2);
	}
	if (plan.gap) {
		shape.gap = BAT_PAGE_BYTES / LAY_BAT_SLOT_BYTES;
		shape.raw_base = false;
		shape.clusters = MIN(shape.clusters, 16);
	}
	rig_describe(&shape, text, sizeof(text));
	struct rig *disk = rig_new(loop, &shape, seed);
	bool reached = true;
	for (; reached && !t->why[0]; at += step) {
		struct rig *r = rig_clone(disk, seed);
		snprintf(r->why, sizeof(r->why), "%s", disk->why);
		plan.fails_at_op = at;
		if (r->why[0] || !crash_run(r, &plan, &reached))
			snprintf(t->why, sizeof(t->why), "SEED=%llu (%s): %s", (unsigned long long)seed, text, r->why);
		t->crashes++;
		rig_free(r);
	}
	rig_free(disk);
}

uint64_t crash_count(uint64_t otherwise)
{
	const char *s = getenv("CRASHES");
#ifdef __SANITIZE_ADDRESS__
	otherwise /= 4; /* each is ten times as slow, and the paths are the same */
#endif
	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}
