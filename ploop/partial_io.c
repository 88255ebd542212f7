/* A write to a partial cluster, or that makes one:
 *
 *   whole units, or units that are valid   write in place -> settle
 *   others (RMW)                           gate, alone among writers -> load the units at both ends -> overlay -> write
 *                                          -> settle
 *   zeroes, discard                        whole units: punched; else as others; a discard passes over what is no unit
 *
 *   creating: before any of these          the gate -> fence -> a slot -> a file cluster
 *   settle                                 units are valid: written (D2). All of them: the cluster is whole, published
 *
 * Units at the end of a disk that is no multiple of 4 KiB are RMW like any that are not whole. */
#include "ploop/partial_io.h"

#include <linux/falloc.h>
#include <string.h>

#include "ploop/fill.h"

static void create_space(struct frag *f);
static void rmw_alone(struct frag *f);

/* ---- where things are */

bool partial_is_wanted(const struct pl_disk *d)
{
	const struct writer *w = d->writer;
	return !d->no_partial && w->partials && w->image == d->top && d->io_align <= LAY_UNIT_BYTES && !fill_runs(d, w);
}

static bool lies_over(const struct pl_disk *d, const struct writer *w, struct gclu g, struct map_entry e)
{
	return writer_has_partials(w) && partial_find(w->partials, g) != PARTIAL_NONE &&
	       (e.level == MAP_HOLE || d->rank[e.level] < d->rank[w->image->level]);
}

bool partial_covers(const struct pl_disk *d, struct gclu g, struct map_entry e)
{
	return lies_over(d, d->writer, g, e) || lies_over(d, d->leaving, g, e);
}

/* @e, or the image of @w where that has units. *@length: of the piece that is alike. */
static struct map_entry look(const struct pl_disk *d, const struct writer *w, struct gclu g, struct map_entry e,
			     uint32_t offset, uint32_t *length, bool *valid)
{
	*valid = false;
	if (!lies_over(d, w, g, e))
		return e;
	const struct partials *p = w->partials;
	uint32_t slot = partial_find(p, g), unit = offset / LAY_UNIT_BYTES;
	uint32_t end = (uint32_t)div_up((uint64_t)offset + *length, LAY_UNIT_BYTES);
	uint32_t run = partial_run(p, slot, unit, end, valid);
	*length = MIN(*length, (unit + run) * LAY_UNIT_BYTES - offset);
	return *valid ? (struct map_entry){.level = w->image->level, .file = p->slots[slot].f} : e;
}

/* The top comes first; an image that was the top, and is being sealed, may have a part of the same cluster. */
struct map_entry partial_look(const struct pl_disk *d, struct gclu g, struct map_entry e, uint32_t offset,
			      uint32_t *length)
{
	bool valid;
	struct map_entry at = look(d, d->writer, g, e, offset, length, &valid);
	return valid ? at : look(d, d->leaving, g, e, offset, length, &valid);
}

uint32_t partial_piece(struct frag *f)
{
	uint32_t length = f->length_bytes;
	f->at = partial_look(f->disk, f->g, f->at, f->offset_bytes, &length);
	return length;
}

struct map_entry partial_below(const struct writer *w, struct gclu g, uint32_t offset, uint32_t *length)
{
	const struct pl_disk *d = w->disk;
	struct map_entry e = map_get(&d->map, g);
	bool valid;
	if (w == d->leaving && d->rank[w->image->level] < d->rank[d->writer->image->level]) {
		/* The new top may have the cluster by now. */
		return w->partials->slots[partial_find(w->partials, g)].below;
	}
	return w == d->leaving ? e : look(d, d->leaving, g, e, offset, length, &valid);
}

/* The writer that has a part of @g and may still be written; NULL: none. */
static struct writer *part_owner(const struct pl_disk *d, struct gclu g)
{
	struct writer *both[] = {d->writer, d->leaving};
	for (size_t i = 0; i < ARRAY_LEN(both); i++)
		if (writer_has_partials(both[i]) && both[i]->image->writer == both[i] &&
		    partial_find(both[i]->partials, g) != PARTIAL_NONE)
			return both[i];
	return NULL;
}

/* ---- settle */

static void give_up(struct frag *f, int res)
{
	if (f->creates) {
		alloc_give(&f->w->alloc, f->new_file);
		partial_unreserve(f->w->partials);
	}
	frag_finish(f, res);
}

void partial_publish(struct writer *w, uint32_t slot)
{
	const struct partial_slot *s = &w->partials->slots[slot];
	struct gclu g = s->g;
	invariant(partial_is_full(w->partials, slot));
	map_set(&w->disk->map, g, w->image->level, s->f);
	pending_set(w->pending, g, s->f);
	partial_leave(w->partials, slot);
	if (pending_is_tight(w->pending))
		commit_demand(w);
	else
		commit_schedule(w);
}

/* All the same if it does not: a full cluster reads right, and fill.c publishes it. */
static void publish_if_full(struct frag *f, uint32_t slot)
{
	struct writer *w = f->w;
	const struct frag *holder = gate_find(f->disk, f->g);
	if (partial_is_full(w->partials, slot) && (!holder || holder == f) && pending_reserve(w->pending) == 0)
		partial_publish(w, slot);
}

static uint32_t insert(struct frag *f, uint32_t from, uint32_t to)
{
	uint64_t bits[LAY_MAX_UNIT_WORDS] = {0};
	for (uint32_t u = from; u < to; u++)
		bits[u / 64] |= UINT64_C(1) << (u % 64);
	f->creates = false;
	fill_schedule(f->disk);
	return partial_insert(f->w->partials, f->g, f->new_file, bits);
}

static void settle(struct frag *f)
{
	struct writer *w = f->w;
	struct partials *p = w->partials;
	uint32_t from = f->offset_bytes / LAY_UNIT_BYTES;
	uint32_t to = (uint32_t)div_up((uint64_t)f->offset_bytes + f->length_bytes, LAY_UNIT_BYTES);
	uint32_t slot = f->creates ? PARTIAL_NONE : partial_find(p, f->g);
	w->writes++;
	if (f->creates)
		slot = insert(f, from, to);
	else if (slot != PARTIAL_NONE)
		partial_set(p, slot, from, to);
	/* else it became whole while we wrote, in the same place */
	if (slot != PARTIAL_NONE) {
		p->slots[slot].touched = p->tick;
		publish_if_full(f, slot);
	}
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	commit_schedule(w);
	frag_finish(f, 0);
}

/* Is the write done? Else @then runs with what is left, or it has failed. */
static bool is_written(struct frag *f, frag_step *then)
{
	if (unlikely(f->io.res <= 0)) {
		give_up(f, f->io.res ? f->io.res : -EIO);
		return false;
	}
	if (likely((uint64_t)f->io.res == f->io.length))
		return true;
	io_go_on(f, f->w->image->store, then);
	return false;
}

static void written(struct frag *f)
{
	if (is_written(f, written))
		settle(f);
}

/* ---- units that the range covers in part */

static uint32_t range_from(const struct frag *f)
{
	return (uint32_t)round_down_pow2(f->offset_bytes, LAY_UNIT_BYTES);
}

static uint32_t range_to(const struct frag *f)
{
	return (uint32_t)round_up_pow2(f->offset_bytes + f->length_bytes, LAY_UNIT_BYTES);
}

static void overlay_and_write(struct frag *f)
{
	uint32_t from = range_from(f);
	uint8_t *into = (uint8_t *)f->bounce + (f->offset_bytes - from);
	if (f->data)
		memcpy(into, f->data, f->length_bytes);
	else
		memset(into, 0, f->length_bytes);
	frag_write(f, f->new_file, from, f->bounce, PL_IO_NO_BUFFER, range_to(f) - from, written);
}

static void load_next(struct frag *f);

static void unit_loaded(struct frag *f)
{
	if (f->io.res < 0)
		give_up(f, f->io.res);
	else if (io_is_read(f, level_store(f->disk, f->at.level), unit_loaded))
		load_next(f);
}

static void load_unit(struct frag *f, uint32_t at)
{
	struct pl_disk *d = f->disk;
	uint32_t length = LAY_UNIT_BYTES;
	struct map_entry e = partial_look(d, f->g, map_get(&d->map, f->g), at, &length);
	uint8_t *into = (uint8_t *)f->bounce + (at - range_from(f));
	f->at = e;
	if (e.level == MAP_HOLE) {
		memset(into, 0, LAY_UNIT_BYTES);
		load_next(f);
		return;
	}
	frag_read(f, e, at, into, PL_IO_NO_BUFFER, LAY_UNIT_BYTES, unit_loaded);
}

/* copied_bytes counts the ends that were looked at. */
static void load_next(struct frag *f)
{
	uint32_t from = range_from(f), to = range_to(f);
	bool is_one = to - from == LAY_UNIT_BYTES;
	if (f->copied_bytes++ == 0 && (f->offset_bytes != from || (is_one && f->offset_bytes + f->length_bytes != to)))
		load_unit(f, from);
	else if (f->copied_bytes < 3 && !is_one && f->offset_bytes + f->length_bytes != to) {
		f->copied_bytes = 3;
		load_unit(f, to - LAY_UNIT_BYTES);
	} else {
		overlay_and_write(f);
	}
}

static void rmw_start(struct frag *f)
{
	if (!f->bounce && !bounce_get(f, rmw_start))
		return;
	f->copied_bytes = 0;
	load_next(f);
}

/* It became whole before we were alone: from the beginning. */
static void start_anew(struct frag *f)
{
	gate_close(f);
	if (f->req->op == PL_WRITE)
		write_place(f);
	else
		zero_place(f);
}

static void rmw_alone(struct frag *f)
{
	if (!gate_drain_writers(f, rmw_alone))
		return;
	if (partial_find(f->w->partials, f->g) == PARTIAL_NONE)
		start_anew(f);
	else
		rmw_start(f);
}

static void rmw(struct frag *f)
{
	if (f->creates) {
		rmw_start(f);
		return;
	}
	gate_open(f);
	rmw_alone(f);
}

/* ---- zeros */

static bool keeps_space(const struct frag *f)
{
	return f->disk->keep_space || (f->req->flags & PL_NO_HOLE);
}

static void zeros_written(struct frag *f)
{
	if (!is_written(f, zeros_written))
		return;
	f->copied_bytes += MIN(f->length_bytes - f->copied_bytes, BOUNCE_BYTES);
	if (f->copied_bytes == f->length_bytes)
		settle(f);
	else
		frag_write(f, f->new_file, f->offset_bytes + f->copied_bytes, f->bounce, PL_IO_NO_BUFFER,
			   MIN(f->length_bytes - f->copied_bytes, BOUNCE_BYTES), zeros_written);
}

static void write_zeros(struct frag *f)
{
	if (!f->bounce && !bounce_get(f, write_zeros))
		return;
	memset(f->bounce, 0, BOUNCE_BYTES);
	f->copied_bytes = 0;
	frag_write(f, f->new_file, f->offset_bytes, f->bounce, PL_IO_NO_BUFFER, MIN(f->length_bytes, BOUNCE_BYTES),
		   zeros_written);
}

static void zeroed(struct frag *f)
{
	int res = f->io.res;
	if (res == -EOPNOTSUPP && f->req->op == PL_DISCARD)
		frag_finish(f, 0);
	else if (res == -EOPNOTSUPP && !(f->req->flags & PL_FAST_ZERO))
		write_zeros(f);
	else if (res < 0)
		give_up(f, res);
	else
		settle(f);
}

static void zero_units(struct frag *f)
{
	frag_fallocate(f, f->new_file, f->offset_bytes, f->length_bytes,
		       keeps_space(f) ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE, zeroed);
}

/* Whole units of what is discarded; false: there is none, or its space must stay. */
static bool shrink_to_units(struct frag *f)
{
	uint32_t from = (uint32_t)round_up_pow2(f->offset_bytes, LAY_UNIT_BYTES);
	uint32_t to = (uint32_t)round_down_pow2(f->offset_bytes + f->length_bytes, LAY_UNIT_BYTES);
	if (from >= to || keeps_space(f))
		return false;
	f->offset_bytes = from;
	f->length_bytes = to - from;
	return true;
}

/* ---- decide */

static bool is_valid_or_whole(const struct frag *f)
{
	const struct partials *p = f->w->partials;
	uint32_t end = f->offset_bytes + f->length_bytes, slot = f->creates ? PARTIAL_NONE : partial_find(p, f->g);
	bool head = is_aligned(f->offset_bytes, LAY_UNIT_BYTES), tail = is_aligned(end, LAY_UNIT_BYTES);
	if (slot == PARTIAL_NONE)
		return head && tail;
	return (head || partial_unit_is_valid(p, slot, f->offset_bytes / LAY_UNIT_BYTES)) &&
	       (tail || partial_unit_is_valid(p, slot, end / LAY_UNIT_BYTES));
}

/* f->w and f->new_file say where. */
static void decide(struct frag *f)
{
	bool in_units = is_aligned(f->offset_bytes | f->length_bytes, LAY_UNIT_BYTES);
	if (f->data && is_valid_or_whole(f) && is_io_aligned(f))
		frag_write(f, f->new_file, f->offset_bytes, f->data, f->req->buf_index, f->length_bytes, written);
	else if (!f->data && in_units && f->creates && !f->reused && !(f->req->flags & PL_NO_HOLE))
		settle(f); /* fresh space reads as zeros */
	else if (!f->data && in_units)
		zero_units(f);
	else if (!f->data && (f->req->flags & PL_FAST_ZERO))
		give_up(f, -EOPNOTSUPP);
	else
		rmw(f);
}

bool partial_write(struct frag *f)
{
	struct writer *w = part_owner(f->disk, f->g);
	if (!w)
		return false;
	f->w = w;
	f->new_file = w->partials->slots[partial_find(w->partials, f->g)].f;
	f->creates = false;
	if (f->req->op == PL_DISCARD && !shrink_to_units(f))
		frag_finish(f, 0);
	else
		decide(f);
	return true;
}

/* ---- creating */

static void create_space(struct frag *f)
{
	int r = space_take(f, create_space);
	if (r == 0) {
		f->creates = true;
		decide(f);
	} else if (r != -EAGAIN) {
		partial_unreserve(f->w->partials);
		frag_finish(f, r);
	}
}

void partial_create(struct frag *f)
{
	struct writer *w = f->w;
	if (f->disk->failed) {
		frag_finish(f, -EIO);
		return;
	}
	enum journal_fence fence = journal_raise(w);
	if (unlikely(fence == FENCE_WAIT)) {
		frag_wait(f, &f->disk->slot_waiters, partial_create);
		commit_demand(w);
	} else if (fence == FENCE_UP && partial_reserve(w->partials)) {
		create_space(f);
	} else {
		first_write_whole(f);
	}
}
