#include "ploop/quiesce.h"

#include "ploop/disk.h"

static bool is_quiet(const struct pl_disk *d)
{
	return d->frags_in_use == d->withdrawn_count && !writer_has_io(d->writer) &&
	       (!d->leaving || !writer_has_io(d->leaving));
}

void quiesce_end(struct quiesce *q)
{
	struct pl_disk *d = q->disk;
	pl_timer_stop(d->loop, &q->timer);
	d->quiesce = NULL;
	d->held = false;
	q->pause_ns = q->held_at_ns ? pl_now_ns() - q->held_at_ns : 0;
	commit_resume(d->writer);
	if (d->leaving)
		commit_resume(d->leaving);
	frag_release_withdrawn(d);
	req_release(d);
}

static void timed_out(struct pl_timer *timer)
{
	struct quiesce *q = container_of(timer, struct quiesce, timer);
	quiesce_end(q);
	q->ready(q, -EAGAIN);
}

static bool round_runs(const struct pl_disk *d)
{
	return d->writer->commit.state != COMMIT_IDLE || (d->leaving && d->leaving->commit.state != COMMIT_IDLE);
}

void quiesce_poll_slow(struct pl_disk *d)
{
	struct quiesce *q = d->quiesce;
	if (!d->held && !round_runs(d)) {
		d->held = true;
		q->held_at_ns = pl_now_ns();
	}
	if (d->held)
		first_writes_withdraw(d);
	if (!d->held || !is_quiet(d) || !q->timer.deadline_ns)
		return;
	pl_timer_stop(d->loop, &q->timer); /* ready() is called once */
	q->ready(q, 0);
}

void quiesce_begin(struct pl_disk *d, struct quiesce *q, uint64_t wait_ns)
{
	invariant(!d->quiesce);
	q->disk = d;
	q->timer.fire = timed_out;
	q->held_at_ns = q->pause_ns = 0;
	d->quiesce = q;
	pl_timer_start(d->loop, &q->timer, wait_ns);
	quiesce_poll_slow(d);
}

