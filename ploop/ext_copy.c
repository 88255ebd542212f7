#include "ploop/ext_copy.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "layout/bat.h"
#include "layout/ext.h"
#include "ploop/finding.h"

struct ext_copy {
	uint32_t cluster_bytes;
	uint64_t sectors; /* where the extension cluster is */
	uint8_t *cluster; /* and what it holds */
	bool has_bitmap;
	struct lay_bitmap bitmap; /* l1 points into @cluster */
	uint64_t *l1;             /* of the copy: a constant, or where bits are */
	uint32_t l1_entries;
	uint32_t data_clusters; /* of bits: entries that are no constants */
	uint8_t *data;          /* they, and room for the extension cluster behind them */
};

void ext_copy_free(struct ext_copy *e)
{
	if (!e)
		return;
	free(e->cluster);
	free(e->l1);
	free(e->data);
	free(e);
}

static void ext_copy_autop(struct ext_copy **e)
{
	ext_copy_free(*e);
}

uint64_t ext_copy_sectors(const struct ext_copy *e)
{
	return e->sectors;
}

/* ---- load */

static int no_memory(const struct store *store)
{
	return pl_fail(-ENOMEM, "%s: no memory to copy its extension", store->path);
}

static int load_bits(const struct bat_file *from, struct ext_copy *e)
{
	const struct lay_bitmap *b = &e->bitmap;
	uint64_t entries = lay_bitmap_l1_entries(b->size_sectors, b->granularity_sectors, e->cluster_bytes);
	e->l1_entries = (uint32_t)entries;
	e->has_bitmap = true;
	for (uint32_t i = 0; i < e->l1_entries; i++)
		e->data_clusters += lay_bitmap_l1_entry(b, i) > LAY_L1_ONES;
	if (e->data_clusters > lay_file_clusters(&from->header, from->store->size_bytes))
		return pl_fail(-EUCLEAN, "%s: its dirty bitmap names %u clusters, the file has fewer",
			       from->store->path, e->data_clusters);
	e->l1 = calloc(MAX(entries, 1), sizeof(*e->l1));
	e->data = aligned_alloc(BAT_PAGE_BYTES, ((uint64_t)e->data_clusters + 1) * e->cluster_bytes);
	if (!e->l1 || !e->data)
		return no_memory(from->store);
	uint8_t *at = e->data;
	for (uint32_t i = 0; i < e->l1_entries; i++) {
		uint64_t entry = lay_bitmap_l1_entry(b, i);
		if (entry <= LAY_L1_ONES)
			continue;
		int r = store_read(from->store, at, e->cluster_bytes, entry * SECTOR_BYTES);
		if (r < 0)
			return r;
		at += e->cluster_bytes;
	}
	return 0;
}

static int load_feature(const struct bat_file *from, struct ext_copy *e, const struct lay_feature *feature,
			enum lay_finding_id *id, struct lay_fault *fault)
{
	if (lay_feature_use(feature) == LAY_USE_FORBIDS_WRITING)
		return pl_fail(-EOPNOTSUPP,
			       "%s: its extension has the unknown feature %#llx, which forbids writing",
			       from->store->path, (unsigned long long)feature->magic);
	if (feature->magic != LAY_FEATURE_DIRTY_BITMAP || e->has_bitmap)
		return 0;
	*id = lay_bitmap_decode(&from->header, from->store->size_bytes, e->cluster, feature, &e->bitmap, fault);
	return *id == LAY_OK ? load_bits(from, e) : 0;
}

static int load(const struct bat_file *from, struct ext_copy *e)
{
	struct store *store = from->store;
	struct lay_fault fault = {0};
	enum lay_finding_id id = lay_ext_check_offset(&from->header, store->size_bytes, &fault);
	if (id != LAY_OK)
		return finding_fail(id, &fault, store->path);
	e->cluster = aligned_alloc(BAT_PAGE_BYTES, e->cluster_bytes);
	if (!e->cluster)
		return no_memory(store);
	int r = store_read(store, e->cluster, e->cluster_bytes, e->sectors * SECTOR_BYTES);
	if (r < 0)
		return r;
	struct lay_feature feature = {.magic = 1};
	uint32_t at = 0;
	id = lay_ext_check(e->cluster, e->cluster_bytes, &fault);
	while (r == 0 && id == LAY_OK && feature.magic != 0) {
		id = lay_ext_next(e->cluster, e->cluster_bytes, &at, &feature, &fault);
		if (id == LAY_OK && feature.magic != 0)
			r = load_feature(from, e, &feature, &id, &fault);
	}
	if (r == 0 && id != LAY_OK)
		r = finding_fail(id, &fault, store->path);
	if (r == 0 && !e->data) /* no bitmap, only what is carried */
		e->data = aligned_alloc(BAT_PAGE_BYTES, e->cluster_bytes);
	return r < 0 || e->data ? r : no_memory(store);
}

int ext_copy_load(const struct bat_file *from, struct ext_copy **out)
{
	*out = NULL;
	if (from->header.ext_sectors == 0 || from->header.in_use != LAY_CLOSED_V21)
		return 0;
	__attribute__((cleanup(ext_copy_autop))) struct ext_copy *e = calloc(1, sizeof(*e));
	if (!e)
		return no_memory(from->store);
	e->cluster_bytes = from->cluster_bytes;
	e->sectors = from->header.ext_sectors;
	int r = load(from, e);
	if (r == -EUCLEAN) {
		pl_log(PL_LOG_WARN, "disk", "%s; change tracking ends", pl_error());
		return 0;
	}
	if (r == 0)
		*out = mem_steal(&e);
	return r;
}

/* ---- keep, or write elsewhere */

/* It need not begin at a cluster of the file. */
static void keep_cluster(struct bat_file *b, uint64_t sector)
{
	uint64_t last = (sector * SECTOR_BYTES + b->cluster_bytes - 1) / b->cluster_bytes;
	for (uint64_t f = sector * SECTOR_BYTES / b->cluster_bytes; f <= last && f < b->alloc.tail; f++) {
		struct fclu c = {(uint32_t)f};
		if (f >= b->alloc.first && !alloc_is_used(&b->alloc, c))
			alloc_mark(&b->alloc, c);
	}
}

void ext_copy_keep(const struct ext_copy *e, struct bat_file *b)
{
	keep_cluster(b, e->sectors);
	for (uint32_t i = 0; i < e->l1_entries; i++)
		if (lay_bitmap_l1_entry(&e->bitmap, i) > LAY_L1_ONES)
			keep_cluster(b, lay_bitmap_l1_entry(&e->bitmap, i));
}

static bool append_bitmap(struct ext_copy *e, struct lay_ext_writer *w, uint64_t first_sector)
{
	uint64_t next = first_sector;
	for (uint32_t i = 0; i < e->l1_entries; i++) {
		e->l1[i] = lay_bitmap_l1_entry(&e->bitmap, i);
		if (e->l1[i] <= LAY_L1_ONES)
			continue;
		e->l1[i] = next;
		next += e->cluster_bytes / SECTOR_BYTES;
	}
	uint8_t *at = lay_ext_append(w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(e->l1_entries));
	if (at)
		lay_bitmap_encode(&e->bitmap, e->l1, e->l1_entries, at);
	return at != NULL;
}

int ext_copy_build(struct ext_copy *e, struct fclu first, const uint8_t **data, uint64_t *bytes, uint64_t *sectors)
{
	uint64_t cluster_sectors = e->cluster_bytes / SECTOR_BYTES, first_sector = first.n * cluster_sectors;
	struct lay_ext_writer w;
	lay_ext_begin(&w, e->data + (uint64_t)e->data_clusters * e->cluster_bytes, e->cluster_bytes);
	bool fits = !e->has_bitmap || append_bitmap(e, &w, first_sector);
	if (!fits || !lay_ext_carry(&w, e->cluster) || !lay_ext_seal(&w))
		return pl_fail(-EOVERFLOW, "the extension does not fit into a cluster of %u bytes", e->cluster_bytes);
	*data = e->data;
	*bytes = ((uint64_t)e->data_clusters + 1) * e->cluster_bytes;
	*sectors = first_sector + e->data_clusters * cluster_sectors;
	return 0;
}
