/* The BATs of a chain into one map, base first, so that upper levels win. Each BAT is read once, its holes are skipped,
 * and every entry is checked at every open, also of cleanly closed images (D9). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "layout/bat.h"
#include "ploop/chain.h"
#include "ploop/disk_survive.h"
#include "ploop/finding.h"
#include "ploop/partial_io.h"

#define CHUNK_BYTES (1u << 20)
#define CHUNK_SLOTS (CHUNK_BYTES / LAY_BAT_SLOT_BYTES)

struct loader {
	struct pl_disk *d;
	uint8_t level;
	struct store *store;
	struct lay_bat_scan scan;
	uint8_t *chunk;   /* CHUNK_BYTES of the file */
	uint32_t *files;  /* and decoded */
};

static void merge(struct loader *l, uint32_t first, uint32_t n)
{
	struct map *map = &l->d->map;
	bool is_below = l->level != l->d->top->level;
	for (uint32_t i = 0; i < n; i++) {
		if (l->files[i] == 0)
			continue;
		struct gclu g = {first + i};
		map_set(map, g, l->level, (struct fclu){l->files[i]});
		if (is_below)
			map_set_below(map, g);
	}
}

/* The part of the BAT in the file at @offset, which is a multiple of CHUNK_BYTES or of a page. */
static int load_chunk(struct loader *l, uint64_t offset, uint64_t end)
{
	uint64_t bytes = MIN(end - offset, CHUNK_BYTES);
	int r = store_read(l->store, l->chunk, round_up_pow2(bytes, HEADER_PAGE_BYTES), offset);
	if (r < 0)
		return r;
	uint32_t skip = offset == 0 ? LAY_HEADER_BYTES : 0;
	uint32_t first = (uint32_t)((offset + skip - LAY_HEADER_BYTES) / LAY_BAT_SLOT_BYTES);
	uint32_t n = (uint32_t)((bytes - skip) / LAY_BAT_SLOT_BYTES);
	struct lay_fault fault = {0};
	enum lay_finding_id id = lay_bat_decode(&l->scan, first, l->chunk + skip, n, l->files, &fault);
	if (id != LAY_OK)
		return finding_fail(id, &fault, l->store->path);
	merge(l, first, n);
	return 0;
}

static int load_bat(struct loader *l)
{
	uint64_t end = lay_slot_offset_bytes(l->scan.guest_clusters);
	for (uint64_t at = 0; at < end;) {
		int r = load_chunk(l, at, end);
		if (r < 0)
			return r;
		at = MIN(at + CHUNK_BYTES, end);
		if (at < end)
			at = MAX(at, round_down_pow2(l->store->ops->next_data(l->store, at), HEADER_PAGE_BYTES));
	}
	return 0;
}

static int load_ploop(struct loader *l, const struct image *img)
{
	struct pl_disk *d = l->d;
	uint64_t file_clusters = lay_file_clusters(&img->header, img->store->size_bytes);
	autofree uint64_t *used = NULL;
	l->scan = (struct lay_bat_scan){
		.h = &img->header,
		.file_clusters = file_clusters,
		.guest_clusters = lay_guest_clusters(&img->header),
	};
	if (d->peek)
		return load_bat(l); /* the owner may move a cluster while we read: it would look used twice */
	if (img == d->top && !d->readonly) {
		l->scan.used = d->writer->alloc.used;
	} else {
		used = calloc(lay_used_words(file_clusters), sizeof(*used));
		if (!used)
			return pl_fail(-ENOMEM, "%s: no memory to check its BAT", l->store->path);
		l->scan.used = used;
	}
	return load_bat(l);
}

/* A raw image has all its clusters in order. */
static void load_raw(struct loader *l)
{
	struct pl_disk *d = l->d;
	uint32_t n = d->map.clusters;
	if (l->level != d->top->level) /* a base may end early; the rest is a hole */
		n = (uint32_t)MIN(n, div_up(l->store->size_bytes, d->cluster_bytes));
	for (uint32_t i = 0; i < n; i++) {
		map_set(&d->map, (struct gclu){i}, l->level, (struct fclu){i});
		if (l->level != d->top->level)
			map_set_below(&d->map, (struct gclu){i});
	}
}

static void count_used(struct alloc *a)
{
	for (uint32_t w = 0; w < div_up(a->max, 64); w++)
		a->used_count += (uint32_t)__builtin_popcountll(a->used[w]);
}

/* What lies behind the last whole cluster is nobody's, and may be anything: it becomes a cluster that is free, so that
 * it is zeroed before it is used (D4). */
static int complete_last_cluster(struct store *store, uint32_t cluster_bytes)
{
	uint64_t whole = round_up_pow2(store->size_bytes, cluster_bytes);
	return whole == store->size_bytes ? 0 : store->ops->set_size(store, whole);
}

/* An image below the top that was not closed, of a disk that is only read: what its journal or a dead server's table
 * says, while the map ends with it. One that has partial clusters is what leaves. */
static int replay_lower(struct pl_disk *d, struct image *img)
{
	struct writer *w = writer_new(d, img);
	if (!w)
		return pl_fail(-ENOMEM, "no memory to open %s", img->path);
	int r = attach_pending(w, NULL);
	if (r == 0 && writer_has_partials(w) && d->leaving)
		r = d->peek ? 0 : -EAGAIN;
	else if (r == 0 && writer_has_partials(w))
		d->leaving = w;
	if (d->leaving != w)
		writer_free(w);
	return r;
}

static bool needs_replay(const struct pl_disk *d, const struct image *img)
{
	return d->readonly && img != d->top && img->format == PL_FORMAT_PLOOP && img->header.in_use == LAY_IN_USE;
}

int chain_load(struct pl_disk *d)
{
	struct alloc *alloc = &d->writer->alloc;
	bool allocates = !d->readonly && d->top->format == PL_FORMAT_PLOOP;
	int r = map_init(&d->map, (uint32_t)div_up(d->size_bytes, d->cluster_bytes));
	if (r == 0 && allocates)
		r = writer_init_alloc(d->writer);
	if (r < 0)
		return r;

	autofree uint8_t *chunk = aligned_alloc(HEADER_PAGE_BYTES, CHUNK_BYTES);
	autofree uint32_t *files = malloc(CHUNK_SLOTS * sizeof(*files));
	if (!chunk || !files)
		return pl_fail(-ENOMEM, "no memory to load the BAT");
	for (uint32_t i = 0; r == 0 && i < d->depth; i++) {
		struct image *img = chain_at(d, i);
		struct loader l = {
			.d = d,
			.level = img->level,
			.store = img->store,
			.chunk = chunk,
			.files = files,
		};
		if (img->format == PL_FORMAT_RAW)
			load_raw(&l);
		else
			r = load_ploop(&l, img);
		if (r == 0 && needs_replay(d, img))
			r = replay_lower(d, img);
	}
	if (r == 0 && allocates)
		r = complete_last_cluster(d->top->store, d->cluster_bytes);
	if (r == 0 && allocates) {
		count_used(alloc);
		alloc_start(alloc, (uint32_t)lay_file_clusters(&d->top->header, d->top->store->size_bytes));
	}
	return r;
}
