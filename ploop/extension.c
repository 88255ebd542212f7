#include "ploop/extension.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "layout/ext.h"
#include "ploop/disk.h"
#include "ploop/finding.h"

struct extension {
	struct lay_bitmap bitmap; /* l1: not used */
	uint8_t *bits;            /* whole clusters of them; NULL: no bitmap, only what is carried */
	uint64_t bits_bytes;
	uint32_t clusters; /* of bits */
	uint8_t *carried;  /* the old extension cluster */
};

void extension_free(struct extension *e)
{
	if (!e)
		return;
	free(e->bits);
	free(e->carried);
	free(e);
}

/* ---- load */

static int load_bits(struct pl_disk *d, struct extension *e)
{
	const struct lay_bitmap *b = &e->bitmap;
	e->clusters = (uint32_t)lay_bitmap_l1_entries(b->size_sectors, b->granularity_sectors, d->cluster_bytes);
	e->bits_bytes = (uint64_t)e->clusters * d->cluster_bytes;
	e->bits = aligned_alloc(4096, e->bits_bytes);
	if (!e->bits)
		return pl_fail(-ENOMEM, "%s: no memory for its dirty bitmap", d->top->store->path);
	for (uint32_t i = 0; i < e->clusters; i++) {
		uint8_t *at = e->bits + (uint64_t)i * d->cluster_bytes;
		uint64_t entry = lay_bitmap_l1_entry(b, i);
		int r = 0;
		if (entry <= LAY_L1_ONES)
			memset(at, entry == LAY_L1_ONES ? 0xff : 0, d->cluster_bytes);
		else
			r = store_read(d->top->store, at, d->cluster_bytes, entry * SECTOR_BYTES);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_feature(struct pl_disk *d, struct extension *e, const struct lay_feature *feature,
			enum lay_finding_id *id, struct lay_fault *fault)
{
	if (lay_feature_use(feature) == LAY_USE_FORBIDS_WRITING)
		return pl_fail(-EOPNOTSUPP,
			       "%s: its extension has the unknown feature %#llx, which forbids writing",
			       d->top->store->path, (unsigned long long)feature->magic);
	if (feature->magic != LAY_FEATURE_DIRTY_BITMAP || e->bits)
		return 0;
	*id = lay_bitmap_decode(&d->top->header, d->top->store->size_bytes, e->carried, feature, &e->bitmap, fault);
	return *id == LAY_OK ? load_bits(d, e) : 0;
}

static int load_features(struct pl_disk *d, struct extension *e, enum lay_finding_id *id, struct lay_fault *fault)
{
	struct lay_feature feature;
	uint32_t at = 0;
	*id = lay_ext_check(e->carried, d->cluster_bytes, fault);
	while (*id == LAY_OK) {
		*id = lay_ext_next(e->carried, d->cluster_bytes, &at, &feature, fault);
		if (*id != LAY_OK || feature.magic == 0)
			break;
		int r = load_feature(d, e, &feature, id, fault);
		if (r < 0)
			return r;
	}
	return 0;
}

static void free_extension(struct extension **e)
{
	extension_free(*e);
}

int extension_load(struct pl_disk *d)
{
	const struct lay_header *h = &d->top->header;
	struct store *store = d->top->store;
	struct lay_fault fault = {0};
	if (h->ext_sectors == 0 || h->in_use != LAY_CLOSED_V21)
		return 0;
	enum lay_finding_id id = lay_ext_check_offset(h, store->size_bytes, &fault);
	__attribute__((cleanup(free_extension))) struct extension *e = calloc(1, sizeof(*e));
	if (e && id == LAY_OK)
		e->carried = aligned_alloc(4096, d->cluster_bytes);
	if (!e || (id == LAY_OK && !e->carried))
		return pl_fail(-ENOMEM, "%s: no memory for its extension", store->path);
	int r = 0;
	if (id == LAY_OK)
		r = store_read(store, e->carried, d->cluster_bytes, h->ext_sectors * SECTOR_BYTES);
	if (r == 0 && id == LAY_OK)
		r = load_features(d, e, &id, &fault);
	if (r < 0)
		return r;
	if (id != LAY_OK) {
		finding_fail(id, &fault, store->path);
		pl_log(PL_LOG_WARN, "disk", "%s; change tracking ends", pl_error());
		return 0;
	}
	d->extension = mem_steal(&e);
	return 0;
}

/* ---- change */

void extension_mark(struct extension *e, uint64_t offset, uint64_t length)
{
	if (!e->bits || length == 0)
		return;
	uint64_t unit = (uint64_t)e->bitmap.granularity_sectors * SECTOR_BYTES;
	for (uint64_t k = offset / unit; k <= (offset + length - 1) / unit; k++)
		e->bits[k / 8] |= (uint8_t)(1u << (k % 8));
}

/* ---- store */

/* A cluster that is one byte all over, or 2. */
static uint64_t constant_entry(const uint8_t *p, uint32_t bytes)
{
	if ((p[0] != 0 && p[0] != 0xff) || memcmp(p, p + 1, bytes - 1) != 0)
		return 2;
	return p[0] ? LAY_L1_ONES : LAY_L1_ZEROS;
}

/* Put the bitmap's clusters at *@file on, its element into @w. */
static int store_bitmap(struct pl_disk *d, const struct extension *e, struct lay_ext_writer *w, uint32_t *file)
{
	autofree uint64_t *l1 = calloc(e->clusters, sizeof(*l1));
	uint8_t *data = lay_ext_append(w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(e->clusters));
	if (!l1 || !data)
		return pl_fail(-ENOMEM, "%s: its dirty bitmap does not fit", d->top->store->path);
	for (uint32_t i = 0; i < e->clusters; i++) {
		const uint8_t *at = e->bits + (uint64_t)i * d->cluster_bytes;
		l1[i] = constant_entry(at, d->cluster_bytes);
		if (l1[i] <= LAY_L1_ONES)
			continue;
		uint64_t offset = file_offset(d, (struct fclu){(*file)++}, 0);
		l1[i] = offset / SECTOR_BYTES;
		int r = store_write(d->top->store, at, d->cluster_bytes, offset);
		if (r < 0)
			return r;
	}
	lay_bitmap_encode(&e->bitmap, l1, e->clusters, data);
	return 0;
}

int extension_store(struct pl_disk *d, uint64_t *sectors)
{
	const struct extension *e = d->extension;
	uint32_t file = alloc_end(&d->alloc);
	autofree uint8_t *cluster = aligned_alloc(4096, d->cluster_bytes);
	if (!cluster)
		return pl_fail(-ENOMEM, "%s: no memory to write its extension", d->top->store->path);
	struct lay_ext_writer w;
	lay_ext_begin(&w, cluster, d->cluster_bytes);
	int r = e->bits ? store_bitmap(d, e, &w, &file) : 0;
	if (r < 0)
		return r;
	if (!lay_ext_carry(&w, e->carried) || !lay_ext_seal(&w))
		return pl_fail(-EOVERFLOW, "%s: its extension does not fit into a cluster", d->top->store->path);
	uint64_t offset = file_offset(d, (struct fclu){file}, 0);
	*sectors = offset / SECTOR_BYTES;
	r = store_write(d->top->store, cluster, d->cluster_bytes, offset);
	if (r == 0 && offset + d->cluster_bytes > d->top->store->size_bytes)
		d->top->store->size_bytes = offset + d->cluster_bytes;
	return r;
}
