#include "ploop/full.h"

#include "ploop/disk.h"

bool full_waits(const struct pl_disk *d)
{
	return !d->no_waiting && !d->fails_when_full;
}

void full_began(struct pl_disk *d, const char *path, int res)
{
	struct full *f = &d->full;
	if (!d->park_timer.deadline_ns)
		pl_timer_start(d->loop, &d->park_timer, PARK_RETRY_NS);
	if (f->since_ns)
		return;
	f->since_ns = pl_now_ns();
	f->ever++;
	f->error = -res;
	f->path = path;
	pl_log(PL_LOG_WARN, "space", "%s: no space on the host, writes wait errno=%d", path, -res);
	if (f->changed)
		f->changed(f->arg, true);
}

static bool is_parked(const struct writer *w)
{
	return w && (w->space.parked || w->commit.parked);
}

void full_poll(struct pl_disk *d)
{
	struct full *f = &d->full;
	if (!f->since_ns || f->frags || is_parked(d->writer) || is_parked(d->leaving))
		return;
	uint64_t ms = (pl_now_ns() - f->since_ns) / NS_PER_MS;
	f->since_ns = 0;
	disk_event(d, "space-again", ms, 0);
	pl_log(PL_LOG_INFO, "space", "%s: nothing waits for space any more waited_ms=%llu", f->path,
	       (unsigned long long)ms);
	if (f->changed)
		f->changed(f->arg, false);
}

void pl_disk_watch_full(struct pl_disk *d, void (*changed)(void *arg, bool full), void *arg)
{
	d->full.changed = changed;
	d->full.arg = arg;
}

static uint32_t waiters_of(const struct writer *w)
{
	uint32_t n = 0;
	if (w)
		for (const struct qnode *at = w->space.waiters.first; at; at = at->next)
			n++;
	return n;
}

uint32_t full_waiters(const struct pl_disk *d)
{
	return waiters_of(d->writer) + waiters_of(d->leaving);
}
