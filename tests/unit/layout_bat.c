#include "layout/bat.h"

#include "base/byteorder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CLUSTER	      64u
#define FILE_CLUSTERS 50u

/* A small image in memory: 40 guest clusters, one header cluster, 49 data clusters. */
struct fixture {
	struct lay_header h;
	struct lay_bat_scan scan;
	uint64_t used[1];
	uint8_t slots[64 * LAY_BAT_SLOT_BYTES];
	uint32_t out[64];
	struct lay_fault fault;
};

static void set(struct fixture *x, uint32_t g, uint32_t slot)
{
	store_le32(x->slots + g * LAY_BAT_SLOT_BYTES, slot);
}

static struct fixture image(enum lay_version version)
{
	struct fixture x = {0};
	lay_header_compute(40 * CLUSTER, CLUSTER, version, &x.h);
	return x;
}

static enum lay_finding_id scan(struct fixture *x, uint32_t first, uint32_t n)
{
	x->scan = (struct lay_bat_scan){&x->h, FILE_CLUSTERS, x->used, lay_guest_clusters(&x->h)};
	return lay_bat_decode(&x->scan, first, x->slots + first * LAY_BAT_SLOT_BYTES, n, x->out + first, &x->fault);
}

Test(layout_bat, good_slots_become_file_clusters)
{
	for (enum lay_version version = LAY_V1; version <= LAY_V2; version++) {
		struct fixture x = image(version);
		uint32_t unit = version == LAY_V1 ? CLUSTER : 1;
		set(&x, 0, 49 * unit);
		set(&x, 3, 1 * unit);
		set(&x, 39, 2 * unit);
		cr_assert(eq(int, scan(&x, 0, 64), LAY_OK));
		for (uint32_t g = 0; g < 64; g++)
			cr_assert(eq(u32, x.out[g], g == 0 ? 49 : g == 3 ? 1 : g == 39 ? 2 : 0));
		cr_assert(eq(u64, x.used[0], UINT64_C(1) << 49 | 1 << 1 | 1 << 2));
	}
}

static void expect(enum lay_version version, uint32_t g, uint32_t slot, enum lay_finding_id want, uint64_t value,
		   uint64_t limit)
{
	struct fixture x = image(version);
	set(&x, g, slot);
	cr_assert(eq(int, scan(&x, 0, 64), want), "slot %u = %u", g, slot);
	cr_assert(eq(u64, x.fault.index, g));
	cr_assert(eq(u64, x.fault.value, value));
	cr_assert(eq(u64, x.fault.limit, limit));
}

Test(layout_bat, each_defect_is_found_with_its_numbers)
{
	uint64_t file_bytes = FILE_CLUSTERS * CLUSTER * SECTOR_BYTES;
	expect(LAY_V2, 40, 5, LAY_F_SLOT_BEYOND_DISK, 5, 40); /* the slot right behind the last one */
	expect(LAY_V2, 63, 5, LAY_F_SLOT_BEYOND_DISK, 5, 40);
	expect(LAY_V2, 4, 50, LAY_F_SLOT_BEYOND_FILE, 50, file_bytes);
	expect(LAY_V2, 4, 0xFFFFFFFE, LAY_F_SLOT_BEYOND_FILE, 0xFFFFFFFE, file_bytes);
	expect(LAY_V2, 4, 0xFFFFFFFF, LAY_F_SLOT_RESERVED, 0xFFFFFFFF, 0);
	expect(LAY_V1, 4, 50 * CLUSTER, LAY_F_SLOT_BEYOND_FILE, 50, file_bytes);
	expect(LAY_V1, 4, 5 * CLUSTER + 1, LAY_F_SLOT_MISALIGNED, 5 * CLUSTER + 1, CLUSTER);
	expect(LAY_V1, 4, 1, LAY_F_SLOT_MISALIGNED, 1, CLUSTER);
	expect(LAY_V1, 4, 0xFFFFFFFF, LAY_F_SLOT_RESERVED, 0xFFFFFFFF, 0);
}

Test(layout_bat, a_cluster_of_the_header_is_below_the_data_area)
{
	struct fixture x = image(LAY_V2);
	x.h.first_block_sectors = 3 * CLUSTER;
	set(&x, 1, 3);
	set(&x, 2, 2);
	cr_assert(eq(int, scan(&x, 0, 40), LAY_F_SLOT_BELOW_DATA));
	cr_assert(eq(u64, x.fault.index, 2));
	cr_assert(eq(u64, x.fault.value, 2));
	cr_assert(eq(u64, x.fault.limit, 3));
}

Test(layout_bat, the_second_owner_of_a_cluster_is_the_duplicate)
{
	struct fixture x = image(LAY_V2);
	set(&x, 1, 7);
	set(&x, 30, 7);
	cr_assert(eq(int, scan(&x, 0, 40), LAY_F_SLOT_DUPLICATE));
	cr_assert(eq(u64, x.fault.index, 30));
	cr_assert(eq(u64, x.fault.value, 7));
	cr_assert(eq(int, scan(&x, 31, 9), LAY_OK), "the walk goes on behind it");
}

Test(layout_bat, without_a_bitmap_duplicates_pass)
{
	struct fixture x = image(LAY_V2);
	set(&x, 1, 7);
	set(&x, 30, 7);
	x.scan = (struct lay_bat_scan){&x.h, FILE_CLUSTERS, NULL, 40};
	cr_assert(eq(int, lay_bat_decode(&x.scan, 0, x.slots, 40, x.out, &x.fault), LAY_OK));
}

Test(layout_bat, a_file_of_header_only_has_no_data_clusters)
{
	struct fixture x = image(LAY_V2);
	set(&x, 0, 1);
	x.scan = (struct lay_bat_scan){&x.h, 1, x.used, 40};
	cr_assert(eq(int, lay_bat_decode(&x.scan, 0, x.slots, 40, x.out, &x.fault), LAY_F_SLOT_BEYOND_FILE));
}

Test(layout_bat, file_clusters_are_whole_and_nameable)
{
	struct fixture x = image(LAY_V2);
	cr_assert(eq(u64, lay_file_clusters(&x.h, 3 * CLUSTER * SECTOR_BYTES - 1), 2));
	cr_assert(eq(u64, lay_file_clusters(&x.h, UINT64_MAX), UINT32_MAX));
}

/* What the loop decides in one test, spelled out one by one. */
static bool slot_is_good(const struct fixture *x, uint32_t slot, const bool *taken)
{
	uint32_t unit = x->h.version == LAY_V1 ? CLUSTER : 1;
	return slot == 0 ||
	       (slot % unit == 0 && slot / unit >= 1 && slot / unit < FILE_CLUSTERS && !taken[slot / unit]);
}

Test(layout_bat, neighbours_in_order_are_marked_across_words)
{
	for (uint32_t base = 1; base < 80; base++) {
		struct lay_header h;
		lay_header_compute(40 * CLUSTER, CLUSTER, LAY_V2, &h);
		uint64_t used[2] = {0};
		uint8_t slots[40 * LAY_BAT_SLOT_BYTES];
		uint32_t out[40];
		struct lay_fault fault;
		struct lay_bat_scan s = {&h, 120, used, 40};
		for (uint32_t g = 0; g < 40; g++)
			store_le32(slots + g * LAY_BAT_SLOT_BYTES, base + g);
		cr_assert(eq(int, lay_bat_decode(&s, 0, slots, 40, out, &fault), LAY_OK));
		for (uint32_t f = 0; f < 128; f++)
			cr_assert(eq(int, used[f / 64] >> f % 64 & 1, f >= base && f < base + 40), "base %u", base);
		cr_assert(eq(int, lay_bat_decode(&s, 0, slots, 40, out, &fault), LAY_F_SLOT_DUPLICATE));
		cr_assert(zero(u64, fault.index));
	}
}

Test(layout_bat, v1_slots_in_order_do_not_wrap_into_the_file)
{
	struct fixture x = image(LAY_V1);
	for (uint32_t g = 0; g < 40; g++)
		set(&x, g, 0u - CLUSTER * 8 + g * CLUSTER);
	x.scan = (struct lay_bat_scan){&x.h, UINT32_MAX, NULL, 40};
	cr_assert(eq(int, lay_bat_decode(&x.scan, 0, x.slots, 40, x.out, &x.fault), LAY_OK), "slot 8 is 0: absent");
	cr_assert(eq(u32, x.out[7], UINT32_MAX / CLUSTER));
	cr_assert(zero(u32, x.out[8]));
	cr_assert(eq(u32, x.out[9], 1));
}

Test(layout_bat, random_tables_agree_with_the_plain_rules)
{
	unsigned seed = (unsigned)time(NULL), bad = 0;
	srand(seed);
	for (int round = 0; round < 20000; round++) {
		struct fixture x = image(rand() & 1 ? LAY_V1 : LAY_V2);
		bool taken[FILE_CLUSTERS] = {0};
		uint32_t unit = x.h.version == LAY_V1 ? CLUSTER : 1, good = 0;
		/* half of them begin as neighbours in order, up to and over the end of the file */
		uint32_t base = (uint32_t)rand() % 20;
		bool in_order = rand() & 1;
		for (uint32_t g = 0; in_order && g < 40; g++)
			set(&x, g, (base + g) * unit);
		for (uint32_t g = 0; g < 40; g++)
			if (rand() % 40 == 0)
				set(&x, g, (uint32_t)(rand() % 60) * unit + (rand() % 40 == 0));
		for (; good < 40; good++) {
			uint32_t slot = load_le32(x.slots + good * LAY_BAT_SLOT_BYTES);
			if (!slot_is_good(&x, slot, taken))
				break;
			taken[slot / unit] = true;
		}
		enum lay_finding_id f = scan(&x, 0, 40);
		cr_assert(eq(int, f == LAY_OK, good == 40), "SEED=%u round %d", seed, round);
		for (uint32_t g = 0; g < good; g++)
			cr_assert(eq(u32, x.out[g], load_le32(x.slots + g * LAY_BAT_SLOT_BYTES) / unit), "SEED=%u",
				  seed);
		if (f != LAY_OK) {
			cr_assert(eq(u64, x.fault.index, good), "SEED=%u round %d", seed, round);
			bad++;
		}
	}
	cr_assert(gt(u32, bad, 1000));
	cr_assert(lt(u32, bad, 19000));
}
