#include "ploop/switch.h"

#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "layout/ext.h"
#include "ploop/bat_file.h"
#include "ploop/chain.h"
#include "ploop/change.h"
#include "ploop/disk_survive.h"
#include "ploop/quiesce.h"
#include "ploop/seal.h"

#define SWITCH_WAIT_MS 5000u

struct pushed {
	struct writer *w;
	struct quiesce quiesce;
	bool keep_bitmap_below;
	struct extension *fresh; /* the bitmap that begins with the switch */
};

/* ---- push */

/* An empty delta that fits on top. */
static int judge(const struct pl_disk *d, const struct image *img)
{
	const struct lay_header *h = &img->header, *top = &d->top->header;
	bool on_raw = d->top->format == PL_FORMAT_RAW;
	if (h->cluster_sectors * SECTOR_BYTES != d->cluster_bytes)
		return pl_fail(-EINVAL, "%s has clusters of %u sectors, the disk has %u", img->path,
			       h->cluster_sectors, d->cluster_bytes / SECTOR_BYTES);
	if (h->size_sectors * SECTOR_BYTES != d->size_bytes)
		return pl_fail(-EINVAL, "%s has %llu sectors, the disk has %llu", img->path,
			       (unsigned long long)h->size_sectors, (unsigned long long)(d->size_bytes / SECTOR_BYTES));
	if (!on_raw && h->version != top->version)
		return pl_fail(-EINVAL, "%s has format version %u, the top of the chain %u", img->path, h->version,
			       top->version);
	return 0;
}

static int load_empty(struct image *img, struct alloc *alloc)
{
	struct bat_file b;
	int r = bat_file_load(&b, img->store, WRITER_SPARE_CLUSTERS);
	if (r == 0 && b.alloc.used_count > 0)
		r = pl_fail(-EUCLEAN, "%s is not empty: its BAT has %u entries", img->path, b.alloc.used_count);
	else if (r == 0)
		r = bat_file_begin_changes(&b);
	if (r == 0) {
		*alloc = b.alloc;
		b.alloc = (struct alloc){0};
	}
	bat_file_fini(&b);
	return r;
}

static int prepare(struct pl_disk *d, struct image *img)
{
	struct alloc alloc = {0};
	img->format = PL_FORMAT_PLOOP;
	int r = image_read_header(img);
	if (r == 0)
		r = judge(d, img);
	if (r == 0)
		r = load_empty(img, &alloc);
	if (r < 0)
		return r;
	autofree struct pushed *p = calloc(1, sizeof(*p));
	struct writer *w = p ? writer_new(d, img) : NULL;
	if (!w) {
		alloc_fini(&alloc);
		return pl_fail(-ENOMEM, "%s: no memory to open it", img->path);
	}
	w->alloc = alloc;
	r = writer_start(w, d->holder_program);
	if (r == 0)
		r = writer_mark(w, LAY_IN_USE, 0);
	if (r < 0) {
		writer_free(w);
		return r;
	}
	p->w = w;
	d->pushed = mem_steal(&p);
	return 0;
}

static int may_push(struct pl_disk *d, const char *path, struct image **img)
{
	if (d->readonly)
		return pl_fail(-EROFS, "%s: the disk is open for reading only", path);
	if (d->failed)
		return pl_fail(-EIO, "%s: a sync failed, the chain changes no more", d->top->path);
	if (d->pushed || d->change)
		return pl_fail(-EBUSY, "%s: another change of the chain is under way", path);
	*img = d->depth < PL_MAX_CHAIN ? chain_free_level(d) : NULL;
	if (!*img)
		return pl_fail(-E2BIG, "%s: the chain has %u images, that is the limit", path, d->depth);
	return 0;
}

int pl_disk_push(struct pl_disk *d, const struct pl_image_ref *ref)
{
	struct image *img;
	int r = may_push(d, ref->path, &img);
	if (r < 0)
		return r;
	r = image_open(d, img, ref, false, 0);
	if (r == 0)
		r = prepare(d, img);
	if (r < 0)
		image_close(img);
	return r;
}

int disk_push_store(struct pl_disk *d, struct store *store)
{
	struct image *img;
	int r = may_push(d, store->path, &img);
	if (r < 0) {
		store_close(store);
		return r;
	}
	r = image_adopt(img, store);
	if (r == 0)
		r = prepare(d, img);
	if (r < 0 && img->store)
		image_close(img);
	return r;
}

static struct writer *take_pushed(struct pl_disk *d)
{
	struct writer *w = d->pushed->w;
	extension_free(d->pushed->fresh);
	free(d->pushed);
	d->pushed = NULL;
	return w;
}

void pl_disk_abandon(struct pl_disk *d)
{
	if (!d->pushed)
		return;
	struct writer *w = take_pushed(d);
	struct image *img = w->image;
	if (writer_mark(w, LAY_CLOSED_V20, 0) == 0)
		survive_detach(&w->survive, true);
	writer_free(w);
	image_close(img);
}

/* ---- switch */

static void sealed(struct pl_disk *d, int res)
{
	if (res < 0)
		pl_fail(res, "%s: the old top could not be made durable", d->top->path);
	change_done(d, res);
}

/* The bitmap goes on in the new top. What stays in the old one is sealed with it. */
static int pass_extension(struct pl_disk *d)
{
	struct pushed *p = d->pushed;
	struct writer *from = d->writer, *to = p->w;
	if (p->fresh) {
		to->extension = p->fresh;
		p->fresh = NULL;
	} else if (from->extension && p->keep_bitmap_below) {
		to->extension = extension_copy(d, from->extension);
		if (!to->extension)
			return pl_fail(-ENOMEM, "%s: no memory for its dirty bitmap", to->image->path);
	} else {
		to->extension = from->extension;
		from->extension = NULL;
	}
	return 0;
}

/* Nothing is in flight. */
static int switch_now(struct pl_disk *d)
{
	struct writer *old = d->writer, *w = d->pushed->w;
	int r = pass_extension(d);
	if (r < 0)
		return r;
	d->leaving = old;
	r = seal_begin(old, sealed);
	if (r < 0) {
		d->leaving = NULL;
		return r;
	}
	map_lower(&d->map, old->image->level);
	chain_append(d, w->image);
	chain_obey_limits(d, w->image->store);
	d->writer = w;
	disk_event(d, "switch", d->depth, 0);
	return 0;
}

static void ready(struct quiesce *q, int res)
{
	struct pl_disk *d = q->disk;
	if (res < 0) {
		pl_fail(res, "%s: requests in flight did not end in time, nothing was changed", d->top->path);
		change_done(d, res);
		return;
	}
	res = switch_now(d);
	quiesce_end(q);
	d->change->pause_ns = q->pause_ns;
	if (res < 0) {
		change_done(d, res);
		return;
	}
	struct writer *w = take_pushed(d);
	watch_holder(w);
}

static int take_options(struct pl_disk *d, const struct pl_switch_options *given, struct pl_switch_options *o)
{
	memcpy(o, given, MIN(given->size, sizeof(*o)));
	if (!d->pushed)
		return pl_fail(-ENOENT, "%s: no image was pushed onto it", d->top->path);
	extension_free(d->pushed->fresh); /* of an attempt that was not in time */
	d->pushed->fresh = NULL;
	d->pushed->keep_bitmap_below = o->keep_bitmap_below || o->cbt_uuid;
	if (!o->cbt_uuid)
		return 0;
	uint8_t id[LAY_BITMAP_ID_BYTES];
	if (!lay_bitmap_parse_id(o->cbt_uuid, id))
		return pl_fail(-EINVAL, "the id of change tracking, %.40s, is not a UUID of 36 characters",
			       o->cbt_uuid);
	return extension_fresh(d, id, &d->pushed->fresh);
}

void pl_disk_switch(struct pl_disk *d, const struct pl_switch_options *options, struct pl_change *change)
{
	struct pl_switch_options o = {0};
	int r = change_begin(d, change);
	if (r < 0)
		return;
	r = take_options(d, options, &o);
	if (r < 0) {
		change_done(d, r);
		return;
	}
	d->pushed->quiesce.ready = ready;
	uint64_t wait_ms = o.wait_ms ? o.wait_ms : SWITCH_WAIT_MS;
	quiesce_begin(d, &d->pushed->quiesce, wait_ms * NS_PER_MS);
}
