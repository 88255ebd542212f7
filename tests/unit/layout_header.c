#include "layout/header.h"

#include "base/byteorder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <time.h>

static struct lay_header computed(uint64_t size_sectors, uint32_t cluster, enum lay_version version)
{
	struct lay_header h;
	cr_assert(eq(int, lay_header_compute(size_sectors, cluster, version, &h), LAY_OK));
	return h;
}

static enum lay_finding_id check(const struct lay_header *h, uint64_t file_bytes)
{
	uint64_t value, limit;
	return lay_header_check(h, file_bytes, &value, &limit);
}

struct worked {
	uint64_t size_bytes;
	uint32_t cluster, entries, first_block, heads, cylinders;
	uint64_t file_bytes;
};

ParameterizedTestParameters(layout_header, computes_the_worked_values)
{
	static struct worked rows[] = {
		{10 * MIB, 2048, 10, 2048, 16, 40, MIB},	{100 * MIB, 2048, 100, 2048, 16, 400, MIB},
		{100 * MIB, 64, 3200, 64, 16, 400, 32 * KIB},	{GIB, 2048, 1024, 2048, 16, 2080, MIB},
		{2 * GIB, 64, 65536, 576, 16, 4161, 288 * KIB}, {10 * GIB, 2048, 10240, 2048, 16, 40960, MIB},
	};
	return cr_make_param_array(struct worked, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct worked *w, layout_header, computes_the_worked_values)
{
	struct lay_header h = computed(w->size_bytes / SECTOR_BYTES, w->cluster, LAY_V2);
	cr_assert(eq(u32, h.bat_entries, w->entries));
	cr_assert(eq(u32, h.first_block_sectors, w->first_block));
	cr_assert(eq(u32, h.heads, w->heads));
	cr_assert(eq(u32, h.cylinders, w->cylinders));
	cr_assert(eq(u64, (uint64_t)h.first_block_sectors * SECTOR_BYTES, w->file_bytes));
	cr_assert(eq(int, check(&h, w->file_bytes), LAY_OK));
}

struct capacity {
	uint32_t cluster, entries_in_first;
	uint64_t largest_disk_bytes;
};

/* README.md: entries in the first header cluster, and the largest disk that needs one only. */
ParameterizedTestParameters(layout_header, one_header_cluster_holds)
{
	static struct capacity rows[] = {
		{64, 8176, 255 * MIB + 512 * KIB}, {128, 16368, 1023 * MIB},	   {256, 32752, 4094 * MIB},
		{512, 65520, 16380 * MIB},	   {1024, 131056, 65528 * MIB},	   {2048, 262128, 262128 * MIB},
		{4096, 524272, 1048544 * MIB},	   {8192, 1048560, 4194240 * MIB}, {16384, 2097136, 16777088 * MIB},
	};
	return cr_make_param_array(struct capacity, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct capacity *c, layout_header, one_header_cluster_holds)
{
	uint64_t sectors = c->largest_disk_bytes / SECTOR_BYTES;
	struct lay_header h = computed(sectors, c->cluster, LAY_V2);
	cr_assert(eq(u32, h.bat_entries, c->entries_in_first));
	cr_assert(eq(u32, lay_header_clusters(&h), 1));
	cr_assert(eq(u64, lay_bat_slots(&h), c->entries_in_first));

	h = computed(sectors + 1, c->cluster, LAY_V2);
	cr_assert(eq(u32, lay_header_clusters(&h), 2));
	cr_assert(eq(u64, lay_bat_slots(&h), c->entries_in_first + (uint64_t)c->cluster * SECTOR_BYTES / 4));
}

struct geometry {
	uint64_t size;
	uint32_t cylinders, heads, sectors;
};

ParameterizedTestParameters(layout_header, chs_follows_the_examples)
{
	static struct geometry rows[] = {
		{20480, 40, 16, 32},
		{192, 3, 2, 32},
		{204800, 400, 16, 32},
		{2097152, 2080, 16, 63},
		{4194304, 4161, 16, 63},
		{12902400, 12800, 16, 63},
		{20971520, 40960, 16, 32},
		{1032192, 1024, 16, 63}, /* 504 MiB itself: by divisibility, which gives the same */
		{16777216, 32768, 16, 32},
		{7, 7, 1, 1},
		{8 * 3, 24, 1, 1},
		{UINT64_C(1) << 49, UINT32_MAX, 16, 32},
	};
	return cr_make_param_array(struct geometry, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct geometry *g, layout_header, chs_follows_the_examples)
{
	struct lay_chs chs = lay_chs_compute(g->size);
	cr_assert(eq(u32, chs.cylinders, g->cylinders));
	cr_assert(eq(u32, chs.heads, g->heads));
	cr_assert(eq(u32, chs.sectors, g->sectors));
}

Test(layout_header, signature_names_the_version)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h = computed(2048, 64, LAY_V1), back;
	lay_header_encode(&h, bytes);
	cr_assert(zero(int, memcmp(bytes, "WithoutFreeSpace", 16)));
	cr_assert(eq(int, lay_header_decode(bytes, &back), LAY_OK));
	cr_assert(eq(u32, back.version, LAY_V1));

	h.version = LAY_V2;
	lay_header_encode(&h, bytes);
	cr_assert(zero(int, memcmp(bytes, "WithouFreSpacExt", 16)));

	bytes[15] ^= 1;
	cr_assert(eq(int, lay_header_decode(bytes, &back), LAY_F_SIGNATURE));
}

Test(layout_header, v1_ignores_the_upper_half_of_the_size)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h = computed(4096, 64, LAY_V1), back;
	lay_header_encode(&h, bytes);
	store_le32(bytes + 40, 0xDEADBEEF);
	lay_header_decode(bytes, &back);
	cr_assert(eq(u64, back.size_sectors, 4096));
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static bool fields_agree(const struct lay_header *a, const struct lay_header *b)
{
	return a->version == b->version && a->type == b->type && a->heads == b->heads && a->cylinders == b->cylinders &&
	       a->cluster_sectors == b->cluster_sectors && a->bat_entries == b->bat_entries &&
	       a->size_sectors == b->size_sectors && a->in_use == b->in_use &&
	       a->first_block_sectors == b->first_block_sectors && a->flags == b->flags &&
	       a->ext_sectors == b->ext_sectors;
}

Test(layout_header, every_field_has_its_place)
{
	static const uint8_t want[LAY_HEADER_BYTES] = "WithouFreSpacExt"
						      "\x01\x02\x03\x04"
						      "\x11\x12\x13\x14"
						      "\x21\x22\x23\x24"
						      "\x31\x32\x33\x34" /* type … cluster */
						      "\x41\x42\x43\x44"
						      "\x51\x52\x53\x54\x55\x56\x57\x58"
						      "Ynot" /* entries, size, marker */
						      "\x61\x62\x63\x64"
						      "\x71\x72\x73\x74"
						      "\x81\x82\x83\x84\x85\x86\x87\x88"; /* block, flags, ext */
	struct lay_header h = {LAY_V2,	   0x04030201, 0x14131211,	   0x24232221,
			       0x34333231, 0x44434241, 0x5857565554535251, LAY_IN_USE,
			       0x64636261, 0x74737271, 0x8887868584838281};
	uint8_t bytes[LAY_HEADER_BYTES];
	lay_header_encode(&h, bytes);
	cr_assert(zero(int, memcmp(bytes, want, sizeof(bytes))));
}

Test(layout_header, any_field_values_survive_encoding)
{
	uint64_t seed = (uint64_t)time(NULL) | 1, state = seed;
	for (int round = 0; round < 10000; round++) {
		struct lay_header h = {
			.version = next_random(&state) & 1 ? LAY_V1 : LAY_V2,
			.type = (uint32_t)next_random(&state),
			.heads = (uint32_t)next_random(&state),
			.cylinders = (uint32_t)next_random(&state),
			.cluster_sectors = (uint32_t)next_random(&state),
			.bat_entries = (uint32_t)next_random(&state),
			.size_sectors = next_random(&state),
			.in_use = (uint32_t)next_random(&state),
			.first_block_sectors = (uint32_t)next_random(&state),
			.flags = (uint32_t)next_random(&state),
			.ext_sectors = next_random(&state),
		};
		if (h.version == LAY_V1)
			h.size_sectors &= UINT32_MAX;
		uint8_t bytes[LAY_HEADER_BYTES], again[LAY_HEADER_BYTES];
		struct lay_header back;
		lay_header_encode(&h, bytes);
		cr_assert(eq(int, lay_header_decode(bytes, &back), LAY_OK), "SEED=%lu round %d", seed, round);
		lay_header_encode(&back, again);
		cr_assert(zero(int, memcmp(bytes, again, sizeof(bytes))), "SEED=%lu round %d", seed, round);
		cr_assert(fields_agree(&h, &back), "SEED=%lu round %d", seed, round);
	}
}

Test(layout_header, what_check_passes_is_safe_for_the_arithmetic)
{
	uint64_t seed = (uint64_t)time(NULL) | 1, state = seed, passed = 0;
	for (int round = 0; round < 200000; round++) {
		uint64_t r = next_random(&state);
		struct lay_header h = {
			.version = r & 1 ? LAY_V1 : LAY_V2,
			.type = 2,
			.cluster_sectors = UINT32_C(1) << (r >> 1) % 32,
			.size_sectors = next_random(&state) >> (r >> 8) % 64,
			.first_block_sectors = (uint32_t)next_random(&state) >> (r >> 16) % 32 << (r >> 24) % 32,
		};
		uint64_t file_bytes = next_random(&state) >> (r >> 32) % 64;
		if (check(&h, file_bytes) != LAY_OK)
			continue;
		passed++;
		uint64_t clusters = h.size_sectors / h.cluster_sectors + (h.size_sectors % h.cluster_sectors != 0);
		cr_assert(eq(u64, lay_guest_clusters(&h), clusters), "SEED=%lu round %d", seed, round);
		cr_assert(ge(u32, lay_header_clusters(&h), 1), "SEED=%lu round %d", seed, round);
		cr_assert(le(u64, lay_slot_offset_bytes((uint32_t)clusters - 1) + LAY_BAT_SLOT_BYTES, file_bytes),
			  "SEED=%lu round %d: the last slot lies in the file", seed, round);
	}
	cr_assert(gt(u64, passed, 100), "SEED=%lu: the check was reached", seed);
}

struct refusal {
	enum lay_finding_id want;
	struct lay_header h;
	uint64_t file_bytes, value, limit;
};

#define GOOD .version = LAY_V2, .type = 2, .cluster_sectors = 64, .size_sectors = 6400, .first_block_sectors = 64

ParameterizedTestParameters(layout_header, check_refuses_with_numbers)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
	static struct refusal rows[] = {
		{LAY_F_FILE_SHORT, {GOOD}, 4095, 4095, 4096},
		{LAY_F_TYPE, {GOOD, .type = 3}, 1 << 20, 3, 2},
		{LAY_F_CLUSTER_SIZE, {GOOD, .cluster_sectors = 0}, 1 << 20, 0, 131072},
		{LAY_F_CLUSTER_SIZE, {GOOD, .cluster_sectors = 4186129}, 1 << 20, 4186129, 131072},
		{LAY_F_CLUSTER_FOREIGN, {GOOD, .cluster_sectors = 63}, 1 << 20, 63, 131072},
		{LAY_F_CLUSTER_FOREIGN, {GOOD, .cluster_sectors = 32}, 1 << 20, 32, 131072},
		{LAY_F_CLUSTER_FOREIGN, {GOOD, .cluster_sectors = 262144}, 1 << 20, 262144, 131072},
		{LAY_F_FIRST_BLOCK, {GOOD, .first_block_sectors = 0}, 1 << 20, 0, 64},
		{LAY_F_FIRST_BLOCK, {GOOD, .first_block_sectors = 65}, 1 << 20, 65, 64},
		{LAY_F_FIRST_BLOCK_FOREIGN, {GOOD, .version = LAY_V1, .first_block_sectors = 0}, 1 << 20, 0, 64},
		{LAY_F_HEADER_BEYOND_FILE, {GOOD}, 32767, 32768, 32767},
		{LAY_F_HEADER_BEYOND_FILE, {GOOD, .first_block_sectors = 0xFFFFFFC0}, 1 << 20, 0x1FFFFFF8000, 1 << 20},
		{LAY_F_SIZE_ZERO, {GOOD, .size_sectors = 0}, 1 << 20, 0, 0},
		{LAY_F_SIZE_LIMIT, {GOOD, .size_sectors = UINT64_MAX}, 1 << 20, UINT64_MAX, 0xFFFFFFFEull * 64},
		{LAY_F_BAT_SHORT, {GOOD, .size_sectors = 8177 * 64}, 1 << 20, 8177, 8176},
	};
#pragma GCC diagnostic pop
	return cr_make_param_array(struct refusal, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct refusal *r, layout_header, check_refuses_with_numbers)
{
	uint64_t value = 1, limit = 1;
	cr_assert(eq(int, lay_header_check(&r->h, r->file_bytes, &value, &limit), r->want));
	cr_assert(eq(u64, value, r->value));
	cr_assert(eq(u64, limit, r->limit));
}

Test(layout_header, a_size_that_is_no_cluster_multiple_is_accepted)
{
	/* what QEMU writes for a disk of 10485761 bytes */
	struct lay_header h = {.version = LAY_V2,
			       .type = 2,
			       .cluster_sectors = 2048,
			       .bat_entries = 11,
			       .size_sectors = 20481,
			       .first_block_sectors = 2048};
	cr_assert(eq(int, check(&h, MIB), LAY_OK));
	cr_assert(eq(u32, lay_guest_clusters(&h), 11));
}

Test(layout_header, compute_stops_at_what_a_version_can_address)
{
	struct lay_header h;
	for (uint32_t cluster = LAY_MIN_CLUSTER_SECTORS; cluster <= LAY_MAX_CLUSTER_SECTORS; cluster *= 2) {
		uint64_t v1 = lay_max_size_sectors(cluster, LAY_V1), v2 = lay_max_size_sectors(cluster, LAY_V2);
		cr_assert(eq(u64, v1, UINT32_MAX / cluster * (uint64_t)cluster));
		cr_assert(eq(u64, v2, 0xFFFFFFFEull * cluster));
		cr_assert(eq(int, lay_header_compute(v1 + 1, cluster, LAY_V1, &h), LAY_F_SIZE_LIMIT));
		cr_assert(eq(int, lay_header_compute(v2 + 1, cluster, LAY_V2, &h), LAY_F_SIZE_LIMIT));
		h = computed(v1, cluster, LAY_V1);
		cr_assert(eq(int, check(&h, UINT64_MAX), LAY_OK));
		h = computed(v2, cluster, LAY_V2);
		cr_assert(eq(int, check(&h, UINT64_MAX), LAY_OK));
		cr_assert(eq(u32, lay_guest_clusters(&h), 0xFFFFFFFEu));
	}
}

Test(layout_header, slots_count_sectors_in_v1_and_clusters_in_v2)
{
	struct lay_header v1 = computed(6400, 64, LAY_V1), v2 = computed(6400, 64, LAY_V2);
	cr_assert(eq(u32, lay_slot_from_cluster(&v1, (struct fclu){7}), 448));
	cr_assert(eq(u32, lay_slot_to_cluster(&v1, 448).n, 7));
	cr_assert(eq(u32, lay_slot_from_cluster(&v2, (struct fclu){7}), 7));
	cr_assert(eq(u32, lay_slot_to_cluster(&v2, 7).n, 7));
	cr_assert(eq(u64, lay_slot_offset_bytes(0), 64));
	cr_assert(eq(u64, lay_slot_offset_bytes(UINT32_MAX), 64 + 4 * (uint64_t)UINT32_MAX));
}
