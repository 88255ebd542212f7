#include "tests/support/fuzz_ops.h"

#include <stdio.h>

#include "base/invariant.h"

#define CLUSTERS 6u
#define OPS_MAX	 64u

struct input {
	const uint8_t *at, *end;
};

static uint32_t take(struct input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static struct rig_shape take_shape(struct input *in)
{
	static const uint32_t aligns[] = {1, 512, 4096, 4096};
	uint32_t a = take(in), b = take(in);
	return (struct rig_shape){
		.version = 1 + (a & 1),
		.clusters = CLUSTERS,
		.depth = 1 + (a >> 1) % 3,
		.raw_base = a & 8,
		.io_align = aligns[a >> 4 & 3],
		.mem_align = aligns[a >> 4 & 3],
		.no_punch = b & 1,
		.no_zero_range = b & 2,
		.no_allocate = b & 4,
		.preallocated = b & 8,
	};
}

/* Four bytes: what, turns of the loop in between, where, how long. */
static bool take_op(struct rig *r, struct input *in)
{
	uint32_t what = take(in), turns = take(in), where = take(in), length = take(in);
	enum pl_op op = what % 5;
	uint32_t flags = what >> 5 & (PL_FUA | PL_NO_HOLE | PL_FAST_ZERO);
	uint64_t first = (uint64_t)where * r->sectors / 256, count = 0;
	if (turns & 0x80)
		first = round_down_pow2(first, RIG_CLUSTER_SECTORS);
	if (op != PL_FLUSH)
		count = MIN(
			MIN(1 + (length & 0x80 ? (length & 3) * RIG_CLUSTER_SECTORS + RIG_CLUSTER_SECTORS - 1 : length),
			    RIG_MAX_SECTORS),
			r->sectors - first);
	if (op == PL_READ || op == PL_FLUSH)
		flags = 0;
	if (op == PL_WRITE || op == PL_DISCARD)
		flags &= PL_FUA;
	if (!rig_submit(r, op, flags, op == PL_FLUSH ? 0 : first, count, what & 0x10 && op == PL_WRITE))
		return false;
	for (turns &= 7; turns > 0; turns--)
		if (!rig_turn(r))
			return false;
	return true;
}

static bool live(struct rig *r, struct input *in)
{
	for (uint32_t i = 0; i < OPS_MAX && in->at < in->end && !r->power.failed; i++)
		if (!take_op(r, in))
			break;
	rig_drain(r);
	return !r->why[0];
}

static bool look(struct rig *r, const struct rig_chain *failed, enum survivors what)
{
	rig_lose_power(r, failed, what);
	if (rig_open(r) < 0)
		return rig_wrong(r, "open after power failure: %s", pl_error());
	bool ok = rig_judge(r, MODEL_POWER_FAILED);
	rig_close(r);
	return ok && rig_check_closed(r);
}

const char *fuzz_ops(const uint8_t *data, size_t size, bool broken)
{
	static struct pl_loop *loop;
	static char why[512];
	struct input in = {data, data + size};
	if (!loop)
		invariant(pl_loop_new(NULL, &loop) == 0);
	struct rig_shape shape = take_shape(&in);
	uint64_t seed = take(&in), fails_at_op = take(&in);
	struct rig *r = rig_new(loop, &shape, seed);
	rig_start_journal(r, fails_at_op);
	r->top->lies = broken;
	bool ok = true;
	if (rig_open(r) == 0) {
		ok = live(r, &in);
		invariant(r->busy == 0);
		bool closed = rig_close(r) == 0;
		if (ok && !r->power.failed)
			ok = closed && rig_check_closed(r);
	} else {
		ok = r->power.failed;
	}
	struct rig_chain failed = r->chain;
	if (ok && r->power.failed)
		ok = look(r, &failed, SURVIVES_NOTHING) && look(r, &failed, SURVIVES_ALL) &&
		     look(r, &failed, SURVIVES_SOME);
	snprintf(why, sizeof(why), "%s", r->why[0] ? r->why : "it could not be opened or closed");
	rig_free(r);
	return ok ? NULL : why;
}
