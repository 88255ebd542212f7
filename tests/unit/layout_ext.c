#include "layout/ext.h"

#include "base/byteorder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLUSTER_SECTORS 64u
#define CLUSTER_BYTES	(CLUSTER_SECTORS * SECTOR_BYTES)
#define FILE_BYTES	(100ull * CLUSTER_BYTES)
#define UNKNOWN_FEATURE UINT64_C(0x1122334455667788)

static const uint8_t id[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0, 1, 2, 3, 4, 5, 6, 7};

static struct lay_header header(uint64_t size_sectors)
{
	struct lay_header h;
	lay_header_compute(size_sectors, CLUSTER_SECTORS, LAY_V2, &h);
	return h;
}

/* A sealed cluster with one dirty bitmap. */
static void make_cluster(uint8_t *cluster, const struct lay_header *h, const uint64_t *l1, uint32_t l1_entries)
{
	struct lay_ext_writer w;
	lay_ext_begin(&w, cluster, CLUSTER_BYTES);
	uint8_t *data = lay_ext_append(&w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(l1_entries));
	cr_assert(ne(ptr, data, NULL));
	struct lay_bitmap b = {.size_sectors = h->size_sectors, .granularity_sectors = 128};
	memcpy(b.id, id, sizeof(id));
	lay_bitmap_encode(&b, l1, l1_entries, data);
	cr_assert(lay_ext_seal(&w));
}

static enum lay_finding_id read_bitmap(const uint8_t *cluster, const struct lay_header *h, struct lay_bitmap *b,
				       struct lay_fault *fault)
{
	struct lay_feature feature;
	uint32_t at = 0;
	enum lay_finding_id f = lay_ext_next(cluster, CLUSTER_BYTES, &at, &feature, fault);
	return f == LAY_OK ? lay_bitmap_decode(h, FILE_BYTES, cluster, &feature, b, fault) : f;
}

Test(layout_ext, the_bytes_are_those_of_the_format)
{
	/* 64 GiB: 2^20 bits of 64 KiB, 128 KiB of bitmap, 4 clusters of it */
	struct lay_header h = header(64 * GIB / SECTOR_BYTES);
	uint64_t l1[4] = {0, 1, 6400 - 128, 0};
	static uint8_t cluster[CLUSTER_BYTES];
	make_cluster(cluster, &h, l1, 4);

	cr_assert(eq(u64, load_le64(cluster), 0xAB234CEF23DCEA87));
	cr_assert(eq(u64, load_le64(cluster + 24), 0x20385FAE252CB34A));
	cr_assert(zero(u64, load_le64(cluster + 32)), "QEMU refuses flags");
	cr_assert(eq(u32, load_le32(cluster + 40), 32 + 4 * 8));
	cr_assert(eq(u64, load_le64(cluster + 48), h.size_sectors));
	cr_assert(zero(int, memcmp(cluster + 56, id, 16)));
	cr_assert(eq(u32, load_le32(cluster + 72), 128));
	cr_assert(eq(u32, load_le32(cluster + 76), 4));
	cr_assert(eq(u64, load_le64(cluster + 96), 6272));
	uint8_t md5[16];
	cr_assert(lay_md5(cluster + 24, CLUSTER_BYTES - 24, md5));
	cr_assert(zero(int, memcmp(cluster + 8, md5, 16)));
}

Test(layout_ext, md5_is_md5)
{
	static const uint8_t want[16] = {0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
					 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72};
	uint8_t md5[16];
	cr_assert(lay_md5("abc", 3, md5));
	cr_assert(zero(int, memcmp(md5, want, 16)));
}

Test(layout_ext, random_bitmaps_survive)
{
	unsigned seed = (unsigned)time(NULL);
	srand(seed);
	static uint8_t cluster[CLUSTER_BYTES];
	for (int round = 0; round < 200; round++) {
		struct lay_header h = header(((uint64_t)rand() << 8) % (200 * GIB / SECTOR_BYTES) + 1);
		uint32_t n = (uint32_t)lay_bitmap_l1_entries(h.size_sectors, 128, CLUSTER_BYTES);
		uint64_t l1[64];
		cr_assert(le(u32, n, 64));
		uint64_t place = 100 * CLUSTER_SECTORS - h.first_block_sectors - CLUSTER_SECTORS + 1;
		for (uint32_t i = 0; i < n; i++)
			l1[i] = rand() % 3 ? (uint64_t)rand() % 2 : h.first_block_sectors + (uint64_t)rand() % place;
		if (h.first_block_sectors + CLUSTER_SECTORS > 100 * CLUSTER_SECTORS)
			continue;
		make_cluster(cluster, &h, l1, n);
		struct lay_fault fault;
		struct lay_bitmap b;
		cr_assert(eq(int, lay_ext_check(cluster, CLUSTER_BYTES, &fault), LAY_OK), "SEED=%u", seed);
		cr_assert(eq(int, read_bitmap(cluster, &h, &b, &fault), LAY_OK), "SEED=%u round %d", seed, round);
		cr_assert(eq(u64, b.size_sectors, h.size_sectors));
		cr_assert(eq(u32, b.granularity_sectors, 128));
		cr_assert(zero(int, memcmp(b.id, id, 16)));
		for (uint32_t i = 0; i < n; i++)
			cr_assert(eq(u64, lay_bitmap_l1_entry(&b, i), l1[i]), "SEED=%u round %d", seed, round);
	}
}

Test(layout_ext, any_flipped_bit_breaks_magic_or_digest)
{
	struct lay_header h = header(6400);
	static uint8_t cluster[CLUSTER_BYTES];
	struct lay_fault fault;
	make_cluster(cluster, &h, (uint64_t[]){1}, 1);
	for (uint32_t byte = 0; byte < CLUSTER_BYTES; byte += byte < 200 ? 1 : 997) {
		cluster[byte] ^= 0x10;
		enum lay_finding_id f = lay_ext_check(cluster, CLUSTER_BYTES, &fault);
		cr_assert(eq(int, f, byte < 8 ? LAY_F_EXT_MAGIC : LAY_F_EXT_DIGEST), "byte %u", byte);
		cluster[byte] ^= 0x10;
	}
	cr_assert(eq(int, lay_ext_check(cluster, CLUSTER_BYTES, &fault), LAY_OK));
}

Test(layout_ext, the_empty_form_reads_as_all_clean)
{
	struct lay_header h = header(64 * GIB / SECTOR_BYTES);
	static uint8_t cluster[CLUSTER_BYTES];
	struct lay_bitmap b;
	struct lay_fault fault;
	make_cluster(cluster, &h, NULL, 0);
	cr_assert(eq(int, read_bitmap(cluster, &h, &b, &fault), LAY_OK));
	for (uint32_t i = 0; i < 4; i++)
		cr_assert(eq(u64, lay_bitmap_l1_entry(&b, i), LAY_L1_ZEROS));
}

struct broken {
	uint32_t at, bytes;
	uint64_t put;
	enum lay_finding_id want;
	uint64_t value, limit;
};

/* The digest is not asked here: these are what a hostile image would sign. Data of the element starts at byte 48. */
ParameterizedTestParameters(layout_ext, a_bitmap_is_refused_with_numbers)
{
	static struct broken rows[] = {
		{40, 4, 31, LAY_F_EXT_BITMAP_SHORT, 31, 32},
		{40, 4, 63, LAY_F_EXT_BITMAP_SHORT, 63, 64},
		{40, 4, CLUSTER_BYTES - 48 + 1, LAY_F_EXT_UNTERMINATED, CLUSTER_BYTES - 24 + 8, CLUSTER_BYTES - 24},
		{40, 4, UINT32_MAX, LAY_F_EXT_UNTERMINATED, 24 + UINT64_C(0x100000000), CLUSTER_BYTES - 24},
		{48, 8, 1, LAY_F_EXT_BITMAP_SIZE, 1, 64 * GIB / SECTOR_BYTES},
		{72, 4, 0, LAY_F_EXT_BITMAP_GRANULARITY, 0, UINT32_C(1) << 31},
		{72, 4, 127, LAY_F_EXT_BITMAP_GRANULARITY, 127, UINT32_C(1) << 31},
		{76, 4, 5, LAY_F_EXT_BITMAP_L1, 5, 4},
		{76, 4, UINT32_MAX, LAY_F_EXT_BITMAP_L1, UINT32_MAX, 4},
		{80, 8, 2, LAY_F_EXT_BITMAP_CLUSTER, 2, FILE_BYTES / SECTOR_BYTES},
		{80, 8, 99 * CLUSTER_SECTORS + 1, LAY_F_EXT_BITMAP_CLUSTER, 99 * CLUSTER_SECTORS + 1, 6400},
		{80, 8, UINT64_MAX, LAY_F_EXT_BITMAP_CLUSTER, UINT64_MAX, 6400},
	};
	return cr_make_param_array(struct broken, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct broken *x, layout_ext, a_bitmap_is_refused_with_numbers)
{
	struct lay_header h = header(64 * GIB / SECTOR_BYTES);
	static uint8_t cluster[CLUSTER_BYTES];
	struct lay_bitmap b;
	struct lay_fault fault;
	make_cluster(cluster, &h, (uint64_t[4]){0}, 4);
	if (x->bytes == 8)
		store_le64(cluster + x->at, x->put);
	else
		store_le32(cluster + x->at, (uint32_t)x->put);
	cr_assert(eq(int, read_bitmap(cluster, &h, &b, &fault), x->want));
	cr_assert(eq(u64, fault.value, x->value));
	cr_assert(eq(u64, fault.limit, x->limit));
}

Test(layout_ext, the_list_must_end_inside_the_cluster)
{
	static uint8_t cluster[CLUSTER_BYTES];
	struct lay_ext_writer w;
	struct lay_feature feature;
	struct lay_fault fault;
	uint32_t at = 0;
	lay_ext_begin(&w, cluster, CLUSTER_BYTES);
	cr_assert(eq(ptr, lay_ext_append(&w, 7, 0, CLUSTER_BYTES - 71), NULL), "room for the end mark is kept");
	cr_assert(ne(ptr, lay_ext_append(&w, 7, 0, CLUSTER_BYTES - 72), NULL));
	cr_assert(eq(int, lay_ext_next(cluster, CLUSTER_BYTES, &at, &feature, &fault), LAY_OK));
	cr_assert(eq(int, lay_ext_next(cluster, CLUSTER_BYTES, &at, &feature, &fault), LAY_OK));
	cr_assert(zero(u64, feature.magic));

	store_le32(cluster + 40, CLUSTER_BYTES - 48); /* up to the last byte */
	at = 0;
	cr_assert(eq(int, lay_ext_next(cluster, CLUSTER_BYTES, &at, &feature, &fault), LAY_OK));
	cr_assert(eq(int, lay_ext_next(cluster, CLUSTER_BYTES, &at, &feature, &fault), LAY_F_EXT_UNTERMINATED));
}

Test(layout_ext, flags_decide_what_becomes_of_an_unknown_feature)
{
	cr_assert(eq(int, lay_feature_use(&(struct lay_feature){LAY_FEATURE_DIRTY_BITMAP, 3, 0, 0}), LAY_USE_KNOWN));
	cr_assert(eq(int, lay_feature_use(&(struct lay_feature){UNKNOWN_FEATURE, 0, 0, 0}), LAY_USE_DROP));
	cr_assert(eq(int, lay_feature_use(&(struct lay_feature){UNKNOWN_FEATURE, 2, 0, 0}), LAY_USE_CARRY));
	cr_assert(eq(int, lay_feature_use(&(struct lay_feature){UNKNOWN_FEATURE, 1, 0, 0}), LAY_USE_FORBIDS_WRITING));
	cr_assert(eq(int, lay_feature_use(&(struct lay_feature){UNKNOWN_FEATURE, 3, 0, 0}), LAY_USE_FORBIDS_WRITING));
}

Test(layout_ext, features_in_transit_are_carried_as_they_are)
{
	static uint8_t old[CLUSTER_BYTES], fresh[CLUSTER_BYTES];
	struct lay_ext_writer w;
	lay_ext_begin(&w, old, CLUSTER_BYTES);
	lay_ext_append(&w, UNKNOWN_FEATURE, 0, 5);
	memcpy(lay_ext_append(&w, UNKNOWN_FEATURE + 1, LAY_FEATURE_TRANSIT, 13), "through here", 13);
	lay_ext_append(&w, LAY_FEATURE_DIRTY_BITMAP, 0, 32);

	lay_ext_begin(&w, fresh, CLUSTER_BYTES);
	cr_assert(lay_ext_carry(&w, old));
	struct lay_feature feature;
	struct lay_fault fault;
	uint32_t at = 0;
	lay_ext_next(fresh, CLUSTER_BYTES, &at, &feature, &fault);
	cr_assert(eq(u64, feature.magic, UNKNOWN_FEATURE + 1));
	cr_assert(eq(u64, feature.flags, LAY_FEATURE_TRANSIT));
	cr_assert(eq(u32, feature.data_bytes, 13));
	cr_assert(eq(str, (char *)fresh + feature.data_offset, "through here"));
	lay_ext_next(fresh, CLUSTER_BYTES, &at, &feature, &fault);
	cr_assert(zero(u64, feature.magic), "nothing else was carried");
}

Test(layout_ext, a_carried_feature_that_does_not_fit_is_told)
{
	static uint8_t old[CLUSTER_BYTES], fresh[CLUSTER_BYTES];
	struct lay_ext_writer w;
	lay_ext_begin(&w, old, CLUSTER_BYTES);
	lay_ext_append(&w, UNKNOWN_FEATURE, LAY_FEATURE_TRANSIT, CLUSTER_BYTES / 2);
	lay_ext_begin(&w, fresh, CLUSTER_BYTES);
	lay_ext_append(&w, LAY_FEATURE_DIRTY_BITMAP, 0, CLUSTER_BYTES / 2);
	cr_assert(not(lay_ext_carry(&w, old)));
}

Test(layout_ext, the_cluster_must_lie_in_the_data_area)
{
	struct lay_header h = header(6400);
	struct lay_fault fault;
	static const uint64_t bad[] = {1, 63, 65, 100 * 64, UINT64_MAX - 63};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		h.ext_sectors = bad[i];
		cr_assert(eq(int, lay_ext_check_offset(&h, FILE_BYTES, &fault), LAY_F_EXT_OFFSET), "%lu", bad[i]);
		cr_assert(eq(u64, fault.value, bad[i]));
		cr_assert(eq(u64, fault.limit, 6400));
	}
	h.ext_sectors = 64;
	cr_assert(eq(int, lay_ext_check_offset(&h, FILE_BYTES, &fault), LAY_OK));
	h.ext_sectors = 99 * 64;
	cr_assert(eq(int, lay_ext_check_offset(&h, FILE_BYTES, &fault), LAY_OK));
}

Test(layout_ext, sizes_follow_the_format)
{
	cr_assert(eq(u64, lay_bitmap_bytes(1, 128), 1));
	cr_assert(eq(u64, lay_bitmap_bytes(128 * 8, 128), 1));
	cr_assert(eq(u64, lay_bitmap_bytes(128 * 8 + 1, 128), 2));
	cr_assert(eq(u64, lay_bitmap_l1_entries(64 * GIB / SECTOR_BYTES, 128, 1 << 20), 1));
	cr_assert(eq(u32, lay_bitmap_data_bytes(4), 64));
	cr_assert(zero(u32, lay_bitmap_data_bytes(UINT64_MAX / 8)));
}
