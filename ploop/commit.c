#include "ploop/commit.h"

#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/reserve.h"
#include "ploop/disk.h"
#include "ploop/merge.h"
#include "ploop/quiesce.h"
#include "ploop/seal.h"

#define SCHEDULE_NS (5 * NS_PER_S)
#define PAGE_BYTES 4096u
#define SLOTS_PER_PAGE (PAGE_BYTES / LAY_BAT_SLOT_BYTES)
#define WRITE_MAX_BYTES (1u << 20)

static void commit_start(struct writer *w);
static void await_round(struct writer *w, struct pl_req *req);
static bool commit_may_start(struct writer *w);
static void sync_data(struct writer *w);

static struct writer *writer_of_io(struct pl_io *io)
{
	return container_of(io, struct writer, commit.io);
}

static void timer_fired(struct pl_timer *timer)
{
	struct writer *w = container_of(timer, struct writer, commit.timer);
	bounce_trim(w->disk);
	commit_demand(w);
}

int commit_init(struct writer *w)
{
	struct commit *c = &w->commit;
	c->timer.fire = timer_fired;
	c->pages = calloc(COMMIT_MAX_PAGES, sizeof(*c->pages));
	c->writes = calloc(COMMIT_MAX_PAGES + 1, sizeof(*c->writes));
	c->images = space_reserve(COMMIT_MAX_PAGES * PAGE_BYTES);
	if (!c->pages || !c->writes || !c->images)
		return pl_fail(-ENOMEM, "no memory for commit rounds");
	return 0;
}

void commit_fini(struct writer *w)
{
	struct commit *c = &w->commit;
	pl_timer_stop(w->disk->loop, &c->timer);
	free(c->pages);
	free(c->writes);
	space_release(c->images, COMMIT_MAX_PAGES * PAGE_BYTES);
}

/* ---- end of a round */

static void fail_disk(struct writer *w, int res)
{
	struct pl_disk *d = w->disk;
	/* What the kernel could not write it may have forgotten: a later sync that succeeds proves nothing. */
	if (!d->failed)
		pl_log(PL_LOG_ERROR, "commit", "%s: sync failed, refusing further writes errno=%d", w->image->path,
		       -res);
	disk_event(d, "sync-failed", (uint64_t)-res, w->commit.state);
	d->failed = true;
}

static void settle(struct writer *w, int res)
{
	struct commit *c = &w->commit;
	if (res == 0) {
		c->writes_synced = c->writes_at_cut;
		w->space.durable_end = c->space_at_cut;
		if (c->page_count)
			pending_settle(w->pending);
		journal_settle(w);
		for (size_t i = 0; i < w->freed_round.count; i++)
			alloc_give(&w->alloc, w->freed_round.at[i]);
	} else {
		fail_disk(w, res);
		if (c->page_count)
			pending_unsettle(w->pending);
	}
	w->freed_round.count = 0;
	c->page_count = 0;
	c->state = COMMIT_IDLE;
	c->rounds++;
	w->disk->rounds++;
	disk_wake(w->disk, &w->disk->slot_waiters);
}

/* @req has what it wanted of @w. An image that is leaving comes first, the writer last; who has waited for the writer
 * when the two changed places must wait for the one that now leaves, too. */
static void served(struct writer *w, struct pl_req *req, int res)
{
	struct pl_disk *d = w->disk;
	req->res = res;
	if (res == 0 && w != d->writer)
		await_round(d->writer, req);
	else if (res == 0 && d->leaving && d->leaving->sealing)
		await_round(d->leaving, req);
	else
		req_complete(req);
}

static void serve(struct writer *w, struct queue *queue, int res)
{
	struct queue all;
	queue_move(&all, queue);
	for (struct qnode *n; (n = queue_take(&all));) {
		served(w, req_of_node(n), res);
	}
}

static void refuse_waiters(struct writer *w)
{
	serve(w, &w->commit.waiters, -EIO);
}

void commit_refuse(struct pl_disk *d)
{
	disk_each_writer(d, refuse_waiters);
	disk_wake(d, &d->slot_waiters);
}

static void round_done(struct writer *w, int res)
{
	struct pl_disk *d = w->disk;
	struct commit *c = &w->commit;
	struct queue serving;
	bool was_last = w->sealing;
	queue_move(&serving, &c->serving);
	settle(w, res);
	quiesce_poll(d); /* before another round begins: requests shall be held between two */
	if (was_last)
		w->sealing = false;
	else
		commit_resume(w);
	if (d->merge)
		merge_round_ended(d->merge, w);
	serve(w, &serving, res);
	if (d->failed)
		commit_refuse(d);
	else if (was_last)
		serve(w, &c->waiters, 0); /* who came while it ran: nothing was written since */
	if (was_last)
		seal_round_done(w, res);
}

static void bat_synced(struct pl_io *io)
{
	round_done(writer_of_io(io), io->res);
}

/* ---- BAT pages */

static void sync_bat(struct writer *w)
{
	struct commit *c = &w->commit;
	c->state = COMMIT_BAT_SYNC;
	c->io = (struct pl_io){.done = bat_synced, .kind = PL_IO_FDATASYNC};
	store_submit(w->image->store, &c->io);
}

/* D8: some file systems need space to overwrite. The round waits for it, and its requests with it. */
static void park_round(struct writer *w)
{
	struct pl_disk *d = w->disk;
	if (!w->commit.parked)
		disk_event(d, "no-space", 0, w->commit.page_count);
	w->commit.parked = true;
	full_began(d, w->image->path, w->commit.res);
}

static void pages_written(struct pl_io *io)
{
	struct writer *w = ((struct commit_write *)io)->writer;
	struct commit *c = &w->commit;
	if (io->res > 0 && (uint64_t)io->res < io->length) {
		io->buf = (uint8_t *)io->buf + io->res;
		io->offset += (uint64_t)io->res;
		io->length -= (uint64_t)io->res;
		store_submit(w->image->store, io);
		return;
	}
	if (io->res <= 0)
		c->res = io->res ? io->res : -EIO;
	if (--c->writes_left > 0)
		return;
	if (is_no_space(c->res) && !w->disk->no_waiting) {
		park_round(w);
		return;
	}
	c->parked = false;
	full_poll(w->disk);
	if (c->res < 0)
		round_done(w, c->res);
	else if (c->state == COMMIT_JOURNAL_WRITE)
		sync_data(w);
	else
		sync_bat(w);
}

/* One write per run of neighbouring pages. */
static void write_out(struct writer *w, struct commit_write *at, void *data, uint64_t length, uint64_t offset)
{
	at->writer = w;
	at->io = (struct pl_io){
		.done = pages_written,
		.kind = PL_IO_WRITE,
		.buf_index = PL_IO_NO_BUFFER,
		.buf = data,
		.length = length,
		.offset = offset,
	};
	w->commit.writes_left++;
	store_submit(w->image->store, &at->io);
}

static void write_journal(struct writer *w, struct commit_write *at)
{
	struct journal_write j = journal_output(w);
	write_out(w, at, j.data, j.length_bytes, j.offset_bytes);
}

static void write_new_journal(struct writer *w)
{
	struct commit *c = &w->commit;
	c->state = COMMIT_JOURNAL_WRITE;
	c->res = 0;
	write_journal(w, c->writes);
}

static void write_bat(struct writer *w)
{
	struct commit *c = &w->commit;
	c->state = COMMIT_BAT_WRITE;
	c->res = 0;
	c->writes_left = 1; /* ours, while we count */
	struct commit_write *at = c->writes;
	for (uint32_t i = 0, n; i < c->page_count; i += n, at++) {
		for (n = 1; i + n < c->page_count && c->pages[i + n] == c->pages[i] + n; n++)
			if ((n + 1) * PAGE_BYTES > WRITE_MAX_BYTES)
				break;
		write_out(w, at, c->images + (size_t)i * PAGE_BYTES, n * PAGE_BYTES,
			  (uint64_t)c->pages[i] * PAGE_BYTES);
	}
	if (w->journal.step == JOURNAL_APPEND)
		write_journal(w, at);
	c->writes_left--;
}

void commit_retry(struct writer *w)
{
	if (!w->commit.parked || w->commit.writes_left > 0)
		return;
	if (w->commit.state == COMMIT_JOURNAL_WRITE)
		write_new_journal(w);
	else
		write_bat(w);
}

static void data_synced(struct pl_io *io)
{
	struct writer *w = writer_of_io(io);
	if (io->res < 0 || (w->commit.page_count == 0 && w->journal.step == JOURNAL_NONE))
		round_done(w, io->res);
	else
		write_bat(w); /* D3: now, not before */
}

/* ---- begin of a round */

/* What page @page of the file shall hold: the entries of its image as the map has them now. */
void commit_build_page(const struct writer *w, uint32_t page, uint8_t *out)
{
	const struct map *map = &w->disk->map;
	const struct lay_header *header = &w->image->header;
	uint32_t first = page == 0 ? LAY_HEADER_SLOTS : 0;
	if (page == 0) {
		struct lay_header written = journal_header(w);
		lay_header_encode(&written, out);
	}
	for (uint32_t i = first; i < SLOTS_PER_PAGE; i++) {
		struct gclu g = {page * SLOTS_PER_PAGE + i - LAY_HEADER_SLOTS};
		uint32_t slot = 0;
		if (g.n < map->clusters && map->level[g.n] == w->image->level)
			slot = lay_slot_from_cluster(header, (struct fclu){map->file[g.n]});
		store_le32(out + (size_t)i * LAY_BAT_SLOT_BYTES, slot);
	}
	if (unlikely(w->disk->merge != NULL))
		merge_overlay_page(w->disk->merge, w, page, out);
}

static void swap_freed(struct writer *w)
{
	invariant(w->freed_round.count == 0);
	struct file_list t = w->freed_round;
	w->freed_round = w->freed;
	w->freed = t;
}

static void add_header_page(struct commit *c)
{
	if (c->page_count > 0 && c->pages[0] == 0)
		return;
	memmove(c->pages + 1, c->pages, c->page_count * sizeof(*c->pages));
	c->pages[0] = 0;
	c->page_count++;
}

static void sync_data(struct writer *w)
{
	struct commit *c = &w->commit;
	c->state = COMMIT_DATA_SYNC;
	c->io = (struct pl_io){.done = data_synced, .kind = PL_IO_FDATASYNC};
	if (unlikely(w->journal.error))
		pl_loop_complete(w->disk->loop, &c->io, w->journal.error);
	else
		store_submit(w->image->store, &c->io);
}

/* D3: must data be durable before what the round writes? Of a merge and a journal always. */
static bool is_data_first(const struct writer *w)
{
	return !w->pending || w->pending->round_data_first || w->commit.page_count == 0 || w->disk->merge ||
	       w->journal.step != JOURNAL_NONE;
}

static void commit_start(struct writer *w)
{
	struct commit *c = &w->commit;
	invariant(c->state == COMMIT_IDLE);
	pl_timer_stop(w->disk->loop, &c->timer);
	c->again = false;
	c->state = COMMIT_DATA_SYNC;
	c->writes_at_cut = w->writes;
	c->space_at_cut = w->space.sparse ? 0 : w->alloc.space;
	queue_move(&c->serving, &c->waiters);
	c->page_count = w->pending ? pending_cut(w->pending, c->pages) : 0;
	swap_freed(w);
	journal_cut(w);
	if (journal_changes_header(&w->journal))
		add_header_page(c);
	for (uint32_t i = 0; i < c->page_count; i++)
		commit_build_page(w, c->pages[i], c->images + (size_t)i * PAGE_BYTES);
	if (unlikely(w->disk->merge != NULL))
		merge_round_cut(w->disk->merge, w);
	if (w->journal.step == JOURNAL_REBUILD && !w->journal.error)
		write_new_journal(w);
	else if (is_data_first(w))
		sync_data(w);
	else
		write_bat(w);
}

bool commit_is_settled(const struct writer *w)
{
	const struct commit *c = &w->commit;
	bool is_sealed = w->image->writer != w && !w->sealing; /* what it still does is no request's */
	return is_sealed || (c->state == COMMIT_IDLE && c->writes_synced == w->writes &&
	       (!w->pending || (w->pending->live_count == 0 && w->freed.count == 0)) && !journal_has_work(w));
}

/* While requests are held back, rounds wait too: they would make the hold longer. A new top's entries come after those
 * of the top before it. */
static bool commit_may_start(struct writer *w)
{
	const struct pl_disk *d = w->disk;
	if (unlikely(d->merge != NULL) && merge_delays_round(d->merge, w))
		return false;
	bool is_next = w == d->writer && d->leaving && d->leaving->sealing;
	return !is_next && (!d->held || !queue_is_empty(&d->slot_waiters)) && journal_prepare(w);
}

static void await_round(struct writer *w, struct pl_req *req)
{
	struct commit *c = &w->commit;
	if (w->disk->failed) {
		served(w, req, -EIO);
		return;
	}
	if (commit_is_settled(w)) {
		served(w, req, 0);
		return;
	}
	queue_append(&c->waiters, &req_state(req)->node);
	if (c->state == COMMIT_IDLE && commit_may_start(w))
		commit_start(w);
}

void commit_wait(struct pl_disk *d, struct pl_req *req)
{
	if (d->readonly)
		req_complete(req);
	else
		await_round(d->leaving ? d->leaving : d->writer, req);
}

void commit_resume(struct writer *w)
{
	struct commit *c = &w->commit;
	bool wanted = c->again || !queue_is_empty(&c->waiters);
	if (wanted && c->state == COMMIT_IDLE && !w->disk->failed && commit_may_start(w))
		commit_start(w);
}

void commit_demand(struct writer *w)
{
	struct commit *c = &w->commit;
	if (w->disk->failed || commit_is_settled(w))
		return;
	if (c->state == COMMIT_IDLE && commit_may_start(w))
		commit_start(w);
	else
		c->again = true;
}

void commit_last(struct writer *w)
{
	invariant(w->commit.state == COMMIT_IDLE);
	journal_prepare_last(w);
	commit_start(w);
}

void commit_schedule(struct writer *w)
{
	if (!w->commit.timer.deadline_ns)
		pl_timer_start(w->disk->loop, &w->commit.timer, SCHEDULE_NS);
}
