/* What lies between the requests of a rig: time, and closing and opening with partial clusters. */
#include "base/invariant.h"
#include "ploop/disk.h"
#include "ploop/loop.h"
#include "ploop/partial.h"
#include "ploop/quiesce.h"
#include "tests/support/rig.h"

static void grow_old(struct writer *w)
{
	struct partials *p = w->partials;
	if (!p)
		return;
	for (uint32_t slot = 0; slot < p->shm->end; slot++)
		p->slots[slot].touched -= 1000;
	p->tick--; /* so that the clock is seen to move */
}

void rig_let_time_pass(struct rig *r)
{
	disk_each_writer(r->disk, grow_old);
	for (struct pl_timer *t = r->loop->timers; t; t = t->next)
		if (!r->disk->quiesce || t != &r->disk->quiesce->timer) /* it limits how long requests may take */
			t->deadline_ns = 1;
}

int rig_leave(struct rig *r)
{
	struct pl_disk *d = r->disk;
	invariant(r->busy == 0 && r->change.kind == RIG_NO_CHANGE && !r->pushed);
	r->disk = NULL;
	return pl_disk_leave(d);
}

static bool leave_and_open(struct rig *r)
{
	if (!rig_drain(r) || !rig_wait(r))
		return false;
	if (r->pushed) /* a switch has failed meanwhile */
		rig_abandon(r);
	if (rig_leave(r) < 0)
		return r->power.failed || rig_wrong(r, "leaving: %s", pl_error());
	if (!r->power.failed && !rig_check_left(r))
		return false;
	if (rig_open(r) < 0)
		return r->power.failed || rig_wrong(r, "opening what was left: %s", pl_error());
	return true;
}

bool rig_random_rest(struct rig *r)
{
	uint32_t n = prng_below(&r->random, 100);
	if (r->power.failed)
		return true;
	if (n < (r->fails_in == RIG_SEALING ? 50 : 15)) /* one at the end of the file is cut off when that is sealed */
		r->disk->writer->journal.rebuild = r->disk->writer->journal.fenced; /* as if it had no room */
	else if (n < 55)
		rig_let_time_pass(r);
	else if (n < 80 && r->change.kind == RIG_NO_CHANGE && !r->pushed)
		rig_finish(r);
	else if (n >= 80 && !r->pushed)
		return leave_and_open(r);
	return true;
}
