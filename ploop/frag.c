/* Fragments: taking and returning them, their I/O, the queues they wait on, and the gates.
 *
 * A gate is the right to change where one guest cluster lives. Its holder is a fragment; others that would write the
 * cluster wait on it. Nobody waits while holding a gate for another gate, so there is no order to keep. */
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/reserve.h"
#include "ploop/disk.h"
#include "ploop/quiesce.h"

/* ---- life */

static struct frag *frag_get(struct pl_disk *d)
{
	struct frag *f = d->free_frags;
	if (likely(f != NULL)) {
		d->free_frags = f->gate_next;
		d->frags_in_use++;
	}
	return f;
}

static void frag_put(struct frag *f)
{
	struct pl_disk *d = f->disk;
	invariant(!f->holds_gate && !f->bounce);
	f->gate_next = d->free_frags;
	d->free_frags = f;
	d->frags_in_use--;
	if (unlikely(!queue_is_empty(&d->starved)))
		disk_wake(d, NULL);
}

/* Take the first cluster's share of what is left of the request. */
void frag_cut(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct req_state *s = req_state(f->req);
	uint64_t left = s->end_bytes - s->cursor_bytes;
	f->g.n = (uint32_t)(s->cursor_bytes >> d->cluster_shift);
	f->offset_bytes = (uint32_t)(s->cursor_bytes & (d->cluster_bytes - 1));
	f->length_bytes = (uint32_t)MIN(left, d->cluster_bytes - f->offset_bytes);
	f->run = 1;
	f->left_bytes = 0;
	f->creates = false;
	f->data = f->req->buf ? (uint8_t *)f->req->buf + (s->cursor_bytes - f->req->offset_bytes) : NULL;
	if (unlikely(!is_io_aligned(f) || !is_aligned(f->offset_bytes | f->length_bytes, LAY_UNIT_BYTES)))
		f->length_bytes = MIN(f->length_bytes, BOUNCE_BYTES / 2);
	s->cursor_bytes += f->length_bytes;
}

void req_advance(struct pl_req *req)
{
	static frag_step *const starts[] = {
		[PL_READ] = read_start,
		[PL_WRITE] = write_start,
		[PL_DISCARD] = zero_start,
		[PL_WRITE_ZEROES] = zero_start,
		[OP_PULL] = pull_start,
		[OP_MOVE] = move_start,
		[OP_FILL] = fill_start,
	};
	struct req_state *s = req_state(req);
	struct pl_disk *d = s->disk;
	s->holds++;
	while (s->cursor_bytes < s->end_bytes && req->res == 0) {
		struct frag *f = frag_get(d);
		if (unlikely(!f)) {
			queue_append(&d->starved, &s->node); /* with our hold */
			return;
		}
		f->req = req;
		s->holds++;
		frag_cut(f);
		starts[req->op](f);
	}
	if (--s->holds == 0)
		req_finish(req);
}

void frag_rest(struct frag *f)
{
	struct pl_disk *d = f->disk;
	f->active = false;
	if (unlikely(!queue_is_empty(&d->drain_waiters)))
		disk_wake(d, &d->drain_waiters);
}

void frag_finish(struct frag *f, int res)
{
	struct pl_disk *d = f->disk;
	struct pl_req *req = f->req;
	struct req_state *s = req_state(req);
	if (unlikely(res < 0 && req->res == 0))
		req->res = res;
	if (f->holds_gate)
		gate_close(f);
	if (f->bounce)
		bounce_put(f);
	frag_rest(f);
	frag_put(f);
	if (--s->holds == 0)
		req_finish(req);
	quiesce_poll(d);
}

/* ---- I/O */

/* D8: no space on the host is not an error for the guest: the write waits for space. */
static void frag_park(struct frag *f)
{
	struct pl_disk *d = f->disk;
	if (!f->parked) {
		disk_event(d, "no-space", f->g.n, f->io.length);
		d->full.frags++;
	}
	f->parked = true;
	queue_append(&d->parked, &f->wait);
	full_began(d, f->store->path, f->io.res);
}

/* It failed, or found no space before. Does it wait now? */
static bool frag_io_trouble(struct frag *f)
{
	struct pl_disk *d = f->disk;
	if (is_no_space(f->io.res) && full_waits(d) && !req_is_own(f->req)) {
		frag_park(f);
		return true;
	}
	if (f->parked) {
		f->parked = false;
		d->full.frags--;
		full_poll(d);
	}
	if (f->io.res < 0)
		io_error_note(f);
	return false;
}

static void frag_io_done(struct pl_io *io)
{
	struct frag *f = (struct frag *)io;
	if (unlikely(io->res < 0 || f->parked) && frag_io_trouble(f))
		return;
	f->then(f);
}

void frag_io(struct frag *f, struct store *store, frag_step *then)
{
	f->then = then;
	f->store = store;
	f->io.done = frag_io_done;
	f->active = true;
	store_submit(store, &f->io);
}

void frag_read(struct frag *f, struct map_entry from, uint32_t at, void *into, uint16_t buf_index, uint32_t length,
	       frag_step *then)
{
	f->io.kind = PL_IO_READ;
	f->io.flags = 0;
	f->io.buf = into;
	f->io.buf_index = buf_index;
	f->io.length = length;
	f->io.offset = file_offset(f->disk, from.file, at);
	frag_io(f, level_store(f->disk, from.level), then);
}

void frag_write(struct frag *f, struct fclu to, uint32_t at, void *data, uint16_t buf_index, uint32_t length,
		frag_step *then)
{
	f->io.kind = PL_IO_WRITE;
	f->io.flags = 0;
	f->io.buf = data;
	f->io.buf_index = buf_index;
	f->io.length = length;
	f->io.offset = file_offset(f->disk, to, at);
	frag_io(f, f->w->image->store, then);
}

void frag_fallocate(struct frag *f, struct fclu to, uint32_t at, uint32_t length, int mode, frag_step *then)
{
	f->io.kind = PL_IO_FALLOCATE;
	f->io.flags = 0;
	f->io.arg = mode | FALLOC_FL_KEEP_SIZE;
	f->io.offset = file_offset(f->disk, to, at);
	f->io.length = length;
	frag_io(f, f->w->image->store, then);
}

void io_go_on(struct frag *f, struct store *store, frag_step *then)
{
	uint64_t done = (uint64_t)f->io.res;
	f->io.buf = (uint8_t *)f->io.buf + done;
	f->io.offset += done;
	f->io.length -= done;
	frag_io(f, store, then);
}

bool io_is_read(struct frag *f, struct store *store, frag_step *then)
{
	uint64_t got = (uint64_t)f->io.res;
	if (got > 0 && got < f->io.length && f->io.offset + got < store->size_bytes) {
		io_go_on(f, store, then);
		return false;
	}
	memset((uint8_t *)f->io.buf + got, 0, f->io.length - got);
	return true;
}

void frag_resume_parked(struct pl_disk *d)
{
	struct queue parked;
	queue_move(&parked, &d->parked);
	for (struct qnode *n; (n = queue_take(&parked));)
		store_submit(frag_of_wait(n)->store, &frag_of_wait(n)->io);
}

/* ---- waiting */

void frag_wait(struct frag *f, struct queue *queue, frag_step *then)
{
	f->then = then;
	queue_append(queue, &f->wait);
}

static void run_waiters(struct queue *queue)
{
	struct queue ready;
	queue_move(&ready, queue);
	for (struct qnode *n; (n = queue_take(&ready));) {
		struct frag *f = frag_of_wait(n);
		bool undecided = f->then == read_place || f->then == write_place || f->then == zero_place;
		if (unlikely(f->disk->held) && undecided)
			frag_withdraw(f, f->then);
		else
			f->then(f);
	}
}

void frag_withdraw(struct frag *f, frag_step *then)
{
	frag_wait(f, &f->disk->withdrawn, then);
	f->disk->withdrawn_count++;
}

void frag_release_withdrawn(struct pl_disk *d)
{
	d->withdrawn_count = 0;
	disk_wake(d, &d->withdrawn);
}

static void kick_done(struct pl_io *io)
{
	struct pl_disk *d = container_of(io, struct pl_disk, kick_io);
	d->kick_pending = false;
	run_waiters(&d->woken);
	quiesce_poll(d);
	if (unlikely(d->held))
		return;

	struct queue starved;
	queue_move(&starved, &d->starved);
	for (struct qnode *n; (n = queue_take(&starved));) {
		struct pl_req *req = req_of_node(n);
		req_state(req)->holds--; /* the queue's */
		req_advance(req);
	}
}

void disk_wake(struct pl_disk *d, struct queue *queue)
{
	for (struct qnode *n; queue && (n = queue_take(queue));)
		queue_append(&d->woken, n);
	if (d->kick_pending)
		return;
	d->kick_pending = true;
	d->kick_io.done = kick_done;
	pl_loop_complete(d->loop, &d->kick_io, 0);
}

bool slot_take(struct frag *f, struct writer *w, frag_step *then)
{
	struct pl_disk *d = f->disk;
	if (likely(pending_reserve(w->pending) == 0))
		return true;
	if (d->failed) {
		frag_finish(f, -EIO);
		return false;
	}
	frag_wait(f, &d->slot_waiters, then);
	commit_demand(w);
	return false;
}

/* ---- gates */

static struct frag **gate_bucket(struct pl_disk *d, struct gclu g)
{
	return &d->gates[g.n % GATE_BUCKETS];
}

struct frag *gate_find(const struct pl_disk *d, struct gclu g)
{
	struct frag *f = d->gates[g.n % GATE_BUCKETS];
	while (f && f->g.n != g.n)
		f = f->gate_next;
	return f;
}

void gate_open(struct frag *f)
{
	invariant(!f->holds_gate && !gate_find(f->disk, f->g));
	struct frag **bucket = gate_bucket(f->disk, f->g);
	f->holds_gate = true;
	f->excludes_readers = false;
	f->gate_next = *bucket;
	f->gate_waiters = (struct queue){0};
	*bucket = f;
	f->disk->gate_count++;
}

void gate_close(struct frag *f)
{
	struct frag **at = gate_bucket(f->disk, f->g);
	while (*at != f)
		at = &(*at)->gate_next;
	*at = f->gate_next;
	f->holds_gate = false;
	f->disk->gate_count--;
	if (!queue_is_empty(&f->gate_waiters))
		disk_wake(f->disk, &f->gate_waiters);
}

static bool covers(const struct frag *f, struct gclu g)
{
	return g.n - f->g.n < f->run;
}

static bool is_alone(const struct frag *f, bool among_writers)
{
	const struct pl_disk *d = f->disk;
	for (uint32_t i = 0; i < FRAG_COUNT; i++) {
		const struct frag *other = &d->frags[i];
		if (other->active && other != f && covers(other, f->g) && !(among_writers && other->req->op == PL_READ))
			return false;
	}
	return true;
}

bool gate_drain(struct frag *f, frag_step *then)
{
	if (is_alone(f, false))
		return true;
	frag_wait(f, &f->disk->drain_waiters, then);
	return false;
}

bool gate_drain_writers(struct frag *f, frag_step *then)
{
	if (is_alone(f, true))
		return true;
	frag_wait(f, &f->disk->drain_waiters, then);
	return false;
}

/* ---- bounce buffers: our own, so that they never wait for payload memory that waits for them */

#define HUGE_PAGE_BYTES (2u << 20)

bool bounce_init(struct pl_disk *d)
{
	d->bounce_memory = aligned_alloc(HUGE_PAGE_BYTES, BOUNCE_COUNT * BOUNCE_BYTES);
	if (!d->bounce_memory)
		return false;
	madvise(d->bounce_memory, BOUNCE_COUNT * BOUNCE_BYTES, MADV_HUGEPAGE);
	for (uint32_t i = 0; i < BOUNCE_COUNT; i++)
		d->bounces[i] = d->bounce_memory + (size_t)i * BOUNCE_BYTES;
	d->bounce_free = BOUNCE_COUNT;
	return true;
}

void bounce_fini(struct pl_disk *d)
{
	free(d->bounce_memory);
}

bool bounce_get(struct frag *f, frag_step *then)
{
	struct pl_disk *d = f->disk;
	if (d->bounce_free == 0) {
		frag_wait(f, &d->bounce_waiters, then);
		return false;
	}
	f->bounce = d->bounces[--d->bounce_free];
	return true;
}

/* Give their memory back while nobody uses them. */
void bounce_trim(struct pl_disk *d)
{
	if (d->bounce_free == BOUNCE_COUNT)
		space_clear(d->bounce_memory, BOUNCE_COUNT * BOUNCE_BYTES);
}

void bounce_put(struct frag *f)
{
	struct pl_disk *d = f->disk;
	d->bounces[d->bounce_free++] = f->bounce;
	f->bounce = NULL;
	if (!queue_is_empty(&d->bounce_waiters))
		disk_wake(d, &d->bounce_waiters);
}
