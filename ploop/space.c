/* Growth of a writer's file. Space is asked for ahead of need in runs that double, up to 64 MiB, so that first writes
 * seldom wait and a disk written in order lies in order. What is left over at close is cut off. */
#include <string.h>

#include "ploop/disk.h"

#define AHEAD_MAX_BYTES (64 * MIB)
#define AHEAD_FIRST_BYTES (1 * MIB)

static void extended(struct pl_io *io);

static void ask(struct writer *w, uint32_t clusters)
{
	struct space *s = &w->space;
	s->busy = s->asking = true;
	s->asked_clusters = clusters;
	s->io = (struct pl_io){
		.done = extended,
		.kind = PL_IO_FALLOCATE,
		.offset = file_offset(w->disk, (struct fclu){w->alloc.space}, 0),
		.length = (uint64_t)clusters << w->disk->cluster_shift,
	};
	store_submit(w->image->store, &s->io);
}

/* No more than the disk can still need, and the file may have. */
static uint32_t run_clusters(struct writer *w)
{
	struct space *s = &w->space;
	const struct pl_disk *d = w->disk;
	uint32_t most = (uint32_t)MAX(AHEAD_MAX_BYTES >> d->cluster_shift, 1);
	uint32_t need = d->map.clusters > w->alloc.used_count ? d->map.clusters - w->alloc.used_count : 1;
	uint32_t room = w->alloc.max - w->alloc.space;
	s->run_clusters = s->run_clusters ? MIN(s->run_clusters * 2, most)
					  : (uint32_t)MAX(AHEAD_FIRST_BYTES >> d->cluster_shift, 1);
	return MIN(MIN(s->run_clusters, need), room);
}

/* D8: ask again for the least, from time to time; reads and overwrites go on meanwhile. Some file systems keep what
 * they found before they failed: others shall have it, and the file shall end with a whole cluster. */
static void no_space(struct writer *w, int res)
{
	struct space *s = &w->space;
	struct pl_disk *d = w->disk;
	struct store *store = w->image->store;
	if (store->ops->set_size(store, store->size_bytes) < 0)
		pl_error_clear();
	if (s->asked_clusters > 1) {
		ask(w, 1);
		return;
	}
	if (!full_waits(d)) {
		s->busy = s->parked = false;
		s->error = res;
		disk_wake(d, &s->waiters);
		full_poll(d);
		return;
	}
	if (!s->parked)
		disk_event(d, "no-space", w->alloc.space, 0);
	s->parked = true;
	disk_wake(d, &s->waiters); /* the guest's wait on, ours give up */
	full_began(d, w->image->path, res);
	commit_resume(w);
}

static void extended(struct pl_io *io)
{
	struct writer *w = container_of(io, struct writer, space.io);
	struct store *store = w->image->store;
	struct space *s = &w->space;
	uint64_t end = io->offset + io->length;
	int res = io->res;
	s->asking = false;
	if (res == -EOPNOTSUPP) {
		s->sparse = true;
		res = store->ops->set_size(store, end);
	}
	if (is_no_space(res)) {
		no_space(w, res);
		return;
	}
	s->busy = s->parked = false;
	full_poll(w->disk);
	if (res < 0) {
		s->error = res;
	} else {
		w->alloc.space += s->asked_clusters;
		store->size_bytes = MAX(store->size_bytes, end);
	}
	disk_wake(w->disk, &s->waiters);
	commit_resume(w); /* a round may wait for the journal's clusters */
}

void space_retry(struct writer *w)
{
	if (w->space.parked && !w->space.asking)
		ask(w, 1);
}

int space_take_run(struct writer *w, uint32_t n, struct fclu *first)
{
	int r = alloc_take_run(&w->alloc, n, first);
	if (r == -EAGAIN && w->space.error) {
		r = w->space.error;
		w->space.error = 0; /* told to one; the next tries again */
	}
	if (r == -EAGAIN && w->space.parked)
		return -ENOSPC;
	if (r == -EAGAIN && !w->space.busy)
		ask(w, MAX(run_clusters(w), n));
	return r;
}

int space_take_run_now(struct writer *w, uint32_t n, struct fclu *first)
{
	struct alloc *a = &w->alloc;
	struct store *store = w->image->store;
	uint64_t end = file_offset(w->disk, (struct fclu){a->tail + n}, 0);
	invariant(!w->space.busy);
	if (a->tail + n > a->space && end > store->size_bytes) {
		int r = store->ops->set_size(store, end);
		if (r < 0)
			return r;
		store->size_bytes = end;
	}
	a->space = MAX(a->space, a->tail + n);
	return alloc_take_run(a, n, first);
}

int space_take(struct frag *f, frag_step *then)
{
	struct pl_disk *d = f->disk;
	struct writer *w = f->w;
	struct space *s = &w->space;
	if (s->error) {
		int r = s->error;
		s->error = 0; /* told to one; the next tries again */
		return r;
	}
	if (s->parked && req_is_own(f->req))
		return -ENOSPC;
	int r = alloc_take(&w->alloc, &f->new_file, &f->reused);
	bool round_frees = w->freed.count > 0 || w->freed_round.count > 0;
	if (r == 0 && !req_is_own(f->req))
		d->first_writes++;
	if (r == -ENOSPC && round_frees && !d->failed) {
		frag_wait(f, &d->slot_waiters, then); /* woken by the round */
		commit_demand(w);
		return -EAGAIN;
	}
	if (r != -EAGAIN)
		return r;
	frag_wait(f, &s->waiters, then);
	if (!s->busy)
		ask(w, run_clusters(w));
	return -EAGAIN;
}
