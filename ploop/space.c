/* Growth of the top's file. Space is asked for ahead of need in runs that double, up to 64 MiB, so that first writes
 * seldom wait and a disk written in order lies in order. What is left over at close is cut off. */
#include <string.h>

#include "ploop/disk.h"

#define AHEAD_MAX_BYTES (64 * MIB)
#define AHEAD_FIRST_BYTES (1 * MIB)

static void extended(struct pl_io *io);

static void ask(struct pl_disk *d, uint32_t clusters)
{
	struct space *s = &d->space;
	s->busy = true;
	s->asked_clusters = clusters;
	s->io = (struct pl_io){
		.done = extended,
		.kind = PL_IO_FALLOCATE,
		.offset = file_offset(d, (struct fclu){d->alloc.space}, 0),
		.length = (uint64_t)clusters << d->cluster_shift,
	};
	store_submit(d->top->store, &s->io);
}

/* No more than the disk can still need, and the file may have. */
static uint32_t run_clusters(struct pl_disk *d)
{
	struct space *s = &d->space;
	uint32_t most = (uint32_t)MAX(AHEAD_MAX_BYTES >> d->cluster_shift, 1);
	uint32_t need = d->map.clusters > d->alloc.used_count ? d->map.clusters - d->alloc.used_count : 1;
	uint32_t room = d->alloc.max - d->alloc.space;
	s->run_clusters = s->run_clusters ? MIN(s->run_clusters * 2, most)
					  : (uint32_t)MAX(AHEAD_FIRST_BYTES >> d->cluster_shift, 1);
	return MIN(MIN(s->run_clusters, need), room);
}

/* D8: ask again for the least, each second; reads and overwrites go on meanwhile. */
static void no_space(struct pl_disk *d)
{
	struct space *s = &d->space;
	if (s->asked_clusters > 1) {
		ask(d, 1);
		return;
	}
	if (d->no_waiting) {
		s->busy = s->parked = false;
		s->error = s->io.res;
		disk_wake(d, &s->waiters);
		return;
	}
	if (!s->parked)
		pl_log(PL_LOG_WARN, "space", "%s: no space on the host, writes wait errno=%d", d->top->store->path,
		       -s->io.res);
	disk_event(d, "no-space", d->alloc.space, 0);
	s->parked = true;
	if (!d->park_timer.deadline_ns)
		pl_timer_start(d->loop, &d->park_timer, PARK_RETRY_NS);
}

static void extended(struct pl_io *io)
{
	struct pl_disk *d = container_of(io, struct pl_disk, space.io);
	struct space *s = &d->space;
	uint64_t end = io->offset + io->length;
	int res = io->res;
	if (res == -EOPNOTSUPP)
		res = d->top->store->ops->set_size(d->top->store, end);
	if (is_no_space(res)) {
		no_space(d);
		return;
	}
	s->busy = false;
	if (s->parked)
		pl_log(PL_LOG_INFO, "space", "%s: there is space again", d->top->store->path);
	s->parked = false;
	if (res < 0) {
		s->error = res;
	} else {
		d->alloc.space += s->asked_clusters;
		d->top->store->size_bytes = MAX(d->top->store->size_bytes, end);
	}
	disk_wake(d, &s->waiters);
}

void space_retry(struct pl_disk *d)
{
	if (d->space.parked)
		ask(d, 1);
}

int space_take(struct frag *f, frag_step *then)
{
	struct pl_disk *d = f->disk;
	struct space *s = &d->space;
	if (s->error) {
		int r = s->error;
		s->error = 0; /* told to one; the next tries again */
		return r;
	}
	int r = alloc_take(&d->alloc, &f->new_file, &f->reused);
	bool round_frees = d->freed.count > 0 || d->freed_round.count > 0;
	if (r == -ENOSPC && round_frees && !d->failed) {
		frag_wait(f, &d->slot_waiters, then); /* woken by the round */
		commit_demand(d);
		return -EAGAIN;
	}
	if (r != -EAGAIN)
		return r;
	frag_wait(f, &s->waiters, then);
	if (!s->busy)
		ask(d, run_clusters(d));
	return -EAGAIN;
}
