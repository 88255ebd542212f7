/* Discard and write zeroes, a guest cluster at a time.
 *
 *                       whole cluster                            part of one
 *   in the top          nothing below: unmap, its space is free   punch (zero-range if the space must stay)
 *                       something below: punch, keep the entry
 *   in a lower delta    zeroes: first write of zeros             zeroes: copy with zeros in it
 *                       discard: nothing (it must not uncover what is below, and need not hide it)
 *   hole                nothing, unless the space is wanted (NO_HOLE)
 *
 * A cluster that is unmapped goes back to the allocator after the round that clears its BAT entry (D4). */
#include <linux/falloc.h>
#include <string.h>

#include "ploop/disk.h"
#include "ploop/partial_io.h"

static bool is_discard(const struct frag *f)
{
	return f->req->op == PL_DISCARD;
}

/* ---- in the top, in place */

static void zeros_written(struct frag *f)
{
	if (f->io.res <= 0) {
		frag_finish(f, f->io.res ? f->io.res : -EIO);
		return;
	}
	f->w->writes++;
	f->copied_bytes += (uint32_t)f->io.res;
	if (f->copied_bytes == f->length_bytes) {
		frag_finish(f, 0);
		return;
	}
	f->io.offset += (uint64_t)f->io.res;
	f->io.length = MIN(f->length_bytes - f->copied_bytes, BOUNCE_BYTES);
	frag_io(f, f->w->image->store, zeros_written);
}

/* In pieces that direct I/O does not take. */
static void write_unaligned_zeros(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct frag *holder = gate_find(d, f->g);
	frag_rest(f); /* the holder may wait for us */
	if (holder) {
		frag_wait(f, &holder->gate_waiters, write_unaligned_zeros);
		return;
	}
	f->at = map_get(&d->map, f->g);
	f->w = partial_writer(d, f->g, f->at);
	if (f->w)
		bounced_write(f);
	else
		zero_place(f); /* unmapped meanwhile */
}

/* Where the file system can neither punch nor zero. */
static void write_zeros(struct frag *f)
{
	if (f->req->flags & PL_FAST_ZERO) {
		frag_finish(f, -EOPNOTSUPP);
		return;
	}
	if (!is_io_aligned(f)) {
		write_unaligned_zeros(f);
		return;
	}
	if (!f->bounce && !bounce_get(f, write_zeros))
		return;
	memset(f->bounce, 0, BOUNCE_BYTES);
	f->copied_bytes = 0;
	frag_write(f, f->at.file, f->offset_bytes, f->bounce, PL_IO_NO_BUFFER, MIN(f->length_bytes, BOUNCE_BYTES),
		   zeros_written);
}

static void zeroed_in_place(struct frag *f)
{
	if (f->io.res == -EOPNOTSUPP && !is_discard(f))
		write_zeros(f);
	else if (f->io.res < 0 && f->io.res != -EOPNOTSUPP)
		frag_finish(f, f->io.res);
	else {
		f->w->writes++;
		frag_finish(f, 0);
	}
}

static void zero_in_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	bool keep = d->keep_space || (f->req->flags & PL_NO_HOLE);
	if (is_discard(f) && keep) {
		frag_finish(f, 0);
		return;
	}
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	frag_fallocate(f, f->at.file, f->offset_bytes, f->length_bytes,
		       keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE, zeroed_in_place);
}

/* ---- in the top, unmapped */

static void punched(struct frag *f)
{
	/* A file system that cannot punch keeps the space until the cluster is used again. */
	struct writer *w = f->w;
	w->writes++;
	map_clear(&f->disk->map, f->g);
	pending_set(w->pending, f->g, (struct fclu){0});
	file_list_add(&w->freed, f->at.file);
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	if (w->freed.count >= FREED_MAX) /* else the file grows while free space waits for its round */
		commit_demand(w);
	else
		commit_schedule(w);
	frag_finish(f, 0);
}

static void unmap_alone(struct frag *f)
{
	if (!gate_drain(f, unmap_alone))
		return;
	frag_fallocate(f, f->at.file, 0, f->disk->cluster_bytes, FALLOC_FL_PUNCH_HOLE, punched);
}

static void unmap_start(struct frag *f)
{
	if (slot_take(f, f->w, unmap_start))
		unmap_alone(f);
}

/* ---- decide */

static bool may_unmap(const struct frag *f)
{
	const struct pl_disk *d = f->disk;
	return f->w->pending && is_whole_cluster(f) && !d->keep_space && !(f->req->flags & PL_NO_HOLE) &&
	       !map_has_below(&d->map, f->g);
}

void zero_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct frag *holder = d->gate_count ? gate_find(d, f->g) : NULL;
	if (holder) {
		frag_wait(f, &holder->gate_waiters, zero_place);
		return;
	}
	f->at = map_get(&d->map, f->g);
	f->w = partial_writer(d, f->g, f->at);
	if (f->w) {
		if (may_unmap(f)) {
			gate_open(f);
			f->excludes_readers = true;
			unmap_start(f);
		} else {
			zero_in_place(f);
		}
	} else if (is_discard(f)) {
		if (likely(!disk_has_partials(d)) || !partial_write(f))
			frag_finish(f, 0);
	} else if (f->at.level != MAP_HOLE && !is_whole_cluster(f) && (f->req->flags & PL_FAST_ZERO) &&
		   !partial_is_wanted(d)) {
		frag_finish(f, -EOPNOTSUPP);
	} else {
		first_write_start(f);
	}
}

void zero_start(struct frag *f)
{
	f->data = NULL;
	zero_place(f);
}
