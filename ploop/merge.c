#include "ploop/merge.h"

#include <stdlib.h>

#include "ploop/chain.h"
#include "ploop/lock.h"
#include "ploop/merge_job.h"

/* ---- what the kinds share */

uint64_t merge_pace_ns(struct merge *m, uint64_t took_ns)
{
	return pace_guest_works(&m->guest, m->disk) ? pace_rest_ns(took_ns) : 0;
}

uint32_t merge_step_bytes(struct merge *m)
{
	return pace_guest_works(&m->guest, m->disk) ? PACE_STEP_BYTES : BOUNCE_BYTES;
}

void merge_end(struct merge *m, int res)
{
	struct pl_disk *d = m->disk;
	pl_timer_stop(d->loop, &m->pace);
	fold_free(m->fold);
	free(m->stale);
	free(m);
	d->merge = NULL;
	disk_event(d, "merged", d->depth, (uint64_t)-res);
	change_done(d, res);
}

void merge_forget(struct pl_disk *d, struct image *img)
{
	chain_remove(d, img);
	image_close(img);
}

int merge_open_for_writing(struct image *img, struct store **out)
{
	struct store *now = img->store;
	bool has_locks = now->fd >= 0;
	int r = now->ops->open_again(now, img->path, out);
	if (r < 0)
		return r;
	if (has_locks) {
		lock_drop(now->fd);
		r = lock_image((*out)->fd, LOCK_WRITER, 0, img->path);
	}
	if (r < 0) {
		store_close(*out);
		*out = NULL;
		lock_image(now->fd, LOCK_READER, 0, img->path);
	}
	return r;
}

void merge_close_written(struct image *img, struct store *written)
{
	img->store->size_bytes = written->size_bytes;
	if (written->fd >= 0) {
		lock_drop(written->fd);
		lock_image(img->store->fd, LOCK_READER, 0, img->path);
	}
	store_close(written);
}

/* ---- begin, cancel */

static int begin(struct pl_disk *d, uint32_t child, enum pl_merge_into into)
{
	int r = change_judge_images(d);
	if (r < 0)
		return r;
	if (child == 0 || child >= d->depth)
		return pl_fail(-EINVAL, "%s: image %u of a chain of %u has no parent to merge with", d->top->path,
			       child, d->depth);
	struct merge *m = calloc(1, sizeof(*m));
	if (!m)
		return pl_fail(-ENOMEM, "%s: no memory to merge", d->top->path);
	m->disk = d;
	m->child = chain_at(d, child);
	m->parent = chain_at(d, child - 1);
	m->guest.requests = d->guest_requests;
	d->merge = m;
	if (into == PL_INTO_CHILD && m->parent->format == PL_FORMAT_RAW)
		r = pl_fail(-EINVAL, "%s is raw: it can only be merged into", m->parent->path);
	else if (m->child != d->top)
		r = merge_begin_fold(m, into);
	else
		r = into == PL_INTO_CHILD ? merge_begin_pull(m) : merge_begin_drain(m);
	if (r < 0) {
		d->merge = NULL;
		free(m->stale);
		free(m);
	}
	return r;
}

void pl_disk_merge(struct pl_disk *d, uint32_t child, enum pl_merge_into into, struct pl_change *change)
{
	int r = change_begin(d, change);
	if (r < 0)
		return;
	disk_event(d, "merge", child, into);
	r = begin(d, child, into);
	if (r < 0)
		change_done(d, r);
}

void merge_cancel(struct merge *m)
{
	m->cancelled = true;
	m->cancel(m);
}
