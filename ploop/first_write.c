/* The first write to a cluster that the top image does not have.
 *
 *   decide -> gate -> slot -> space -> fill -> publish
 *
 *   decide   zeros onto a hole need nothing; all else needs a cluster of the top
 *   gate     one fragment at a time moves a guest cluster; others that would write it wait
 *   slot     a pending slot is promised, so that publish cannot fail
 *   space    a file cluster is taken; the file is extended ahead, in runs
 *   fill     fresh space reads as zeros, so only guest bytes are written; a reused cluster is zeroed first (D4); a
 *            cluster that lives in a lower delta is copied around the guest bytes, piece by piece (cow_*)
 *   publish  map and pending table name the new cluster: written (D2). Durable after a commit round (D3) */
#include <linux/falloc.h>
#include <string.h>

#include "ploop/disk.h"
#include "ploop/merge.h"
#include "ploop/partial_io.h"
#include "ploop/quiesce.h"

static void cow_next_piece(struct frag *f);
static void copy(struct frag *f);
static void take_slot(struct frag *f);
static void take_space(struct frag *f);

/* ---- publish */

static void give_up(struct frag *f, int res)
{
	if (f->req->op == OP_MOVE) {
		move_give_up(f, res);
		return;
	}
	alloc_give(&f->w->alloc, f->new_file);
	pending_unreserve(f->w->pending);
	frag_finish(f, res);
}

/* Onto a hole, with space that is zeros until the data arrives, whatever happens. */
static bool reads_as_before(const struct frag *f)
{
	return f->at.level == MAP_HOLE && !f->reused && f->new_file.n < f->w->space.durable_end;
}

static void publish(struct frag *f)
{
	struct writer *w = f->w;
	w->writes++;
	map_set(&f->disk->map, f->g, w->image->level, f->new_file);
	if (reads_as_before(f))
		pending_set_fresh(w->pending, f->g, f->new_file);
	else
		pending_set(w->pending, f->g, f->new_file);
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	if (pending_is_tight(w->pending))
		commit_demand(w);
	else
		commit_schedule(w);
	frag_finish(f, 0);
}

/* Is the operation on the new cluster done? Else the cluster is given back, or @then runs with the rest of a write. */
static bool is_done(struct frag *f, frag_step *then)
{
	bool is_write = f->io.kind == PL_IO_WRITE;
	if (unlikely(f->io.res < 0 || (is_write && f->io.res == 0))) {
		give_up(f, f->io.res ? f->io.res : -EIO);
		return false;
	}
	uint64_t put = (uint64_t)f->io.res;
	if (likely(!is_write || put == f->io.length))
		return true;
	io_go_on(f, f->w->image->store, then);
	return false;
}

/* ---- fill: guest bytes onto zeros */

static void data_written(struct frag *f)
{
	if (is_done(f, data_written))
		publish(f);
}

static void write_guest_bytes(struct frag *f)
{
	struct pl_disk *d = f->disk;
	uint32_t align = d->io_align;
	uint32_t from = f->offset_bytes, to = f->offset_bytes + f->length_bytes;
	void *data = f->data;
	uint16_t buf_index = f->req->buf_index;
	if (unlikely(!is_io_aligned(f))) {
		if (!f->bounce && !bounce_get(f, write_guest_bytes))
			return;
		from = (uint32_t)round_down_pow2(from, align);
		to = (uint32_t)round_up_pow2(to, align);
		memset(f->bounce, 0, to - from);
		memcpy((uint8_t *)f->bounce + (f->offset_bytes - from), f->data, f->length_bytes);
		data = f->bounce;
		buf_index = PL_IO_NO_BUFFER;
	}
	frag_write(f, f->new_file, from, data, buf_index, to - from, data_written);
}

static void zeroed(struct frag *f)
{
	if (f->io.res == -EOPNOTSUPP) { /* no such call on this file system: write the zeros */
		f->at.level = MAP_HOLE;
		copy(f);
		return;
	}
	if (!is_done(f, zeroed))
		return;
	if (f->data)
		write_guest_bytes(f);
	else
		publish(f);
}

static void zero_cluster(struct frag *f)
{
	bool keep = f->data || (f->req->flags & PL_NO_HOLE);
	frag_fallocate(f, f->new_file, 0, f->disk->cluster_bytes, keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE,
		       zeroed);
}

/* ---- fill: copy from below, around the guest bytes. Also the way to write zeros where the file system cannot. */

/* Requests are held and nothing is written yet: the copy is given up, to be decided anew afterwards. */
static bool withdraw(struct frag *f)
{
	if (!f->disk->held || f->copied_bytes > 0 || req_is_own(f->req))
		return false;
	alloc_give(&f->w->alloc, f->new_file);
	pending_unreserve(f->w->pending);
	if (f->bounce)
		bounce_put(f);
	gate_close(f);
	frag_rest(f);
	frag_withdraw(f, f->data ? write_place : zero_place);
	return true;
}

static void copy(struct frag *f)
{
	struct merge *m = f->disk->merge;
	f->copied_bytes = 0;
	f->piece_bytes = req_is_own(f->req) && m ? merge_step_bytes(m) : BOUNCE_BYTES;
	cow_next_piece(f);
}

static uint32_t piece_bytes(const struct frag *f)
{
	return MIN(f->disk->cluster_bytes - f->copied_bytes, f->piece_bytes);
}

static void cow_piece_written(struct frag *f)
{
	if (!is_done(f, cow_piece_written))
		return;
	f->copied_bytes += piece_bytes(f);
	if (f->copied_bytes < f->disk->cluster_bytes)
		cow_next_piece(f);
	else if (f->req->op == OP_MOVE)
		move_copied(f);
	else
		publish(f);
}

static void cow_write_piece(struct frag *f)
{
	uint32_t from = MAX(f->copied_bytes, f->offset_bytes);
	uint32_t to = MIN(f->copied_bytes + piece_bytes(f), f->offset_bytes + f->length_bytes);
	if (from < to) {
		uint8_t *into = (uint8_t *)f->bounce + (from - f->copied_bytes);
		if (f->data)
			memcpy(into, f->data + (from - f->offset_bytes), to - from);
		else
			memset(into, 0, to - from);
	}
	frag_write(f, f->new_file, f->copied_bytes, f->bounce, PL_IO_NO_BUFFER, piece_bytes(f), cow_piece_written);
}

static void cow_piece_read(struct frag *f)
{
	if (f->io.res < 0) {
		give_up(f, f->io.res);
		return;
	}
	uint64_t got = (uint64_t)f->io.res;
	if (got < f->io.length) { /* a raw base ends here; nothing else is short */
		if (f->io.offset + got < level_store(f->disk, f->at.level)->size_bytes) {
			give_up(f, -EIO);
			return;
		}
		memset((uint8_t *)f->bounce + got, 0, f->io.length - got);
	}
	if (unlikely(withdraw(f)))
		quiesce_poll(f->disk);
	else
		cow_write_piece(f);
}

static void cow_next_piece(struct frag *f)
{
	if (!f->bounce && !bounce_get(f, cow_next_piece))
		return;
	uint32_t bytes = piece_bytes(f);
	bool covered = f->offset_bytes <= f->copied_bytes &&
		       f->offset_bytes + f->length_bytes >= f->copied_bytes + bytes;
	if (covered || f->at.level == MAP_HOLE) {
		if (!covered)
			memset(f->bounce, 0, bytes);
		cow_write_piece(f);
		return;
	}
	frag_read(f, f->at, f->copied_bytes, f->bounce, PL_IO_NO_BUFFER, bytes, cow_piece_read);
}

/* ---- gate, slot, space */

static void fill(struct frag *f)
{
	bool lives_below = f->at.level != MAP_HOLE;
	if (lives_below && !is_whole_cluster(f))
		copy(f);
	else if (!f->data)
		zero_cluster(f);
	else if (f->reused && !is_whole_cluster(f))
		zero_cluster(f);
	else
		write_guest_bytes(f);
}

static void take_space(struct frag *f)
{
	int r = space_take(f, take_space);
	if (r == 0)
		fill(f);
	else if (r != -EAGAIN) {
		pending_unreserve(f->w->pending);
		frag_finish(f, r);
	}
}

static void take_slot(struct frag *f)
{
	if (slot_take(f, f->w, take_slot))
		take_space(f);
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

void first_writes_withdraw(struct pl_disk *d)
{
	struct queue waiting;
	queue_move(&waiting, &d->bounce_waiters);
	for (struct qnode *n; (n = queue_take(&waiting));) {
		struct frag *f = frag_of_wait(n);
		if (f->then != cow_next_piece || !withdraw(f))
			queue_append(&d->bounce_waiters, n);
	}
}

void first_write_data(struct frag *f)
{
	copy(f);
}

void first_write_copy(struct frag *f, struct writer *w)
{
	f->w = w;
	gate_open(f);
	take_slot(f);
}

void first_write_whole(struct frag *f)
{
	take_slot(f);
}

void first_write_start(struct frag *f)
{
	struct pl_disk *d = f->disk;
	bool zeros = !f->data || is_zero(f->data, f->length_bytes);
	f->w = d->writer;
	if (unlikely(disk_has_partials(d)) && partial_write(f))
		return;
	if (f->at.level == MAP_HOLE && zeros && !(f->req->flags & PL_NO_HOLE)) {
		if (f->req->flags & PL_FUA && disk_entry_is_pending(d, f->g))
			req_state(f->req)->must_commit = true; /* that it is a hole may not be durable yet */
		frag_finish(f, 0);
		return;
	}
	invariant(!map_has_below(&d->map, f->g) || f->at.level != MAP_HOLE);
	gate_open(f);
	if (f->at.level != MAP_HOLE && !is_whole_cluster(f) && partial_is_wanted(d))
		partial_create(f);
	else
		take_slot(f);
}
