/* Merging the live top into the image below, which becomes the one that is written.
 *
 * In a chain [… P, C] what C has wins. So the guest may write into P wherever C has nothing, and the descriptor may go
 * on naming C as the top: new clusters are P's from now on, and those of C move down one by one:
 *
 *   gate -> slots in both tables -> copied to P -> published: the map names P; P's table has the entry, C's clears it
 *
 * Until it is published the guest's writes to the cluster wait; reads do not. A round of C, which makes the clearing
 * durable, waits until P's entries and data are, and nothing is published meanwhile. When C has nothing left it is
 * sealed empty and leaves the chain; P goes on as the top.
 *
 *   crash after…                     leaves                                            the next open of [… P, C]
 *   P is marked in use               P in use, with its table                          settles P, then C is the top
 *   a cluster is published           our death: both tables have it; power: C has it   settles P, then C
 *   a round of P                     the cluster in both, the same bytes               same
 *   a round of C                     the cluster in P                                  same
 *   C is sealed                      C closed and empty                                same; the descriptor drops C
 *
 * When it ends early the roles are exchanged back: P is sealed as it is. */
#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "ploop/bat_file.h"
#include "ploop/chain.h"
#include "ploop/disk_survive.h"
#include "ploop/fill.h"
#include "ploop/merge_job.h"
#include "ploop/seal.h"

#define BAT_PAGE_SLOTS (BAT_PAGE_BYTES / LAY_BAT_SLOT_BYTES)

static struct merge_slot *slot_of(const struct frag *f)
{
	return container_of(f->req, struct merge_slot, req);
}

/* ---- one cluster */

void move_give_up(struct frag *f, int res)
{
	struct merge *m = slot_of(f)->m;
	struct writer *w = f->w;
	bool was_taken = w->pending && m->stale[f->g.n] == 0;
	if (was_taken)
		alloc_give(&w->alloc, f->new_file);
	if (w->pending)
		pending_unreserve(w->pending);
	pending_unreserve(f->disk->leaving->pending);
	frag_finish(f, res);
}

static void schedule(struct writer *w)
{
	if (pending_is_tight(w->pending))
		commit_demand(w);
	else
		commit_schedule(w);
}

/* The table of the image below first: dying in between leaves the cluster in both, the same bytes. */
static void publish(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct merge *m = slot_of(f)->m;
	struct writer *to = f->w, *from = d->leaving;
	map_set(&d->map, f->g, to->image->level, f->new_file);
	if (to->pending)
		pending_set(to->pending, f->g, f->new_file);
	pending_set(from->pending, f->g, (struct fclu){0});
	file_list_add(&from->freed, f->at.file);
	m->durable_round = to->commit.rounds + (to->commit.state == COMMIT_IDLE ? 1 : 2);
	if (to->pending)
		schedule(to);
	schedule(from);
	frag_finish(f, 0);
}

static void publish_unless_cut(struct frag *f)
{
	if (f->disk->failed)
		move_give_up(f, -EIO);
	else if (slot_of(f)->m->cut_wanted)
		frag_wait(f, &f->disk->slot_waiters, publish_unless_cut);
	else
		publish(f);
}

void move_copied(struct frag *f)
{
	f->w->writes++;
	bounce_put(f);
	frag_rest(f);
	publish_unless_cut(f);
}

/* ---- the order of rounds: what the top lets go must be durable below before */

/* A raw image has no entries: the round that made the data durable may have ended before it was published. */
static bool is_durable_below(const struct merge *m)
{
	return m->writer->commit.rounds >= m->durable_round || commit_is_settled(m->writer);
}

bool merge_delays_round(struct merge *m, const struct writer *w)
{
	if (!m->source || !m->writer || w != m->disk->leaving || w->sealing || is_durable_below(m))
		return false;
	if (!m->cut_wanted) {
		m->cut_wanted = true;
		commit_demand(m->writer);
	}
	return true;
}

void merge_round_ended(struct merge *m, const struct writer *w)
{
	if (m->cut_wanted && w == m->writer && w != m->disk->leaving)
		commit_resume(m->disk->leaving);
}

void merge_round_cut(struct merge *m, const struct writer *w)
{
	if (!m->cut_wanted || w != m->disk->leaving)
		return;
	m->cut_wanted = false;
	disk_wake(m->disk, &m->disk->slot_waiters);
}

static void take_place(struct frag *f)
{
	struct merge *m = slot_of(f)->m;
	if (!f->w->pending) {
		f->new_file.n = f->g.n; /* raw: all is in order */
	} else if (m->stale[f->g.n]) {
		f->new_file.n = m->stale[f->g.n];
	} else {
		int r = space_take(f, take_place);
		if (r == -EAGAIN)
			return;
		if (r < 0) {
			pending_unreserve(f->w->pending);
			pending_unreserve(f->disk->leaving->pending);
			frag_finish(f, r);
			return;
		}
	}
	first_write_data(f);
}

static void be_alone(struct frag *f)
{
	if (gate_drain_writers(f, be_alone))
		take_place(f);
}

static void take_slot_above(struct frag *f)
{
	if (slot_take(f, f->disk->leaving, take_slot_above))
		be_alone(f);
}

static void take_slot(struct frag *f)
{
	if (!f->w->pending || slot_take(f, f->w, take_slot))
		take_slot_above(f);
}

/* The guest may have discarded it meanwhile. */
static void move_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct frag *holder = d->gate_count ? gate_find(d, f->g) : NULL;
	if (holder) {
		frag_wait(f, &holder->gate_waiters, move_place);
		return;
	}
	f->at = map_get(&d->map, f->g);
	if (f->at.level != slot_of(f)->m->source->level) {
		frag_finish(f, 0);
		return;
	}
	f->w = d->writer;
	gate_open(f);
	take_slot(f);
}

void move_start(struct frag *f)
{
	f->data = NULL;
	f->length_bytes = 0;
	move_place(f);
}

static void put_entry(const struct writer *w, uint8_t *page, struct gclu g, struct fclu f)
{
	uint32_t at = (g.n + LAY_HEADER_SLOTS) * LAY_BAT_SLOT_BYTES % HEADER_PAGE_BYTES;
	store_le32(page + at, lay_slot_from_cluster(&w->image->header, f));
}

/* What the image below had under the top's clusters it keeps: their entries in the top may not be durable yet. */
static void keep_stale(const struct merge *m, uint32_t page, uint8_t *out)
{
	const struct map *map = &m->disk->map;
	uint32_t end = (page + 1) * BAT_PAGE_SLOTS - LAY_HEADER_SLOTS;
	for (uint32_t i = page ? end - BAT_PAGE_SLOTS : 0; i < MIN(end, map->clusters); i++)
		if (map->level[i] == m->child->level && m->stale[i])
			put_entry(m->writer, out, (struct gclu){i}, (struct fclu){m->stale[i]});
}

void merge_overlay_page(const struct merge *m, const struct writer *w, uint32_t page, uint8_t *out)
{
	if (m->writer == w && m->stale)
		keep_stale(m, page, out);
}

/* ---- the end */

static void fail_seal(struct merge *m, struct quiesce *q, int r)
{
	m->disk->failed = true; /* two images are written and neither can be closed */
	commit_refuse(m->disk);
	quiesce_end(q);
	merge_end(m, r);
}

static void drained(struct pl_disk *d, int res)
{
	struct merge *m = d->merge;
	if (res == 0)
		merge_forget(d, m->child);
	if (res == 0 && d->depth == 1)
		map_clear_below(&d->map); /* the image that is gone was empty at the end */
	merge_end(m, res < 0 ? pl_fail(res, "%s: it could not be made durable", m->parent->path) : 0);
}

static void exchange_extension(struct writer *a, struct writer *b)
{
	struct extension *e = a->extension;
	a->extension = b->extension;
	b->extension = e;
}

/* Nothing of the top is left in the map. */
static void seal_top(struct merge *m, struct quiesce *q)
{
	struct pl_disk *d = m->disk;
	int r = seal_begin(d->leaving, drained);
	if (r < 0) {
		fail_seal(m, q, r);
		return;
	}
	quiesce_end(q);
	d->change->pause_ns = MAX(d->change->pause_ns, q->pause_ns);
}

static void gone_back(struct pl_disk *d, int res)
{
	struct merge *m = d->merge;
	merge_end(m, res < 0 ? res : m->res);
}

static void go_back(struct merge *m, struct quiesce *q)
{
	struct pl_disk *d = m->disk;
	struct writer *top = d->leaving;
	d->leaving = d->writer;
	d->writer = top;
	exchange_extension(d->leaving, top);
	map_lower(&d->map, d->leaving->image->level);
	int r = seal_begin(d->leaving, gone_back);
	if (r < 0)
		fail_seal(m, q, r);
	else
		quiesce_end(q);
}

static void end_alone(struct quiesce *q, int res)
{
	struct merge *m = container_of(q, struct merge, quiesce);
	if (res < 0)
		quiesce_begin(m->disk, q, MERGE_HOLD_NS); /* there is no other way out than waiting */
	else if (m->res < 0)
		go_back(m, q);
	else
		seal_top(m, q);
}

static void cancel_late(struct merge *m)
{
}

static void flushed(struct pl_req *req)
{
	struct merge *m = container_of(req, struct merge, flush);
	m->quiesce.ready = end_alone;
	quiesce_begin(m->disk, &m->quiesce, MERGE_HOLD_NS);
}

/* Durable in both before the last round of either. A failure shows when they are sealed. */
static void moved_all(struct merge *m)
{
	m->cancel = cancel_late;
	m->flush = (struct pl_req){.done = flushed, .op = PL_FLUSH};
	req_submit_own(m->disk, &m->flush);
}

/* ---- begin */

/* @img is the parent's file once more, for writing; it takes the parent's place. */
static void exchange_parent(struct merge *m, struct image *img)
{
	struct pl_disk *d = m->disk;
	struct map *map = &d->map;
	bool raw = img->format == PL_FORMAT_RAW;
	for (uint32_t i = 0; i < map->clusters; i++) {
		if (map->level[i] == m->parent->level)
			map->level[i] = img->level;
		else if (raw && map->level[i] == MAP_HOLE)
			map_set(map, (struct gclu){i}, img->level, (struct fclu){i});
	}
	chain_replace(d, m->parent, img);
	image_close(m->parent);
	m->parent = img;
	img->writer = m->writer;
	d->leaving = d->writer;
	d->writer = m->writer;
	exchange_extension(d->leaving, d->writer);
	watch_holder(m->writer);
}

static void begin_failed(struct merge *m, int res)
{
	struct image *img = m->writer->image;
	struct store *written = img->store;
	bool marked = img->header.in_use == LAY_IN_USE;
	bool clean = !marked || writer_mark(m->writer, LAY_CLOSED_V20, 0) == 0;
	survive_detach(&m->writer->survive, clean);
	writer_free(m->writer);
	m->writer = NULL;
	img->store = NULL;
	merge_close_written(m->parent, written);
	image_close(img);
	if (res < 0)
		merge_end(m, res);
}

/* The top has whole clusters only, and gets no partial ones any more. */
static void whole(struct pl_disk *d, int res)
{
	struct merge *m = d->merge;
	m->source = m->child;
	m->op = OP_MOVE;
	m->moved_all = moved_all;
	m->res = res;
	merge_move_all(m);
}

static void begin_alone(struct quiesce *q, int res)
{
	struct merge *m = container_of(q, struct merge, quiesce);
	if (res < 0 || m->cancelled) {
		if (res == 0)
			quiesce_end(q);
		begin_failed(m, pl_fail(res < 0 ? res : -ECANCELED, "merging into %s did not begin: %s",
					m->parent->path, strerror(res < 0 ? -res : ECANCELED)));
		return;
	}
	exchange_parent(m, m->writer->image);
	quiesce_end(q);
	m->disk->change->pause_ns = q->pause_ns;
	fill_all(m->disk->leaving, whole, NULL);
}

static int prepare_raw(struct merge *m, struct image *img)
{
	struct pl_disk *d = m->disk;
	m->writer->writes = 1;
	if (img->store->size_bytes >= d->size_bytes)
		return 0;
	return img->store->ops->set_size(img->store, d->size_bytes);
}

static int prepare_ploop(struct merge *m, struct image *img)
{
	struct pl_disk *d = m->disk;
	struct bat_file b;
	int r = bat_file_load(&b, img->store, WRITER_SPARE_CLUSTERS);
	if (r < 0)
		return r;
	if (b.clusters != d->map.clusters)
		r = pl_fail(-ENOTSUP, "%s has %u clusters, the disk %u: merge it into its child instead",
			    img->path, b.clusters, d->map.clusters);
	if (r == 0)
		r = bat_file_begin_changes(&b);
	if (r == 0) {
		img->header = b.header;
		m->writer->alloc = b.alloc;
		m->stale = b.files;
		b.alloc = (struct alloc){0};
		b.files = NULL;
	}
	bat_file_fini(&b);
	return r;
}

static int prepare(struct merge *m, struct image *img)
{
	m->writer = writer_new(m->disk, img);
	if (!m->writer)
		return pl_fail(-ENOMEM, "%s: no memory to write it", img->path);
	img->writer = NULL; /* not yet */
	bool raw = img->format == PL_FORMAT_RAW;
	int r = raw ? prepare_raw(m, img) : prepare_ploop(m, img);
	if (r == 0)
		r = writer_start(m->writer, m->disk->holder_program);
	if (r == 0 && !raw)
		r = writer_mark(m->writer, LAY_IN_USE, 0);
	return r;
}

static int open_parent(struct merge *m, struct image *img)
{
	img->format = m->parent->format;
	img->path = strdup(m->parent->path);
	if (!img->path)
		return pl_fail(-ENOMEM, "%s: no memory to open it", m->parent->path);
	int r = merge_open_for_writing(m->parent, &img->store);
	if (r == 0)
		img->store->path = img->path;
	return r;
}

int merge_begin_drain(struct merge *m)
{
	struct image *img = chain_free_level(m->disk);
	if (!img)
		return pl_fail(-E2BIG, "%s: the chain has no level to spare", m->parent->path);
	int r = open_parent(m, img);
	if (r < 0) {
		image_close(img);
		return r;
	}
	r = prepare(m, img);
	if (r < 0) {
		char why[512];
		snprintf(why, sizeof(why), "%s", pl_error());
		begin_failed(m, 0);
		return pl_fail(r, "%s", why);
	}
	m->cancel = cancel_late;
	m->quiesce.ready = begin_alone;
	quiesce_begin(m->disk, &m->quiesce, MERGE_HOLD_NS);
	return 0;
}
