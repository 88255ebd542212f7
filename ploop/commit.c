#include "ploop/commit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/byteorder.h"
#include "ploop/disk.h"

#define SCHEDULE_NS (5 * NS_PER_S)
#define PAGE_BYTES 4096u
#define SLOTS_PER_PAGE (PAGE_BYTES / LAY_BAT_SLOT_BYTES)
#define WRITE_MAX_BYTES (1u << 20)

static void commit_start(struct pl_disk *d);

static struct pl_disk *disk_of_io(struct pl_io *io)
{
	return container_of(io, struct pl_disk, commit.io);
}

static void timer_fired(struct pl_timer *timer)
{
	struct pl_disk *d = container_of(timer, struct pl_disk, commit.timer);
	bounce_trim(d);
	commit_demand(d);
}

int commit_init(struct pl_disk *d)
{
	struct commit *c = &d->commit;
	c->timer.fire = timer_fired;
	c->pages = calloc(PENDING_MAX_PAGES, sizeof(*c->pages));
	c->writes = calloc(PENDING_MAX_PAGES, sizeof(*c->writes));
	c->images = mmap(NULL, PENDING_MAX_PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!c->pages || !c->writes || c->images == MAP_FAILED)
		return pl_fail(-ENOMEM, "no memory for commit rounds");
	return 0;
}

void commit_fini(struct pl_disk *d)
{
	struct commit *c = &d->commit;
	pl_timer_stop(d->loop, &c->timer);
	free(c->pages);
	free(c->writes);
	if (c->images && c->images != MAP_FAILED)
		munmap(c->images, PENDING_MAX_PAGES * PAGE_BYTES);
}

/* ---- end of a round */

static void settle(struct pl_disk *d, int res)
{
	struct commit *c = &d->commit;
	if (res == 0) {
		c->writes_synced = c->writes_at_cut;
		if (c->page_count)
			pending_settle(d->pending);
		for (size_t i = 0; i < d->freed_round.count; i++)
			alloc_give(&d->alloc, d->freed_round.at[i]);
	} else {
		/* What the kernel could not write it may have forgotten: a later sync that succeeds proves nothing. */
		if (!d->failed)
			pl_log(PL_LOG_ERROR, "commit", "%s: sync failed, refusing further writes errno=%d",
			       d->top->store->path, -res);
		disk_event(d, "sync-failed", (uint64_t)-res, c->state);
		d->failed = true;
		if (c->page_count)
			pending_unsettle(d->pending);
	}
	d->freed_round.count = 0;
	c->page_count = 0;
	c->state = COMMIT_IDLE;
	disk_wake(d, &d->slot_waiters);
}

static void round_done(struct pl_disk *d, int res)
{
	struct commit *c = &d->commit;
	struct queue served;
	queue_move(&served, &c->serving);
	settle(d, res);
	if ((c->again || !queue_is_empty(&c->waiters)) && !d->failed)
		commit_start(d);
	for (struct qnode *n; (n = queue_take(&served));) {
		struct pl_req *req = req_of_node(n);
		req->res = res;
		req_complete(req);
	}
	for (struct qnode *n; d->failed && (n = queue_take(&c->waiters));) {
		struct pl_req *req = req_of_node(n);
		req->res = -EIO;
		req_complete(req);
	}
}

static void bat_synced(struct pl_io *io)
{
	round_done(disk_of_io(io), io->res);
}

/* ---- BAT pages */

static void sync_bat(struct pl_disk *d)
{
	struct commit *c = &d->commit;
	c->state = COMMIT_BAT_SYNC;
	c->io = (struct pl_io){.done = bat_synced, .kind = PL_IO_FDATASYNC};
	store_submit(d->top->store, &c->io);
}

/* D8: some file systems need space to overwrite. The round waits for it, and its requests with it. */
static void park_round(struct pl_disk *d)
{
	disk_event(d, "no-space", 0, d->commit.page_count);
	d->commit.parked = true;
	if (!d->park_timer.deadline_ns)
		pl_timer_start(d->loop, &d->park_timer, PARK_RETRY_NS);
}

static void pages_written(struct pl_io *io)
{
	struct pl_disk *d = ((struct commit_write *)io)->disk;
	struct commit *c = &d->commit;
	if (io->res > 0 && (uint64_t)io->res < io->length) {
		io->buf = (uint8_t *)io->buf + io->res;
		io->offset += (uint64_t)io->res;
		io->length -= (uint64_t)io->res;
		store_submit(d->top->store, io);
		return;
	}
	if (io->res <= 0)
		c->res = io->res ? io->res : -EIO;
	if (--c->writes_left > 0)
		return;
	if (is_no_space(c->res) && !d->no_waiting)
		park_round(d);
	else if (c->res < 0)
		round_done(d, c->res);
	else
		sync_bat(d);
}

/* One write per run of neighbouring pages. */
static void write_bat(struct pl_disk *d)
{
	struct commit *c = &d->commit;
	c->state = COMMIT_BAT_WRITE;
	c->res = 0;
	c->writes_left = 1; /* ours, while we count */
	struct commit_write *w = c->writes;
	for (uint32_t i = 0, n; i < c->page_count; i += n, w++) {
		for (n = 1; i + n < c->page_count && c->pages[i + n] == c->pages[i] + n; n++)
			if ((n + 1) * PAGE_BYTES > WRITE_MAX_BYTES)
				break;
		w->disk = d;
		w->io = (struct pl_io){
			.done = pages_written,
			.kind = PL_IO_WRITE,
			.buf_index = PL_IO_NO_BUFFER,
			.buf = c->images + (size_t)i * PAGE_BYTES,
			.length = n * PAGE_BYTES,
			.offset = (uint64_t)c->pages[i] * PAGE_BYTES,
		};
		c->writes_left++;
		store_submit(d->top->store, &w->io);
	}
	c->writes_left--;
}

void commit_retry(struct pl_disk *d)
{
	if (!d->commit.parked)
		return;
	d->commit.parked = false;
	write_bat(d);
}

static void data_synced(struct pl_io *io)
{
	struct pl_disk *d = disk_of_io(io);
	if (io->res < 0 || d->commit.page_count == 0)
		round_done(d, io->res);
	else
		write_bat(d); /* D3: now, not before */
}

/* ---- begin of a round */

/* What page @page of the file shall hold: the entries of the top as the map has them now. */
static void build_page(const struct pl_disk *d, uint32_t page, uint8_t *out)
{
	uint32_t first = page == 0 ? LAY_HEADER_SLOTS : 0;
	if (page == 0)
		lay_header_encode(&d->top->header, out);
	for (uint32_t i = first; i < SLOTS_PER_PAGE; i++) {
		struct gclu g = {page * SLOTS_PER_PAGE + i - LAY_HEADER_SLOTS};
		uint32_t slot = 0;
		if (g.n < d->map.clusters && d->map.level[g.n] == d->top_level)
			slot = lay_slot_from_cluster(&d->top->header, (struct fclu){d->map.file[g.n]});
		store_le32(out + (size_t)i * LAY_BAT_SLOT_BYTES, slot);
	}
}

static void swap_freed(struct pl_disk *d)
{
	invariant(d->freed_round.count == 0);
	struct file_list t = d->freed_round;
	d->freed_round = d->freed;
	d->freed = t;
}

static void commit_start(struct pl_disk *d)
{
	struct commit *c = &d->commit;
	invariant(c->state == COMMIT_IDLE);
	pl_timer_stop(d->loop, &c->timer);
	c->again = false;
	c->state = COMMIT_DATA_SYNC;
	c->writes_at_cut = d->writes;
	queue_move(&c->serving, &c->waiters);
	c->page_count = d->pending ? pending_cut(d->pending, c->pages) : 0;
	for (uint32_t i = 0; i < c->page_count; i++)
		build_page(d, c->pages[i], c->images + (size_t)i * PAGE_BYTES);
	swap_freed(d);
	c->io = (struct pl_io){.done = data_synced, .kind = PL_IO_FDATASYNC};
	store_submit(d->top->store, &c->io);
}

static bool nothing_to_do(const struct pl_disk *d)
{
	const struct commit *c = &d->commit;
	return c->state == COMMIT_IDLE && c->writes_synced == d->writes &&
	       (!d->pending || (d->pending->live_count == 0 && d->freed.count == 0));
}

void commit_wait(struct pl_disk *d, struct pl_req *req)
{
	if (d->failed) {
		req->res = -EIO;
		req_complete(req);
		return;
	}
	if (d->readonly || nothing_to_do(d)) {
		req_complete(req);
		return;
	}
	queue_append(&d->commit.waiters, &req_state(req)->node);
	if (d->commit.state == COMMIT_IDLE)
		commit_start(d);
}

void commit_demand(struct pl_disk *d)
{
	if (d->failed || nothing_to_do(d))
		return;
	if (d->commit.state == COMMIT_IDLE)
		commit_start(d);
	else
		d->commit.again = true;
}

void commit_schedule(struct pl_disk *d)
{
	if (!d->commit.timer.deadline_ns)
		pl_timer_start(d->loop, &d->commit.timer, SCHEDULE_NS);
}
