/* Opening and closing a disk.
 *
 *   open   files, locks -> headers -> BATs -> [holder's table] -> [what a crash left is made durable] -> marked in use
 *   close  requests drained -> last round -> file cut, extension written -> marked closed -> holder goes -> unlocked
 *
 *   crash after…            leaves                                the next open
 *   marked in use           a marked image, BAT as before         checks the BAT, syncs before it reuses anything
 *   any write or round      entries only for durable data (D3)    same; clusters without an entry are free space
 *   last round of close     a marked image with all data          same
 *   file cut                same, without the unused tail         same
 *   marked closed           a plain closed image                  nothing */
#include "ploop/disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ploop/chain.h"
#include "ploop/disk_open.h"
#include "ploop/disk_survive.h"
#include "ploop/fill.h"
#include "ploop/partial_io.h"
#include "ploop/settle.h"

static void park_timer_fired(struct pl_timer *timer)
{
	struct pl_disk *d = container_of(timer, struct pl_disk, park_timer);
	disk_retry(d);
}

static bool is_writing(const struct writer *w)
{
	return w && (writer_has_io(w) || w->life_armed);
}

static bool is_busy(const struct pl_disk *d)
{
	return d->request_count > 0 || d->door.count > 0 || !queue_is_empty(&d->held_requests) || d->change ||
	       d->kick_pending || is_writing(d->writer) || is_writing(d->leaving);
}

static int drain(struct pl_disk *d)
{
	pl_disk_change_cancel(d);
	door_open(d);
	fill_stop(d);
	disk_each_writer(d, writer_stop_watching);
	while (is_busy(d)) {
		int r = pl_loop_step(d->loop, true);
		if (r < 0)
			return r;
	}
	return 0;
}

/* After a failure something of @d may still be on its way through the loop. */
static void free_disk(struct pl_disk *d)
{
	drain(d);
	pl_disk_abandon(d);
	pl_timer_stop(d->loop, &d->park_timer);
	writer_free(d->leaving);
	writer_free(d->writer);
	fill_free(d->fill);
	map_fini(&d->map);
	chain_close(d);
	free(d->holder_program);
	bounce_fini(d);
	free(d->frags);
	free(d);
}

static void disk_autop(struct pl_disk **d)
{
	if (*d)
		free_disk(*d);
}

static struct pl_disk *new_disk(struct pl_loop *loop, const struct pl_open_options *options)
{
	struct pl_disk *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->loop = loop;
	d->fill = fill_new(d);
	if (!d->fill) {
		free(d);
		return NULL;
	}
	d->readonly = options->flags & PL_OPEN_READONLY;
	d->peek = options->flags & PL_OPEN_PEEK;
	d->no_partial = options->flags & PL_OPEN_NO_PARTIAL;
	d->park_timer.fire = park_timer_fired;
	door_init(d);
	d->frags = calloc(FRAG_COUNT, sizeof(*d->frags));
	if (options->holder_program)
		d->holder_program = strdup(options->holder_program);
	bool ok = d->frags && (d->holder_program || !options->holder_program);
	for (uint32_t i = 0; ok && i < FRAG_COUNT; i++) {
		struct frag *f = &d->frags[FRAG_COUNT - 1 - i];
		f->disk = d;
		f->gate_next = d->free_frags;
		d->free_frags = f;
	}
	if (ok && bounce_init(d))
		return d;
	free_disk(d);
	return NULL;
}

/* ---- open */

/* A previous owner may have died between a write and its sync: nothing may be reused before all of it is durable. */
static int recover(struct pl_disk *d)
{
	bool dirty = d->top->header.in_use == LAY_IN_USE;
	if (d->writer->pending->live_count > 0)
		return pl_flush(d);
	if (!dirty)
		return 0;
	pl_log(PL_LOG_INFO, "disk", "%s: was not closed cleanly, checked", d->top->path);
	disk_event(d, "recovered", 0, 0);
	return store_sync(d->top->store);
}

static int open_loaded(struct pl_disk *d)
{
	struct writer *w = d->writer;
	int r = chain_load(d);
	if (r == 0)
		r = writer_start(w, d->holder_program);
	if (r < 0 || d->readonly)
		return r;
	if (d->top->format == PL_FORMAT_RAW) {
		w->writes = 1; /* a dead server may have written: the first flush has something to sync */
		return 0;
	}
	r = recover(d);
	if (r == 0)
		r = extension_load(w);
	if (r == 0)
		r = writer_mark(w, LAY_IN_USE, 0);
	if (r == 0) {
		disk_event(d, "open", d->depth, w->alloc.used_count);
		watch_holder(w);
	}
	return r;
}

/* Images below the top that were not closed, by their place in the chain. */
struct unsettled {
	bool at[PL_MAX_CHAIN];
	bool any;
};

static void find_unsettled(const struct pl_disk *d, struct unsettled *out)
{
	for (uint32_t i = 0; !d->peek && i + 1 < d->depth; i++) {
		const struct image *img = chain_at(d, i);
		out->at[i] = img->format == PL_FORMAT_PLOOP && img->header.in_use == LAY_IN_USE;
		out->any = out->any || out->at[i];
	}
}

/* @unsettled: look for such images first, and open for writing only without; NULL: they are taken as they are. */
static int open_once(struct pl_loop *loop, const struct pl_chain_spec *chain, const struct pl_open_options *options,
		     struct unsettled *unsettled, struct pl_disk **out)
{
	__attribute__((cleanup(disk_autop))) struct pl_disk *d = new_disk(loop, options);
	if (!d)
		return pl_fail(-ENOMEM, "no memory to open a disk");
	int r = chain_open(d, chain, options);
	if (r == 0 && unsettled)
		find_unsettled(d, unsettled);
	if (r == 0 && unsettled && unsettled->any && !d->readonly)
		return -EAGAIN;
	if (r == 0)
		r = open_loaded(d);
	if (r < 0)
		return r;
	*out = mem_steal(&d);
	return 0;
}

/* Image @i with what is below it. But the top alone: it was being drained, has no partial clusters, and with what is
 * below it would be refused again. */
static struct pl_chain_spec part_to_settle(const struct pl_chain_spec *chain, size_t i)
{
	struct pl_chain_spec part = *chain;
	bool is_top = i + 1 == chain->count;
	part.images = is_top ? &chain->images[i] : chain->images;
	part.count = is_top ? 1 : i + 1;
	return part;
}

static int settle_all(const struct pl_chain_spec *chain, const struct unsettled *unsettled)
{
	for (size_t i = 0; i < chain->count; i++) {
		struct pl_chain_spec part = part_to_settle(chain, i);
		int r = unsettled->at[i] ? settle_below(&part) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

/* First the images below, then, if its table asks for it, the top. */
static int open_settled(struct pl_loop *loop, const struct pl_chain_spec *chain, const struct pl_open_options *options,
			struct pl_disk **out)
{
	int r = 0;
	for (int i = 0; i < 2; i++) {
		struct unsettled unsettled = {0};
		r = open_once(loop, chain, options, i == 0 ? &unsettled : NULL, out);
		if (r != -EAGAIN)
			return r;
		unsettled.at[chain->count - 1] = !unsettled.any;
		r = settle_all(chain, &unsettled);
		if (r < 0)
			return r;
	}
	return open_once(loop, chain, options, NULL, out);
}

#define PEEK_TRIES 5

int pl_disk_open(struct pl_loop *loop, const struct pl_chain_spec *chain, const struct pl_open_options *options,
		 struct pl_disk **out)
{
	static const struct pl_open_options defaults = {.size = sizeof(defaults)};
	options = options ? options : &defaults;
	if ((options->flags & (PL_OPEN_PEEK | PL_OPEN_READONLY)) == PL_OPEN_PEEK)
		return pl_fail(-EINVAL, "a disk is opened without locks for reading only");
	int r = open_settled(loop, chain, options, out);
	/* The file may have grown between its length and its BAT. */
	for (int i = 1; r == -EUCLEAN && (options->flags & PL_OPEN_PEEK) && i < PEEK_TRIES; i++)
		r = open_once(loop, chain, options, NULL, out);
	return r;
}

int disk_open_stores(struct pl_loop *loop, struct store *const *stores, const struct pl_chain_spec *chain,
		     const struct pl_open_options *options, struct pl_disk **out)
{
	__attribute__((cleanup(disk_autop))) struct pl_disk *d = new_disk(loop, options);
	if (!d) {
		for (size_t i = 0; i < chain->count; i++)
			store_close(stores[i]);
		return pl_fail(-ENOMEM, "no memory to open a disk");
	}
	int r = chain_adopt(d, stores, chain);
	if (r == 0)
		r = open_loaded(d);
	if (r < 0)
		return r;
	*out = mem_steal(&d);
	return 0;
}

/* ---- close */

static int close_top(struct pl_disk *d)
{
	struct writer *w = d->writer;
	int r = pl_flush(d);
	if (r < 0 || d->top->format == PL_FORMAT_RAW)
		return r;
	invariant(w->pending->live_count == 0);
	r = journal_drop(w);
	if (r < 0)
		return r;
	uint64_t end = file_offset(d, (struct fclu){alloc_end(&w->alloc)}, 0);
	struct store *top = d->top->store;
	uint64_t ext_sectors = 0;
	if (!d->keep_space && end < top->size_bytes)
		r = top->ops->set_size(top, end);
	if (r == 0 && w->extension)
		r = extension_store(w, &ext_sectors);
	if (r == 0)
		r = store_sync(top);
	return r < 0 ? r : writer_mark(w, ext_sectors ? LAY_CLOSED_V21 : LAY_CLOSED_V20, ext_sectors);
}

static void filled(struct pl_disk *d, int res)
{
	d->fill_res = res;
	d->filled = true;
}

/* D7: a closed disk is plain. Durable first: what cannot be filled stays partial. */
static int fill_and_wait(struct pl_disk *d)
{
	int r = pl_flush(d);
	if (r < 0)
		return r;
	d->filled = false;
	fill_all(d->writer, filled, NULL);
	while (r == 0 && !d->filled)
		r = MIN(pl_loop_step(d->loop, true), 0);
	if (r < 0)
		return r;
	fill_stop(d);
	if (d->fill_res < 0)
		return pl_fail(d->fill_res, "%s: partial clusters could not be filled, it stays as it is: %s",
			       d->top->path, strerror(-d->fill_res));
	return 0;
}

/* All is durable, or @r tells why not. */
static int finish_close(struct pl_disk *d, int r)
{
	if (r == 0)
		r = drain(d);
	if (r == 0)
		survive_detach(&d->writer->survive, true);
	free_disk(d);
	return r;
}

int pl_disk_close(struct pl_disk *d)
{
	int r = drain(d);
	if (r == 0 && d->failed)
		r = pl_fail(-EIO, "%s: a sync failed while it was open, it stays marked in use: run ploop check",
			    d->top->path);
	if (r == 0 && !d->readonly)
		r = fill_and_wait(d);
	if (r == 0 && !d->readonly)
		r = close_top(d);
	return finish_close(d, r);
}

int pl_disk_leave(struct pl_disk *d)
{
	int r = drain(d);
	if (!writer_has_partials(d->writer))
		return pl_disk_close(d);
	if (r == 0 && !d->readonly)
		r = pl_flush(d);
	return finish_close(d, r);
}

/* ---- small things */

void disk_each_writer(struct pl_disk *d, void (*fn)(struct writer *w))
{
	if (d->writer)
		fn(d->writer);
	if (d->leaving)
		fn(d->leaving);
}

void disk_retry(struct pl_disk *d)
{
	frag_resume_parked(d);
	disk_each_writer(d, space_retry);
	disk_each_writer(d, commit_retry);
}

void disk_event(struct pl_disk *d, const char *what, uint64_t a, uint64_t b)
{
	const struct writer *w = d->writer;
	if (w->pending)
		pending_event(w->pending->shm, what, a, b);
	else if (w->survive.shm && !d->readonly)
		pending_event(w->survive.shm, what, a, b);
}
