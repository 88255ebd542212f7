#include "tests/support/fold_pair.h"

#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/invariant.h"
#include "layout/ext.h"
#include "tests/support/store_mem.h"

#define GARBAGE_ID 0xBADu
#define BITMAP_BYTE 0x5A /* no constant, so that it takes a cluster */

/* ---- making */

struct pair_shape pair_random_shape(struct prng *p)
{
	bool large = prng_percent(p, 10);
	struct pair_shape s = {
		.version = 1 + prng_below(p, 2),
		.cluster_sectors = large ? 4096 : 64u << prng_below(p, 3),
		.child_clusters = large ? 1 + prng_below(p, 6) : 1 + prng_below(p, 80),
		.child_percent = prng_below(p, 101),
		.parent_percent = prng_below(p, 101),
		.raw_parent = prng_percent(p, 20),
		.no_punch = prng_percent(p, 20),
		.child_bitmap = prng_percent(p, 30),
	};
	s.parent_clusters = s.child_clusters;
	return s;
}

uint64_t pair_bytes(const struct pair_shape *shape)
{
	return (uint64_t)shape->child_clusters * shape->cluster_sectors * SECTOR_BYTES;
}

static void fill_sector(uint8_t *sector, uint32_t id, uint32_t cluster, uint32_t n)
{
	for (uint32_t i = 0; i < SECTOR_BYTES; i += 16) {
		store_le32(sector + i, id);
		store_le32(sector + i + 4, cluster);
		store_le32(sector + i + 8, n);
		store_le32(sector + i + 12, ~i);
	}
}

/* Pages of it may be zeros, as a hole is. */
static void put_cluster(struct medium *m, const struct pair_shape *s, uint32_t id, uint32_t g, uint64_t offset,
			struct prng *p)
{
	uint64_t bytes = (uint64_t)s->cluster_sectors * SECTOR_BYTES;
	autofree uint8_t *data = calloc(1, bytes);
	invariant(data);
	uint32_t holes = prng_percent(p, 60) ? 0 : prng_below(p, 101);
	bool hole = false;
	for (uint32_t n = 0; n < s->cluster_sectors; n++) {
		if (n % 8 == 0)
			hole = prng_percent(p, holes);
		if (!hole)
			fill_sector(data + (size_t)n * SECTOR_BYTES, id, g, n);
	}
	medium_write(m, data, bytes, offset);
}

static void put_slot(struct medium *m, const struct lay_header *h, uint32_t g, uint32_t file)
{
	uint8_t slot[LAY_BAT_SLOT_BYTES];
	store_le32(slot, lay_slot_from_cluster(h, (struct fclu){file}));
	medium_write(m, slot, sizeof(slot), lay_slot_offset_bytes(g));
}

static void put_header(struct medium *m, const struct lay_header *h)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	lay_header_encode(h, bytes);
	medium_write(m, bytes, sizeof(bytes), 0);
}

static void shuffle(uint32_t *order, uint32_t n, struct prng *p)
{
	for (uint32_t i = n; i-- > 1;) {
		uint32_t k = prng_below(p, i + 1), t = order[i];
		order[i] = order[k];
		order[k] = t;
	}
}

static struct medium *make_image(const struct pair_shape *s, uint32_t clusters, uint32_t percent, uint32_t id,
				 struct prng *p)
{
	struct medium *m = medium_new();
	struct lay_header h;
	lay_header_compute((uint64_t)clusters * s->cluster_sectors, s->cluster_sectors, s->version, &h);
	h.flags = LAY_FLAG_EMPTY;
	medium_set_size(m, (uint64_t)h.first_block_sectors * SECTOR_BYTES);
	put_header(m, &h);
	autofree uint32_t *order = calloc(clusters, sizeof(*order));
	invariant(order);
	for (uint32_t i = 0; i < clusters; i++)
		order[i] = i;
	if (prng_percent(p, 40))
		shuffle(order, clusters, p);
	uint32_t file = lay_header_clusters(&h), gaps = prng_percent(p, 50) ? 0 : 30;
	for (uint32_t i = 0; i < clusters; i++) {
		while (prng_percent(p, gaps))
			put_cluster(m, s, GARBAGE_ID, file, (uint64_t)file * lay_cluster_bytes(&h), p), file++;
		if (!prng_percent(p, percent))
			continue;
		put_cluster(m, s, id, order[i], (uint64_t)file * lay_cluster_bytes(&h), p);
		put_slot(m, &h, order[i], file++);
	}
	return m;
}

static struct medium *make_raw(const struct pair_shape *s, uint32_t id, struct prng *p)
{
	struct medium *m = medium_new();
	uint64_t cluster_bytes = (uint64_t)s->cluster_sectors * SECTOR_BYTES;
	for (uint32_t g = 0; g < s->parent_clusters; g++)
		if (prng_percent(p, s->parent_percent))
			put_cluster(m, s, id, g, g * cluster_bytes, p);
	medium_set_size(m, s->parent_clusters * cluster_bytes);
	return m;
}

/* What a write that was cut off left behind the last whole cluster. */
static void put_tail(struct medium *m, struct prng *p)
{
	uint8_t garbage[SECTOR_BYTES * 3];
	memset(garbage, 0xEE, sizeof(garbage));
	if (prng_percent(p, 30))
		medium_write(m, garbage, sizeof(garbage), m->now.size_bytes);
}

static void put_bitmap(struct medium *m)
{
	struct lay_header h = pair_header(m);
	uint32_t bytes = (uint32_t)lay_cluster_bytes(&h);
	uint64_t at = round_up_pow2(m->now.size_bytes, bytes), l1[1] = {at / SECTOR_BYTES};
	struct lay_bitmap b = {
		.size_sectors = h.size_sectors,
		.granularity_sectors = 64,
		.id = "a bitmap's name",
		.l1_entries = 1,
	};
	autofree uint8_t *cluster = malloc(bytes);
	invariant(cluster);
	memset(cluster, BITMAP_BYTE, bytes);
	medium_write(m, cluster, bytes, at);
	struct lay_ext_writer w;
	lay_ext_begin(&w, cluster, bytes);
	lay_bitmap_encode(&b, l1, 1, lay_ext_append(&w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(1)));
	store_le32(lay_ext_append(&w, 0x4711, LAY_FEATURE_TRANSIT, 8), 42);
	invariant(lay_ext_seal(&w));
	medium_write(m, cluster, bytes, at + bytes);
	h.in_use = LAY_CLOSED_V21;
	h.ext_sectors = (at + bytes) / SECTOR_BYTES;
	put_header(m, &h);
}

struct medium *pair_image(const struct pair_shape *shape, uint32_t id, struct prng *p)
{
	struct medium *m = make_image(shape, shape->child_clusters, shape->child_percent, id, p);
	put_tail(m, p);
	return m;
}

struct medium *pair_child(const struct pair_shape *shape, struct prng *p)
{
	struct medium *m = make_image(shape, shape->child_clusters, shape->child_percent, 1, p);
	if (shape->child_bitmap)
		put_bitmap(m);
	else
		put_tail(m, p);
	return m;
}

struct medium *pair_parent(const struct pair_shape *shape, struct prng *p)
{
	if (shape->raw_parent)
		return make_raw(shape, 2, p);
	struct medium *m = make_image(shape, shape->parent_clusters, shape->parent_percent, 2, p);
	put_tail(m, p);
	return m;
}

/* ---- reading */

struct lay_header pair_header(const struct medium *m)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h = {0};
	medium_read(m, bytes, sizeof(bytes), 0);
	invariant(lay_header_decode(bytes, &h) == LAY_OK);
	return h;
}

static bool read_image(const struct medium *m, uint8_t *out, uint64_t bytes)
{
	struct lay_header h = pair_header(m);
	uint64_t cluster = lay_cluster_bytes(&h);
	uint32_t file_clusters = (uint32_t)(m->now.size_bytes / cluster);
	autofree bool *seen = calloc((size_t)file_clusters + 1, sizeof(*seen));
	invariant(seen);
	for (uint32_t g = 0; g < MIN(lay_guest_clusters(&h), bytes / cluster); g++) {
		uint8_t slot[LAY_BAT_SLOT_BYTES];
		medium_read(m, slot, sizeof(slot), lay_slot_offset_bytes(g));
		uint32_t f = lay_slot_to_cluster(&h, load_le32(slot)).n;
		if (f == 0)
			continue;
		if (f >= file_clusters || f < lay_header_clusters(&h) || seen[f])
			return false;
		seen[f] = true;
		medium_read(m, out + g * cluster, cluster, f * cluster);
	}
	return true;
}

bool pair_read(const struct medium *child, const struct medium *parent, bool raw_parent, uint64_t bytes, uint8_t **out)
{
	*out = calloc(1, bytes);
	invariant(*out);
	if (parent && raw_parent)
		medium_read(parent, *out, bytes, 0);
	else if (parent && !read_image(parent, *out, bytes))
		return false;
	return !child || read_image(child, *out, bytes);
}

bool pair_is_same(const struct medium *a, const struct medium *b)
{
	uint64_t n = a->now.size_bytes;
	if (n != b->now.size_bytes)
		return false;
	autofree uint8_t *x = calloc(2, MAX(n, 1));
	invariant(x);
	medium_read(a, x, n, 0);
	medium_read(b, x + n, n, 0);
	return memcmp(x, x + n, n) == 0;
}

bool pair_bitmap_is_in(const struct medium *m)
{
	struct lay_header h = pair_header(m);
	uint32_t bytes = (uint32_t)lay_cluster_bytes(&h), at = 0;
	autofree uint8_t *cluster = malloc(bytes);
	struct lay_fault fault;
	struct lay_feature feature, carried;
	struct lay_bitmap b;
	invariant(cluster);
	if (h.in_use != LAY_CLOSED_V21 || medium_read(m, cluster, bytes, h.ext_sectors * SECTOR_BYTES) != bytes ||
	    lay_ext_check(cluster, bytes, &fault) != LAY_OK ||
	    lay_ext_next(cluster, bytes, &at, &feature, &fault) != LAY_OK ||
	    lay_ext_next(cluster, bytes, &at, &carried, &fault) != LAY_OK ||
	    lay_bitmap_decode(&h, m->now.size_bytes, cluster, &feature, &b, &fault) != LAY_OK)
		return false;
	uint64_t bits = lay_bitmap_l1_entry(&b, 0) * SECTOR_BYTES;
	bool carries = carried.magic == 0x4711 && load_le32(cluster + carried.data_offset) == 42;
	memset(cluster, 0, bytes);
	medium_read(m, cluster, bytes, bits);
	return carries && strcmp((char *)b.id, "a bitmap's name") == 0 && cluster[0] == BITMAP_BYTE &&
	       memcmp(cluster, cluster + 1, bytes - 1) == 0;
}

/* ---- folding */

struct outcome {
	bool is_done;
	int res;
};

static void fold_is_done(void *arg, int res)
{
	*(struct outcome *)arg = (struct outcome){true, res};
}

static bool place_agrees(const struct fold *f, const struct medium *to, bool raw)
{
	struct lay_header h = raw ? (struct lay_header){0} : pair_header(to);
	for (uint32_t g = 0; !raw && g < lay_guest_clusters(&h); g++) {
		uint8_t slot[LAY_BAT_SLOT_BYTES];
		medium_read(to, slot, sizeof(slot), lay_slot_offset_bytes(g));
		if (fold_place(f, (struct gclu){g}).n != lay_slot_to_cluster(&h, load_le32(slot)).n)
			return false;
	}
	return !raw || fold_place(f, (struct gclu){3}).n == 3;
}

int pair_fold(struct pl_loop *loop, const struct pair_shape *shape, struct medium *child, struct medium *parent,
	      const struct pair_run *run)
{
	struct store_mem_options mem = {
		.io_align = 512, .mem_align = 512, .order = run->order, .no_punch = shape->no_punch};
	struct store *c = store_mem_open(loop, child, &mem), *p = store_mem_open(loop, parent, &mem);
	if (run->fault && run->into == PL_INTO_CHILD)
		c = store_fault_wrap(c, run->fault);
	else if (run->fault)
		p = store_fault_wrap(p, run->fault);
	struct outcome o = {0};
	struct fold_options options = {
		.loop = loop,
		.child = c,
		.parent = p,
		.parent_format = shape->raw_parent ? PL_FORMAT_RAW : PL_FORMAT_PLOOP,
		.into = run->into,
		.cluster_sectors = shape->cluster_sectors,
		.delay_ns = run->delay_ns,
		.step_bytes = run->step_bytes,
		.done = fold_is_done,
		.arg = &o,
	};
	struct fold *f = NULL;
	o.res = fold_start(&options, &f);
	for (uint32_t turns = 1; o.res == 0 && !o.is_done; turns++) {
		if (turns == run->cancel_after)
			fold_cancel(f);
		invariant(pl_loop_step(loop, true) >= 0);
	}
	if (run->agrees && o.res == 0)
		*run->agrees = place_agrees(f, run->into == PL_INTO_PARENT ? parent : child,
					    shape->raw_parent && run->into == PL_INTO_PARENT);
	fold_free(f);
	store_close(c);
	store_close(p);
	return o.res;
}
