#include "ploop/change.h"

#include <stdio.h>

#include "ploop/fill.h"
#include "ploop/lock.h"
#include "ploop/merge.h"

static void tell(struct pl_io *io)
{
	struct pl_change *c = container_of(io, struct pl_change, io);
	if (c->disk->change == c)
		c->disk->change = NULL;
	c->done(c);
}

static void end(struct pl_disk *d, struct pl_change *change, int res)
{
	change->res = res;
	snprintf(change->error, sizeof(change->error), "%s", res < 0 ? pl_error() : "");
	change->io.done = tell;
	pl_loop_complete(d->loop, &change->io, 0);
}

int change_begin(struct pl_disk *d, struct pl_change *change)
{
	change->disk = d;
	change->res = 0;
	change->pause_ns = change->done_bytes = change->total_bytes = 0;
	if (!d->change) {
		d->change = change;
		return 0;
	}
	pl_fail(-EBUSY, "%s: another change of the chain is under way", d->top->path);
	end(d, change, -EBUSY);
	return -EBUSY;
}

int change_judge_images(const struct pl_disk *d)
{
	if (d->readonly)
		return pl_fail(-EROFS, "%s: the disk is open for reading only", d->top->path);
	if (d->failed)
		return pl_fail(-EIO, "%s: a sync failed, the chain changes no more", d->top->path);
	if (d->pushed)
		return pl_fail(-EBUSY, "%s: a new top is about to be switched to", d->top->path);
	return 0;
}

void change_done(struct pl_disk *d, int res)
{
	end(d, d->change, res);
}

void change_progress(struct pl_disk *d, uint64_t done_bytes, uint64_t total_bytes)
{
	d->change->done_bytes = done_bytes;
	d->change->total_bytes = total_bytes;
	if (d->change->progress)
		d->change->progress(d->change);
}

void pl_disk_change_cancel(struct pl_disk *d)
{
	if (d->merge)
		merge_cancel(d->merge);
	fill_all_cancel(d);
}

size_t pl_disk_members(const struct pl_disk *d, struct pl_member *out, size_t max)
{
	uint64_t clusters[LEVELS_MAX + 1] = {0};
	for (uint32_t i = 0; max > 0 && i < d->map.clusters; i++)
		clusters[d->map.level[i]]++;
	for (uint32_t i = 0; i < MIN(d->depth, max); i++) {
		const struct image *img = chain_at(d, i);
		out[i] = (struct pl_member){
			.path = img->path,
			.dev = img->store->dev,
			.ino = img->store->ino,
			.clusters = clusters[img->level],
			.raw = img->format == PL_FORMAT_RAW,
			.others_read = img->store->fd >= 0 && lock_has_others(img->store->fd),
		};
	}
	return d->depth;
}
