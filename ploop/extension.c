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

static int load_bits(const struct writer *w, struct extension *e)
{
	const uint32_t cluster_bytes = w->disk->cluster_bytes;
	const struct lay_bitmap *b = &e->bitmap;
	e->clusters = (uint32_t)lay_bitmap_l1_entries(b->size_sectors, b->granularity_sectors, cluster_bytes);
	e->bits_bytes = (uint64_t)e->clusters * cluster_bytes;
	e->bits = aligned_alloc(4096, e->bits_bytes);
	if (!e->bits)
		return pl_fail(-ENOMEM, "%s: no memory for its dirty bitmap", w->image->path);
	for (uint32_t i = 0; i < e->clusters; i++) {
		uint8_t *at = e->bits + (uint64_t)i * cluster_bytes;
		uint64_t entry = lay_bitmap_l1_entry(b, i);
		int r = 0;
		if (entry <= LAY_L1_ONES)
			memset(at, entry == LAY_L1_ONES ? 0xff : 0, cluster_bytes);
		else
			r = store_read(w->image->store, at, cluster_bytes, entry * SECTOR_BYTES);
		if (r < 0)
			return r;
	}
	return 0;
}

static int load_feature(const struct writer *w, struct extension *e, const struct lay_feature *feature,
			enum lay_finding_id *id, struct lay_fault *fault)
{
	if (lay_feature_use(feature) == LAY_USE_FORBIDS_WRITING)
		return pl_fail(-EOPNOTSUPP,
			       "%s: its extension has the unknown feature %#llx, which forbids writing",
			       w->image->path, (unsigned long long)feature->magic);
	if (feature->magic != LAY_FEATURE_DIRTY_BITMAP || e->bits)
		return 0;
	*id = lay_bitmap_decode(&w->image->header, w->image->store->size_bytes, e->carried, feature, &e->bitmap, fault);
	return *id == LAY_OK ? load_bits(w, e) : 0;
}

static int load_features(const struct writer *w, struct extension *e, enum lay_finding_id *id, struct lay_fault *fault)
{
	struct lay_feature feature;
	uint32_t at = 0;
	*id = lay_ext_check(e->carried, w->disk->cluster_bytes, fault);
	while (*id == LAY_OK) {
		*id = lay_ext_next(e->carried, w->disk->cluster_bytes, &at, &feature, fault);
		if (*id != LAY_OK || feature.magic == 0)
			break;
		int r = load_feature(w, e, &feature, id, fault);
		if (r < 0)
			return r;
	}
	return 0;
}

static void free_extension(struct extension **e)
{
	extension_free(*e);
}

int extension_load(struct writer *w)
{
	const struct lay_header *h = &w->image->header;
	struct store *store = w->image->store;
	struct lay_fault fault = {0};
	if (h->ext_sectors == 0 || h->in_use != LAY_CLOSED_V21)
		return 0;
	enum lay_finding_id id = lay_ext_check_offset(h, store->size_bytes, &fault);
	__attribute__((cleanup(free_extension))) struct extension *e = calloc(1, sizeof(*e));
	if (e && id == LAY_OK)
		e->carried = aligned_alloc(4096, w->disk->cluster_bytes);
	if (!e || (id == LAY_OK && !e->carried))
		return pl_fail(-ENOMEM, "%s: no memory for its extension", store->path);
	int r = 0;
	if (id == LAY_OK)
		r = store_read(store, e->carried, w->disk->cluster_bytes, h->ext_sectors * SECTOR_BYTES);
	if (r == 0 && id == LAY_OK)
		r = load_features(w, e, &id, &fault);
	if (r < 0)
		return r;
	if (id != LAY_OK) {
		finding_fail(id, &fault, store->path);
		pl_log(PL_LOG_WARN, "disk", "%s; change tracking ends", pl_error());
		return 0;
	}
	w->extension = mem_steal(&e);
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

/* ---- another top */

int extension_fresh(const struct pl_disk *d, const uint8_t id[16], struct extension **out)
{
	__attribute__((cleanup(free_extension))) struct extension *e = calloc(1, sizeof(*e));
	uint64_t size_sectors = d->size_bytes / SECTOR_BYTES;
	if (!e)
		return pl_fail(-ENOMEM, "no memory for a dirty bitmap");
	e->bitmap.size_sectors = size_sectors;
	e->bitmap.granularity_sectors = LAY_BITMAP_DEFAULT_GRANULARITY_SECTORS;
	memcpy(e->bitmap.id, id, sizeof(e->bitmap.id));
	e->clusters = (uint32_t)lay_bitmap_l1_entries(size_sectors, e->bitmap.granularity_sectors, d->cluster_bytes);
	e->bits_bytes = (uint64_t)e->clusters * d->cluster_bytes;
	e->bits = aligned_alloc(4096, e->bits_bytes);
	if (!e->bits)
		return pl_fail(-ENOMEM, "no memory for a dirty bitmap of %u clusters", e->clusters);
	memset(e->bits, 0, e->bits_bytes);
	*out = mem_steal(&e);
	return 0;
}

static bool copy_bytes(uint8_t **out, const uint8_t *from, uint64_t bytes)
{
	if (!from)
		return true;
	*out = aligned_alloc(4096, round_up_pow2(bytes, 4096));
	if (*out)
		memcpy(*out, from, bytes);
	return *out != NULL;
}

struct extension *extension_copy(const struct pl_disk *d, const struct extension *e)
{
	__attribute__((cleanup(free_extension))) struct extension *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	*c = (struct extension){.bitmap = e->bitmap, .bits_bytes = e->bits_bytes, .clusters = e->clusters};
	if (!copy_bytes(&c->bits, e->bits, e->bits_bytes) || !copy_bytes(&c->carried, e->carried, d->cluster_bytes))
		return NULL;
	return mem_steal(&c);
}

/* ---- store */

/* A cluster that is one byte all over, or 2. */
static uint64_t constant_entry(const uint8_t *p, uint32_t bytes)
{
	if ((p[0] != 0 && p[0] != 0xff) || memcmp(p, p + 1, bytes - 1) != 0)
		return 2;
	return p[0] ? LAY_L1_ONES : LAY_L1_ZEROS;
}

/* The bitmap's clusters that are no constant to @b from its start, its element into @w. */
static int build_bitmap(const struct extension *e, uint32_t cluster_bytes, struct lay_ext_writer *w,
			struct extension_bytes *b)
{
	autofree uint64_t *l1 = calloc(e->clusters, sizeof(*l1));
	uint8_t *data = lay_ext_append(w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(e->clusters));
	if (!l1 || !data)
		return -EOVERFLOW;
	for (uint32_t i = 0; i < e->clusters; i++) {
		const uint8_t *at = e->bits + (uint64_t)i * cluster_bytes;
		l1[i] = constant_entry(at, cluster_bytes);
		if (l1[i] <= LAY_L1_ONES)
			continue;
		memcpy(b->data + b->length_bytes, at, cluster_bytes);
		l1[i] = (b->offset_bytes + b->length_bytes) / SECTOR_BYTES;
		b->length_bytes += cluster_bytes;
	}
	lay_bitmap_encode(&e->bitmap, l1, e->clusters, data);
	return 0;
}

int extension_build(const struct writer *w, struct extension_bytes *out)
{
	const struct extension *e = w->extension;
	uint32_t cluster_bytes = w->disk->cluster_bytes;
	struct extension_bytes b = {.offset_bytes = file_offset(w->disk, (struct fclu){alloc_end(&w->alloc)}, 0)};
	autofree uint8_t *data = b.data = aligned_alloc(4096, (e->bits ? e->bits_bytes : 0) + cluster_bytes);
	autofree uint8_t *last = aligned_alloc(4096, cluster_bytes);
	if (!data || !last)
		return pl_fail(-ENOMEM, "%s: no memory to write its extension", w->image->path);
	struct lay_ext_writer to;
	lay_ext_begin(&to, last, cluster_bytes);
	int r = e->bits ? build_bitmap(e, cluster_bytes, &to, &b) : 0;
	if (r < 0 || (e->carried && !lay_ext_carry(&to, e->carried)) || !lay_ext_seal(&to))
		return pl_fail(-EOVERFLOW, "%s: its extension does not fit into a cluster", w->image->path);
	memcpy(b.data + b.length_bytes, last, cluster_bytes);
	b.ext_sectors = (b.offset_bytes + b.length_bytes) / SECTOR_BYTES;
	b.length_bytes += cluster_bytes;
	*out = b;
	mem_steal(&data);
	return 0;
}

int extension_store(struct writer *w, uint64_t *sectors)
{
	struct store *store = w->image->store;
	struct extension_bytes b;
	int r = extension_build(w, &b);
	if (r < 0)
		return r;
	r = store_write(store, b.data, b.length_bytes, b.offset_bytes);
	if (r == 0) {
		store->size_bytes = MAX(store->size_bytes, b.offset_bytes + b.length_bytes);
		*sectors = b.ext_sectors;
	}
	free(b.data);
	return r;
}
