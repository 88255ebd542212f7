/* The steps of a fold, and what is on disk at each.
 *
 *   a crash after…        leaves in the destination                                    folding again
 *   marked                what was there, marked in use                                begins
 *   copies of a round     the same entries; over them the same data as in the source,  copies it again
 *                         or part of it: who reads the chain does not look there
 *   BAT pages of a round  some of the round's entries, each to durable data            goes on behind (child),
 *                                                                                      or over them (parent)
 *   closed                all of it                                                    changes nothing */
#include "ploop/fold_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define DEFAULT_DEPTH 4u
#define ROUND_BYTES GIB

static void write_pages(struct fold *f);
static void close_destination(struct fold *f);

/* ---- one thing after the other */

static void finished(struct pl_io *io)
{
	struct fold *f = container_of(io, struct fold, io);
	if (f->res == 0 && !fold_is_at_end(f))
		fold_fail(f, pl_fail(-ECANCELED, "%s: the merge was ended early", f->to->store->path));
	if (f->res < 0)
		pl_fail(f->res, "%s", f->error);
	f->o.done(f->o.arg, f->res);
}

/* From the loop, never from inside a call of the owner's. */
static void finish(struct fold *f)
{
	f->state = FOLD_DONE;
	f->io = (struct pl_io){.done = finished};
	pl_loop_complete(f->o.loop, &f->io, 0);
}

void fold_fail(struct fold *f, int res)
{
	if (f->res < 0)
		return;
	f->res = res;
	snprintf(f->error, sizeof(f->error), "%s", pl_error());
}

static void step_done(struct pl_io *io)
{
	struct fold *f = container_of(io, struct fold, io);
	struct store *to = f->to->store;
	bool is_write = io->kind == PL_IO_WRITE;
	if (io->res < 0 || (is_write && io->res == 0)) {
		int r = io->res ? io->res : -EIO;
		fold_fail(f, pl_fail(r, "%s: cannot %s: %s; it stays marked in use", to->path,
				     is_write ? "write its tables" : "sync", strerror(-r)));
		finish(f);
		return;
	}
	if (is_write && (uint64_t)io->res < io->length) {
		io->buf = (uint8_t *)io->buf + io->res;
		io->offset += (uint64_t)io->res;
		io->length -= (uint64_t)io->res;
		store_submit(to, io);
		return;
	}
	if (is_write)
		to->size_bytes = MAX(to->size_bytes, io->offset + io->length);
	f->then(f);
}

static void step(struct fold *f, struct pl_io io, void (*then)(struct fold *f))
{
	f->io = io;
	f->io.done = step_done;
	f->io.buf_index = PL_IO_NO_BUFFER;
	f->then = then;
	store_submit(f->to->store, &f->io);
}

static void write_step(struct fold *f, const void *data, uint64_t length, uint64_t offset,
		       void (*then)(struct fold *f))
{
	step(f, (struct pl_io){.kind = PL_IO_WRITE, .buf = (void *)data, .length = length, .offset = offset}, then);
}

static void sync_step(struct fold *f, void (*then)(struct fold *f))
{
	step(f, (struct pl_io){.kind = PL_IO_FDATASYNC}, then);
}

static void header_step(struct fold *f, uint32_t in_use, uint64_t ext_sectors, void (*then)(struct fold *f))
{
	f->to->header.in_use = in_use;
	f->to->header.ext_sectors = ext_sectors;
	bat_file_build_page(f->to, 0, f->page_run);
	write_step(f, f->page_run, BAT_PAGE_BYTES, 0, then);
}

/* ---- rounds */

static void copy_on(struct fold *f)
{
	f->state = FOLD_COPY;
	fold_pump(f);
}

static void round_over(struct fold *f)
{
	f->pending_count = 0;
	if (f->cancelled || fold_is_at_end(f))
		close_destination(f);
	else
		copy_on(f);
}

static void pages_written(struct fold *f)
{
	if (f->next_pending < f->pending_count)
		write_pages(f);
	else
		sync_step(f, round_over);
}

/* The pages of the next pending entries, as far as they lie in a row. Entries rise with guest clusters. */
static void write_pages(struct fold *f)
{
	struct bat_file *to = f->to;
	uint32_t first = bat_file_page_of(f->pending[f->next_pending].g), n = 0;
	for (; f->next_pending < f->pending_count; f->next_pending++) {
		struct fold_entry *e = &f->pending[f->next_pending];
		uint32_t page = bat_file_page_of(e->g);
		if (page > first + n || page - first >= FOLD_PIECE_BYTES / BAT_PAGE_BYTES)
			break;
		n = page - first + 1;
		to->files[e->g.n] = e->f.n;
	}
	for (uint32_t i = 0; i < n; i++)
		bat_file_build_page(to, first + i, f->page_run + (size_t)i * BAT_PAGE_BYTES);
	write_step(f, f->page_run, (uint64_t)n * BAT_PAGE_BYTES, (uint64_t)first * BAT_PAGE_BYTES, pages_written);
}

/* D3: the data is durable, now its entries. */
static void data_synced(struct fold *f)
{
	f->next_pending = 0;
	if (f->pending_count > 0)
		write_pages(f);
	else
		round_over(f);
}

static void forget_last(struct fold *f, uint32_t n)
{
	while (n-- > 0)
		alloc_give(&f->to->alloc, f->pending[--f->pending_count].f);
}

void fold_copied(struct fold *f)
{
	pl_timer_stop(f->o.loop, &f->timer);
	if (f->res < 0) {
		forget_last(f, f->pending_count);
		close_destination(f);
		return;
	}
	if (f->run.at < f->run.bytes)
		forget_last(f, f->run.entries);
	f->state = FOLD_ROUND;
	sync_step(f, data_synced);
}

/* ---- close */

static void closed(struct fold *f)
{
	finish(f);
}

static void sync_header(struct fold *f)
{
	sync_step(f, closed);
}

static void mark_closed(struct fold *f)
{
	struct lay_header *h = &f->to->header;
	if (f->to->alloc.used_count > 0)
		h->flags &= ~LAY_FLAG_EMPTY;
	header_step(f, h->ext_sectors ? LAY_CLOSED_V21 : LAY_CLOSED_V20, h->ext_sectors, sync_header);
}

static void sync_all(struct fold *f)
{
	sync_step(f, mark_closed);
}

static int cut(struct fold *f)
{
	struct store *to = f->to->store;
	uint64_t end = f->raw ? f->raw_bytes : bat_file_end(f->to);
	return end < to->size_bytes ? to->ops->set_size(to, end) : 0;
}

/* The parent gets the child's extension when it has all its clusters; the child's own is where it was. */
static void close_image(struct fold *f)
{
	const uint8_t *data;
	uint64_t bytes;
	struct lay_header *h = &f->to->header;
	if (f->ext && f->o.into == PL_INTO_CHILD)
		h->ext_sectors = ext_copy_sectors(f->ext);
	if (!f->ext || f->o.into == PL_INTO_CHILD || f->res < 0 || !fold_is_at_end(f)) {
		sync_all(f);
		return;
	}
	struct fclu end = {alloc_end(&f->to->alloc)};
	int r = ext_copy_build(f->ext, end, &data, &bytes, &h->ext_sectors);
	if (r == 0) {
		write_step(f, data, bytes, bat_file_offset(f->to, end), sync_all);
		return;
	}
	fold_fail(f, pl_wrap(r, "%s", f->to->store->path));
	sync_all(f);
}

static void close_destination(struct fold *f)
{
	f->state = FOLD_CLOSE;
	int r = cut(f);
	if (r < 0) {
		fold_fail(f, r);
		finish(f);
	} else if (f->raw) {
		sync_step(f, closed);
	} else {
		close_image(f);
	}
}

/* ---- begin */

static void sync_mark(struct fold *f)
{
	sync_step(f, copy_on);
}

void fold_begin(struct fold *f)
{
	f->state = FOLD_MARK;
	if (f->raw)
		sync_step(f, copy_on);
	else
		header_step(f, LAY_IN_USE, 0, sync_mark);
}

static int check_pair(const struct fold *f)
{
	const struct lay_header *c = &f->child.header, *p = &f->parent.header;
	const char *child = f->child.store->path, *parent = f->parent.store->path;
	if (f->child.store->ino != 0 && f->child.store->ino == f->parent.store->ino &&
	    f->child.store->dev == f->parent.store->dev)
		return pl_fail(-EINVAL, "%s and %s are the same file", child, parent);
	if (f->raw && f->o.into == PL_INTO_CHILD)
		return pl_fail(-EINVAL, "%s is raw: it can take its child in, but not be merged into it", parent);
	if (f->raw && c->cluster_sectors != f->o.cluster_sectors)
		return pl_fail(-EINVAL, "%s has clusters of %u sectors, the disk %u", child, c->cluster_sectors,
			       f->o.cluster_sectors);
	if (f->raw)
		return 0;
	if (p->cluster_sectors != c->cluster_sectors)
		return pl_fail(-EINVAL, "%s has clusters of %u sectors, its child %s %u", parent, p->cluster_sectors,
			       child, c->cluster_sectors);
	if (p->version != c->version)
		return pl_fail(-EINVAL, "%s has format version %u, its child %s %u", parent, p->version, child,
			       c->version);
	if (p->size_sectors > c->size_sectors)
		return pl_fail(-EINVAL, "%s is larger (%llu sectors) than its child %s (%llu)", parent,
			       (unsigned long long)p->size_sectors, child, (unsigned long long)c->size_sectors);
	return 0;
}

static int load_pair(struct fold *f)
{
	int r = bat_file_load(&f->child, f->o.child, 0);
	if (r < 0)
		return r;
	f->parent.store = f->o.parent;
	f->parent.cluster_bytes = f->child.cluster_bytes;
	f->raw_bytes = f->o.parent->size_bytes;
	if (!f->raw)
		r = bat_file_load(&f->parent, f->o.parent, 0);
	if (r == 0)
		r = check_pair(f);
	return r < 0 ? r : ext_copy_load(&f->child, &f->ext);
}

static bool is_parent_small(const struct fold *f)
{
	uint64_t sectors = f->raw ? f->raw_bytes / SECTOR_BYTES : f->parent.header.size_sectors;
	return f->o.into == PL_INTO_PARENT && sectors < f->child.header.size_sectors;
}

static int prepare(struct fold *f)
{
	uint32_t depth = MIN(f->o.depth ? f->o.depth : DEFAULT_DEPTH, FOLD_MAX_DEPTH);
	uint32_t in_run = MAX(FOLD_PIECE_BYTES / f->to->cluster_bytes, 1);
	f->pending_max = (uint32_t)(ROUND_BYTES / f->to->cluster_bytes);
	f->pending = calloc(f->pending_max + in_run, sizeof(*f->pending));
	f->copiers = calloc(depth, sizeof(*f->copiers));
	f->page_run = aligned_alloc(BAT_PAGE_BYTES, FOLD_PIECE_BYTES);
	if (!f->pending || !f->copiers || !f->page_run)
		return pl_fail(-ENOMEM, "no memory to merge %s and %s", f->o.child->path, f->o.parent->path);
	for (uint32_t i = 0; i < depth; i++) {
		f->copiers[i] = (struct fold_copier){.fold = f, .next = f->free_copiers};
		f->free_copiers = &f->copiers[i];
	}
	f->timer.fire = fold_timer_fired;
	f->total_bytes = fold_count(f);
	if (f->raw)
		return 0;
	int r = bat_file_begin_changes(f->to);
	if (r == 0 && f->ext && f->o.into == PL_INTO_CHILD)
		ext_copy_keep(f->ext, f->to);
	return r;
}

static void fold_autop(struct fold **f)
{
	fold_free(*f);
}

int fold_new(const struct fold_options *options, struct fold **out, uint64_t *must_have_sectors)
{
	__attribute__((cleanup(fold_autop))) struct fold *f = calloc(1, sizeof(*f));
	if (!f)
		return pl_fail(-ENOMEM, "no memory to merge %s", options->child->path);
	f->o = *options;
	f->state = FOLD_DONE;
	f->raw = options->parent_format == PL_FORMAT_RAW;
	f->from = options->into == PL_INTO_PARENT ? &f->child : &f->parent;
	f->to = options->into == PL_INTO_PARENT ? &f->parent : &f->child;
	int r = load_pair(f);
	*must_have_sectors = r == 0 && is_parent_small(f) ? f->child.header.size_sectors : 0;
	if (r < 0 || *must_have_sectors)
		return r;
	r = prepare(f);
	if (r == 0)
		*out = mem_steal(&f);
	return r;
}

int fold_start(const struct fold_options *options, struct fold **out)
{
	struct fold *f;
	uint64_t must_have_sectors;
	int r = fold_new(options, &f, &must_have_sectors);
	if (r == 0 && must_have_sectors)
		r = pl_fail(-ENOTSUP, "%s is smaller than its child %s, it would have to grow first",
			    options->parent->path, options->child->path);
	if (r < 0)
		return r;
	fold_begin(f);
	*out = f;
	return 0;
}

void fold_cancel(struct fold *f)
{
	if (f->state == FOLD_DONE)
		return;
	f->cancelled = true;
	pl_timer_stop(f->o.loop, &f->timer);
	fold_pump(f);
}

void fold_free(struct fold *f)
{
	if (!f)
		return;
	bat_file_fini(&f->child);
	bat_file_fini(&f->parent);
	ext_copy_free(f->ext);
	free(f->copiers);
	free(f->pending);
	free(f->page_run);
	free(f);
}

struct fclu fold_place(const struct fold *f, struct gclu g)
{
	if (f->raw)
		return (struct fclu){g.n};
	return (struct fclu){g.n < f->to->clusters ? f->to->files[g.n] : 0};
}
