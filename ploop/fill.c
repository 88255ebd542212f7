#include "ploop/fill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ploop/pace.h"
#include "ploop/partial_io.h"

#define FILL_SLOTS   4u
#define TICK_NS	     (250 * NS_PER_MS)
#define COLD_TICKS   20u /* not written for so long */
#define IDLE_TICKS   4u  /* without any request: all are cold */
#define UNFENCE_TICKS 8u /* without a partial cluster */
#define WINDOW	     64u /* of slots, of which the fullest is taken */
#define LOOK_MAX     4096u

struct fill_slot {
	struct pl_req req;
	struct fill *fill;
	struct writer *w;
	uint64_t started_ns;
	bool busy;
};

struct fill {
	struct pl_disk *disk;
	struct pl_timer timer;
	struct fill_slot slots[FILL_SLOTS];
	uint32_t in_flight;
	uint32_t hand; /* slot of the table to look at */
	bool stopped;

	/* background */
	uint64_t guest_seen;
	uint32_t idle_ticks, empty_ticks;

	/* at once */
	struct writer *all; /* NULL: does not run */
	void (*done)(struct pl_disk *d, int res);
	void (*progress)(struct pl_disk *d, uint32_t done, uint32_t total);
	bool cancellable;
	uint32_t filled, total;
	int res;
};

static void all_step(struct fill *fill);

/* ---- one cluster: a fragment from its offset to the end of its length */

static void fill_next(struct frag *f);

/* By requests; else it is being sealed. */
static bool is_written_to(const struct writer *w)
{
	return w->image->writer == w;
}

static uint32_t end_of(const struct frag *f)
{
	return f->offset_bytes + f->length_bytes;
}

static void publish(struct frag *f)
{
	partial_publish(f->w, partial_find(f->w->partials, f->g));
	frag_finish(f, 0);
}

static void publish_with_slot(struct frag *f)
{
	if (slot_take(f, f->w, publish_with_slot))
		publish(f);
}

static void filled(struct frag *f)
{
	const struct writer *w = f->w;
	if (f->bounce)
		bounce_put(f);
	frag_rest(f);
	if (is_written_to(w) && partial_is_full(w->partials, partial_find(w->partials, f->g)))
		publish_with_slot(f);
	else
		frag_finish(f, 0);
}

static void piece_written(struct frag *f)
{
	if (f->io.res <= 0) {
		frag_finish(f, f->io.res ? f->io.res : -EIO);
		return;
	}
	if ((uint64_t)f->io.res < f->io.length) {
		io_go_on(f, f->w->image->store, piece_written);
		return;
	}
	struct partials *p = f->w->partials;
	uint32_t unit = f->offset_bytes / LAY_UNIT_BYTES;
	partial_set(p, partial_find(p, f->g), unit, unit + f->copied_bytes / LAY_UNIT_BYTES);
	f->w->writes += is_written_to(f->w);
	f->offset_bytes += f->copied_bytes;
	f->length_bytes -= f->copied_bytes;
	fill_next(f);
}

static void write_piece(struct frag *f)
{
	frag_write(f, f->new_file, f->offset_bytes, f->bounce, PL_IO_NO_BUFFER, f->copied_bytes, piece_written);
}

static void piece_read(struct frag *f)
{
	if (f->io.res < 0) {
		frag_finish(f, f->io.res);
		return;
	}
	if (io_is_read(f, level_store(f->disk, f->at.level), piece_read))
		write_piece(f);
}

static void read_piece(struct frag *f)
{
	if (!f->bounce && !bounce_get(f, read_piece))
		return;
	uint32_t length = f->copied_bytes;
	f->at = partial_below(f->w, f->g, f->offset_bytes, &length);
	f->copied_bytes = length;
	if (f->at.level == MAP_HOLE) {
		memset(f->bounce, 0, length);
		write_piece(f);
		return;
	}
	frag_read(f, f->at, f->offset_bytes, f->bounce, PL_IO_NO_BUFFER, length, piece_read);
}

/* The next units that are not valid; copied_bytes of them. */
static void fill_next(struct frag *f)
{
	const struct partials *p = f->w->partials;
	uint32_t slot = partial_find(p, f->g), end = end_of(f) / LAY_UNIT_BYTES;
	for (uint32_t unit = f->offset_bytes / LAY_UNIT_BYTES, run; unit < end; unit += run) {
		bool valid;
		run = partial_run(p, slot, unit, end, &valid);
		if (valid)
			continue;
		f->length_bytes = end_of(f) - unit * LAY_UNIT_BYTES;
		f->offset_bytes = unit * LAY_UNIT_BYTES;
		f->copied_bytes = MIN(run * LAY_UNIT_BYTES, BOUNCE_BYTES);
		read_piece(f);
		return;
	}
	filled(f);
}

static void fill_from_here(struct frag *f)
{
	const struct partials *p = f->w->partials;
	uint32_t slot = partial_find(p, f->g);
	if (slot == PARTIAL_NONE) {
		frag_finish(f, 0);
		return;
	}
	f->new_file = p->slots[slot].f;
	fill_next(f);
}

/* With the gate no cluster leaves the table, and none is written where it is not valid. */
static void fill_alone(struct frag *f)
{
	if (gate_drain_writers(f, fill_alone))
		fill_from_here(f);
}

void fill_cluster(struct frag *f, struct writer *w)
{
	f->w = w;
	gate_open(f);
	fill_alone(f);
}

/* An image that is sealed nobody else writes, and its clusters stay in the table: the guest's next write to the same
 * cluster goes to the new top, and need not wait. */
static void fill_place(struct frag *f)
{
	struct frag *holder = gate_find(f->disk, f->g);
	struct writer *w = container_of(f->req, struct fill_slot, req)->w;
	f->w = w;
	if (!is_written_to(w))
		fill_from_here(f);
	else if (holder)
		frag_wait(f, &holder->gate_waiters, fill_place);
	else
		fill_cluster(f, w);
}

void fill_start(struct frag *f)
{
	const struct pl_disk *d = f->disk;
	f->data = NULL;
	/* The last cluster of a disk is filled to its end, too. */
	if (f->req->offset_bytes + f->req->length_bytes == d->size_bytes)
		f->length_bytes = d->cluster_bytes - f->offset_bytes;
	fill_place(f);
}

/* ---- requests of ours */

static void step_done(struct pl_req *req);

static void submit(struct fill *fill, struct fill_slot *s, struct writer *w, struct gclu g, uint32_t from,
		   uint32_t length)
{
	struct pl_disk *d = fill->disk;
	uint64_t at = ((uint64_t)g.n << d->cluster_shift) + from;
	s->fill = fill;
	s->w = w;
	s->busy = true;
	s->started_ns = pl_now_ns();
	s->req = (struct pl_req){
		.done = step_done,
		.op = OP_FILL,
		.buf_index = PL_IO_NO_BUFFER,
		.offset_bytes = at,
		.length_bytes = MIN(length, d->size_bytes - at),
	};
	fill->in_flight++;
	req_submit_own(d, &s->req);
}

/* ---- in the background */

static bool guest_works(struct fill *fill)
{
	uint64_t now = fill->disk->guest_requests;
	bool works = now != fill->guest_seen;
	fill->guest_seen = now;
	return works;
}

/* The fullest of the cold ones in a window of slots, moving on by one window. */
static uint32_t choose(struct fill *fill, const struct partials *p)
{
	bool all_cold = fill->idle_ticks >= IDLE_TICKS;
	uint32_t end = p->shm->end, best = PARTIAL_NONE;
	for (uint32_t looked = 0; looked < LOOK_MAX && looked < end && best == PARTIAL_NONE; looked += WINDOW) {
		for (uint32_t i = 0; i < WINDOW; i++) {
			uint32_t slot = (fill->hand + i) % end;
			const struct partial_slot *s = &p->slots[slot];
			bool is_cold = all_cold || p->tick - s->touched >= COLD_TICKS || partial_is_full(p, slot);
			if (s->state != PARTIAL_LIVE || !is_cold)
				continue;
			if (best == PARTIAL_NONE || s->valid > p->slots[best].valid)
				best = slot;
		}
		if (best == PARTIAL_NONE)
			fill->hand = (fill->hand + WINDOW) % end;
	}
	return best;
}

static void background_step(struct fill *fill)
{
	struct pl_disk *d = fill->disk;
	struct writer *w = d->writer;
	if (fill->stopped || fill->all || fill->in_flight || d->quiesce || d->failed || !writer_has_partials(w))
		return;
	const struct partials *p = w->partials;
	uint32_t slot = choose(fill, p);
	if (slot == PARTIAL_NONE)
		return;
	uint32_t from = 0, length = d->cluster_bytes;
	bool valid = true;
	if (fill->idle_ticks == 0) {
		while (from < p->units && valid)
			from += partial_run(p, slot, from, p->units, &valid) * valid;
		from = MIN(from, p->units - 1) * LAY_UNIT_BYTES;
		length = MIN(PACE_STEP_BYTES, d->cluster_bytes - from);
	}
	submit(fill, &fill->slots[0], w, p->slots[slot].g, from, length);
}

static void background_step_done(struct fill *fill, const struct fill_slot *s)
{
	uint64_t took_ns = pl_now_ns() - s->started_ns;
	if (guest_works(fill))
		fill->idle_ticks = 0;
	if (fill->idle_ticks > 0)
		background_step(fill);
	else if (!fill->stopped)
		pl_timer_start(fill->disk->loop, &fill->timer, pace_rest_ns(took_ns));
}

/* Nothing has been partial for a while: the fence may go. */
static void consider_unfence(struct fill *fill)
{
	struct writer *w = fill->disk->writer;
	if (w->partials->count > 0) {
		fill->empty_ticks = 0;
	} else if (w->journal.fenced && ++fill->empty_ticks >= UNFENCE_TICKS) {
		w->journal.unwanted = true;
		commit_demand(w);
	}
}

static void tick(struct pl_timer *timer)
{
	struct fill *fill = container_of(timer, struct fill, timer);
	struct writer *w = fill->disk->writer;
	if (fill->stopped || !w->partials)
		return;
	uint64_t now_ticks = pl_now_ns() / TICK_NS;
	if ((uint32_t)now_ticks != w->partials->tick) {
		w->partials->tick = (uint32_t)now_ticks;
		fill->idle_ticks = guest_works(fill) ? 0 : fill->idle_ticks + 1;
		consider_unfence(fill);
	}
	background_step(fill);
	if (!fill->timer.deadline_ns && (w->partials->count > 0 || w->journal.fenced))
		pl_timer_start(fill->disk->loop, &fill->timer, TICK_NS);
}

void fill_schedule(struct pl_disk *d)
{
	struct fill *fill = d->fill;
	if (!fill->timer.deadline_ns && !fill->stopped)
		pl_timer_start(d->loop, &fill->timer, TICK_NS);
}

void fill_stop(struct pl_disk *d)
{
	d->fill->stopped = true;
	pl_timer_stop(d->loop, &d->fill->timer);
}

/* ---- all of an image */

static bool find_next(struct fill *fill)
{
	const struct partials *p = fill->all->partials;
	for (; fill->hand < p->shm->end; fill->hand++) {
		bool needs = !partial_is_full(p, fill->hand) || is_written_to(fill->all);
		if (p->slots[fill->hand].state == PARTIAL_LIVE && needs)
			return true;
	}
	return false;
}

/* Those that others were filling, or that the guest has written meanwhile. */
static bool is_left(struct fill *fill)
{
	fill->hand = 0;
	return fill->res == 0 && find_next(fill);
}

static void all_done(struct fill *fill)
{
	struct pl_disk *d = fill->disk;
	fill->all = NULL;
	fill->hand = 0;
	fill->done(d, fill->res);
	fill_schedule(d);
}

static void all_step(struct fill *fill)
{
	const struct partials *p = fill->all->partials;
	for (uint32_t i = 0; i < FILL_SLOTS && fill->res == 0; i++) {
		if (fill->slots[i].busy)
			continue;
		if (!find_next(fill))
			break;
		submit(fill, &fill->slots[i], fill->all, p->slots[fill->hand++].g, 0, fill->disk->cluster_bytes);
	}
	if (fill->in_flight > 0)
		return;
	if (is_left(fill))
		all_step(fill);
	else
		all_done(fill);
}

void fill_all(struct writer *w, void (*done)(struct pl_disk *d, int res),
	      void (*progress)(struct pl_disk *d, uint32_t done, uint32_t total))
{
	struct fill *fill = w->disk->fill;
	invariant(!fill->all);
	if (!writer_has_partials(w)) {
		done(w->disk, 0);
		return;
	}
	fill->all = w;
	fill->done = done;
	fill->progress = progress;
	fill->res = 0;
	fill->cancellable = false;
	fill->hand = fill->filled = 0;
	fill->total = w->partials->count;
	all_step(fill);
}

void fill_all_cancellable(struct writer *w, void (*done)(struct pl_disk *d, int res),
			  void (*progress)(struct pl_disk *d, uint32_t done, uint32_t total))
{
	fill_all(w, done, progress);
	w->disk->fill->cancellable = true;
}

void fill_all_cancel(struct pl_disk *d)
{
	if (d->fill->all && d->fill->cancellable && d->fill->res == 0)
		d->fill->res = -ECANCELED;
}

bool fill_runs(const struct pl_disk *d, const struct writer *w)
{
	return d->fill->all == w;
}

static void step_done(struct pl_req *req)
{
	struct fill_slot *s = container_of(req, struct fill_slot, req);
	struct fill *fill = s->fill;
	s->busy = false;
	fill->in_flight--;
	if (!fill->all) {
		background_step_done(fill, s);
		return;
	}
	if (req->res < 0 && fill->res == 0)
		fill->res = req->res;
	fill->filled++;
	if (fill->progress)
		fill->progress(fill->disk, MIN(fill->filled, fill->total), fill->total);
	all_step(fill);
}

/* ---- life */

struct fill *fill_new(struct pl_disk *d)
{
	struct fill *fill = calloc(1, sizeof(*fill));
	if (!fill)
		return NULL;
	fill->disk = d;
	fill->timer.fire = tick;
	return fill;
}

void fill_free(struct fill *fill)
{
	if (!fill)
		return;
	pl_timer_stop(fill->disk->loop, &fill->timer);
	free(fill);
}
