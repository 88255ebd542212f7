#include "ploop/seal.h"

#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "ploop/chain.h"
#include "ploop/change.h"
#include "ploop/fill.h"
#include "ploop/lock.h"
#include "ploop/pace.h"

#define PUNCH_BYTES	 (64 * MIB)
#define PUNCH_STEP_BYTES MIB /* while the guest is at work: it waits behind one for the disk, and to read this file */

struct seal {
	struct pl_io io;
	struct writer *w;
	void (*done)(struct pl_disk *d, int res);
	void (*then)(struct seal *s); /* after @io */
	int res;
	uint8_t *page;          /* of the BAT; NULL: nothing is partial */
	uint32_t *parts;        /* slots of partial clusters, in the order of the BAT */
	uint32_t part_count, part;
	uint8_t *header_page;             /* as it shall be at the end; NULL: a raw image */
	struct lay_header header;         /* in it */
	struct extension_bytes extension; /* data NULL: it has none */
	uint64_t cut_from, punched_to;    /* offsets in the file */
	uint64_t began_ns;		  /* the last hole */
	struct pace_guest guest;
	struct pl_timer pace;
};

static void seal_free(struct seal *s)
{
	if (!s)
		return;
	free(s->header_page);
	free(s->page);
	free(s->parts);
	free(s->extension.data);
	free(s);
}
DEFINE_AUTO(struct seal *, seal, seal_free, NULL)
#define autoseal __attribute__((cleanup(seal_autop)))

static void settle_parts(const struct seal *s);
static void end(struct seal *s, int res);
static void close_file(struct seal *s);

/* Until the operation that watches the holder has been cancelled. */
static void end_later(struct pl_io *io)
{
	struct seal *s = container_of(io, struct seal, io);
	end(s, s->res);
}

static void end(struct seal *s, int res)
{
	struct writer *w = s->w;
	struct pl_disk *d = w->disk;
	void (*done)(struct pl_disk *, int) = s->done;
	if (w->life_armed) {
		s->res = res;
		s->io.done = end_later;
		pl_loop_complete(d->loop, &s->io, 0);
		return;
	}
	if (res < 0)
		d->failed = true;
	else if (s->header_page)
		w->image->header = s->header;
	if (res == 0)
		settle_parts(s);
	if (res == 0)
		survive_detach(&w->survive, true);
	if (res == 0 && w->image->store->fd >= 0)
		lock_lower(w->image->store->fd);
	seal_free(s);
	d->seal = NULL;
	d->leaving = NULL;
	writer_free(w);
	if (d->failed)
		commit_refuse(d);
	else
		commit_resume(d->writer);
	done(d, res);
}

/* ---- steps: one operation each */

static void start(struct seal *s, void (*then)(struct seal *s))
{
	s->then = then;
	store_submit(s->w->image->store, &s->io);
}

static void io_done(struct pl_io *io)
{
	struct seal *s = container_of(io, struct seal, io);
	bool is_write = io->kind == PL_IO_WRITE;
	if (io->res < 0 || (is_write && io->res == 0)) {
		end(s, io->res ? io->res : -EIO);
		return;
	}
	if (is_write && (uint64_t)io->res < io->length) {
		io->buf = (uint8_t *)io->buf + io->res;
		io->offset += (uint64_t)io->res;
		io->length -= (uint64_t)io->res;
		start(s, s->then);
		return;
	}
	s->then(s);
}

static void write_out(struct seal *s, void *data, uint64_t length, uint64_t offset, void (*then)(struct seal *s))
{
	s->io = (struct pl_io){.done = io_done, .kind = PL_IO_WRITE, .buf_index = PL_IO_NO_BUFFER, .buf = data,
			       .length = length, .offset = offset};
	start(s, then);
}

static void sync_out(struct seal *s, void (*then)(struct seal *s))
{
	s->io = (struct pl_io){.done = io_done, .kind = PL_IO_FDATASYNC};
	start(s, then);
}

static void closed(struct seal *s)
{
	end(s, 0);
}

static void sync_header(struct seal *s)
{
	sync_out(s, closed);
}

static void write_header(struct seal *s)
{
	write_out(s, s->header_page, HEADER_PAGE_BYTES, 0, sync_header);
}

/* What was cut or written before must not come after "closed". */
static void sync_before_header(struct seal *s)
{
	sync_out(s, write_header);
}

static void extension_written(struct seal *s)
{
	struct store *store = s->w->image->store;
	store->size_bytes = MAX(store->size_bytes, s->extension.offset_bytes + s->extension.length_bytes);
	sync_before_header(s);
}

/* ---- partial clusters: filled, then their BAT entries are put into the pages of the file, then the fence goes. Until
 * all that is durable the journal has them, and they stay in the table. */

static struct gclu part_guest(const struct seal *s, uint32_t i)
{
	return s->w->partials->slots[s->parts[i]].g;
}

static void next_page(struct seal *s);

static void sync_plain_header(struct seal *s)
{
	sync_out(s, close_file);
}

/* Marked in use, but plain: only then the journal may be cut off. */
static void write_plain_header(struct seal *s)
{
	s->w->journal.fenced = false;
	struct lay_header h = writer_header(s->w, LAY_IN_USE, 0);
	lay_header_encode(&h, s->header_page);
	write_out(s, s->header_page, HEADER_PAGE_BYTES, 0, sync_plain_header);
}

static void sync_pages(struct seal *s)
{
	sync_out(s, write_plain_header);
}

static void put_entries(struct seal *s, uint8_t *page)
{
	const struct writer *w = s->w;
	uint32_t number = bat_page_of(part_guest(s, s->part));
	for (; s->part < s->part_count && bat_page_of(part_guest(s, s->part)) == number; s->part++) {
		const struct partial_slot *p = &w->partials->slots[s->parts[s->part]];
		uint64_t at = lay_slot_offset_bytes(p->g.n) % HEADER_PAGE_BYTES;
		store_le32(page + at, lay_slot_from_cluster(&w->image->header, p->f));
	}
}

static void page_read(struct seal *s)
{
	uint64_t at = (uint64_t)bat_page_of(part_guest(s, s->part)) * HEADER_PAGE_BYTES;
	put_entries(s, s->page);
	write_out(s, s->page, HEADER_PAGE_BYTES, at, next_page);
}

/* Page 0 is here as it shall be, but for the header: that is still a fence in the file. */
static void put_first_page(struct seal *s)
{
	struct lay_header fenced = journal_header(s->w);
	put_entries(s, s->header_page);
	memcpy(s->page, s->header_page, HEADER_PAGE_BYTES);
	lay_header_encode(&fenced, s->page);
	write_out(s, s->page, HEADER_PAGE_BYTES, 0, next_page);
}

static void next_page(struct seal *s)
{
	if (s->part == s->part_count) {
		sync_pages(s);
		return;
	}
	uint32_t number = bat_page_of(part_guest(s, s->part));
	if (number == 0) {
		put_first_page(s);
		return;
	}
	s->io = (struct pl_io){.done = io_done, .kind = PL_IO_READ, .buf_index = PL_IO_NO_BUFFER, .buf = s->page,
			       .length = HEADER_PAGE_BYTES, .offset = (uint64_t)number * HEADER_PAGE_BYTES};
	start(s, page_read);
}

static void progress(struct pl_disk *d, uint32_t done, uint32_t total)
{
	change_progress(d, (uint64_t)done << d->cluster_shift, (uint64_t)total << d->cluster_shift);
}

static int by_guest(const void *a, const void *b, void *arg)
{
	const struct partial_slot *slots = arg;
	uint32_t x = slots[*(const uint32_t *)a].g.n, y = slots[*(const uint32_t *)b].g.n;
	return x < y ? -1 : x > y;
}

static void filled(struct pl_disk *d, int res)
{
	struct seal *s = d->seal;
	struct partials *p = s->w->partials;
	if (res < 0) {
		end(s, res);
		return;
	}
	for (uint32_t slot = 0; slot < p->shm->end; slot++)
		if (p->slots[slot].state == PARTIAL_LIVE)
			s->parts[s->part_count++] = slot;
	qsort_r(s->parts, s->part_count, sizeof(*s->parts), by_guest, p->slots);
	sync_out(s, next_page); /* D3 */
}

/* They are in the file now: where nothing above has the cluster, the map says so. */
static void settle_parts(const struct seal *s)
{
	const struct writer *w = s->w;
	struct pl_disk *d = w->disk;
	for (uint32_t i = 0; i < s->part_count; i++) {
		const struct partial_slot *p = &w->partials->slots[s->parts[i]];
		struct map_entry e = map_get(&d->map, p->g);
		map_set_below(&d->map, p->g);
		if (e.level == MAP_HOLE || d->rank[e.level] < d->rank[w->image->level])
			map_set(&d->map, p->g, w->image->level, p->f);
	}
}

void seal_round_done(struct writer *w, int res)
{
	struct seal *s = w->disk->seal;
	if (res < 0 || !s->header_page)
		end(s, res);
	else if (w->journal.fenced)
		fill_all(w, filled, progress);
	else
		close_file(s);
}

/* ---- the end: space that is not used is given up, then the header says that it is closed */

static void write_end(struct seal *s)
{
	struct writer *w = s->w;
	if (w->extension && extension_build(w, &s->extension) < 0)
		pl_log(PL_LOG_WARN, "seal", "%s; change tracking ends in it", pl_error());
	s->header = writer_header(w, s->extension.data ? LAY_CLOSED_V21 : LAY_CLOSED_V20, s->extension.ext_sectors);
	lay_header_encode(&s->header, s->header_page);
	if (s->extension.data)
		write_out(s, s->extension.data, s->extension.length_bytes, s->extension.offset_bytes,
			  extension_written);
	else
		sync_before_header(s);
}

/* What is to be cut off is a hole by now: to free much at once takes a file system long, and nobody would be served. */
static void cut_file(struct seal *s)
{
	struct store *store = s->w->image->store;
	if (s->cut_from < store->size_bytes && store->ops->set_size(store, s->cut_from) < 0)
		pl_log(PL_LOG_WARN, "seal", "%s; it keeps unused space", pl_error());
	write_end(s);
}

static void punch_next(struct seal *s);

static void punched(struct pl_io *io)
{
	struct seal *s = container_of(io, struct seal, io);
	struct pl_disk *d = s->w->disk;
	s->punched_to = io->offset + io->length;
	if (io->res < 0)
		cut_file(s);
	else if (pace_guest_works(&s->guest, d))
		pl_timer_start(d->loop, &s->pace, pace_rest_ns(pl_now_ns() - s->began_ns));
	else
		punch_next(s);
}

static void pace_over(struct pl_timer *timer)
{
	punch_next(container_of(timer, struct seal, pace));
}

static void punch_next(struct seal *s)
{
	struct store *store = s->w->image->store;
	uint64_t most = pace_guest_works(&s->guest, s->w->disk) ? PUNCH_STEP_BYTES : PUNCH_BYTES;
	if (s->punched_to >= store->size_bytes) {
		cut_file(s);
		return;
	}
	s->io = (struct pl_io){
		.done = punched,
		.kind = PL_IO_FALLOCATE,
		.arg = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		.offset = s->punched_to,
		.length = MIN(store->size_bytes - s->punched_to, most),
	};
	s->began_ns = pl_now_ns();
	store_submit(store, &s->io);
}

static void close_file(struct seal *s)
{
	struct writer *w = s->w;
	journal_give_space(w);
	if (w->disk->keep_space) {
		write_end(s);
		return;
	}
	s->guest.requests = w->disk->guest_requests;
	s->pace.fire = pace_over;
	s->cut_from = s->punched_to = file_offset(w->disk, (struct fclu){alloc_end(&w->alloc)}, 0);
	punch_next(s);
}

/* ---- begin */

/* What is below each partial cluster now: the next top will hide it in the map. */
static bool prepare_parts(struct seal *s, struct writer *w)
{
	struct partials *p = w->partials;
	s->page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	s->parts = calloc(p->count + 1, sizeof(*s->parts));
	for (uint32_t slot = 0; slot < p->shm->end; slot++)
		if (p->slots[slot].state == PARTIAL_LIVE)
			p->slots[slot].below = map_get(&w->disk->map, p->slots[slot].g);
	return s->page && s->parts;
}

int seal_begin(struct writer *w, void (*done)(struct pl_disk *d, int res))
{
	if (w->disk->failed)
		return pl_fail(-EIO, "%s: a sync failed, it cannot be sealed", w->image->path);
	autoseal struct seal *s = calloc(1, sizeof(*s));
	bool raw = w->image->format == PL_FORMAT_RAW;
	if (s && !raw)
		s->header_page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	bool ok = s && (raw || s->header_page);
	if (ok && !raw && w->journal.fenced)
		ok = prepare_parts(s, w);
	if (!ok)
		return pl_fail(-ENOMEM, "%s: no memory to seal it", w->image->path);
	s->w = w;
	s->done = done;
	if (!raw)
		commit_build_page(w, 0, s->header_page); /* with the entries of now: later ones are the next top's */
	writer_stop_watching(w);
	w->sealing = true;
	w->image->writer = NULL;
	w->disk->seal = seal_steal(&s);
	commit_last(w);
	return 0;
}
