#include "layout/gpt.h"

#include "base/byteorder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <string.h>

#define SIZE (GIB / SECTOR_BYTES)

static const uint8_t disk_guid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
				      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
static const uint8_t part_guid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES], secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES];

static void build(uint64_t size, uint32_t cluster)
{
	struct lay_partition part;
	cr_assert(lay_gpt_place(size, cluster, &part));
	lay_gpt_build(size, &part, disk_guid, part_guid, primary, secondary);
}

/* Sign what was changed, as a hostile disk would. */
static void sign(void)
{
	uint8_t *header = primary + SECTOR_BYTES;
	store_le32(header + 88, lay_crc32(primary + 2 * SECTOR_BYTES, 16384));
	store_le32(header + 16, 0);
	store_le32(header + 16, lay_crc32(header, 92));
}

struct placing {
	uint64_t size;
	uint32_t cluster;
	uint64_t first, last; /* last 0: too small */
};

ParameterizedTestParameters(layout_gpt, the_partition_follows_the_rule)
{
	static struct placing rows[] = {
		{SIZE, 2048, 2048, 2095103},	   /* the example of README.md */
		{SIZE + 100, 2048, 2048, 2095103}, /* a size that is no cluster multiple */
		{3 * 2048, 2048, 2048, 4095},
		{3 * 2048 - 1, 2048, 0, 0},
		{2 * 2048, 2048, 0, 0},
		{100, 2048, 0, 0},
		{0, 2048, 0, 0},
		{6400, 64, 64, 6335},
		{50 * TIB / SECTOR_BYTES, 131072, 131072, 50 * TIB / SECTOR_BYTES - 131072 - 1},
	};
	return cr_make_param_array(struct placing, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct placing *p, layout_gpt, the_partition_follows_the_rule)
{
	struct lay_partition part;
	bool fits = lay_gpt_place(p->size, p->cluster, &part);
	cr_assert(eq(int, fits, p->last != 0));
	if (!fits)
		return;
	cr_assert(eq(u64, part.first_sector, p->first));
	cr_assert(eq(u64, part.first_sector + part.sectors - 1, p->last));
	cr_assert(le(u64, p->last, p->size - 1 - LAY_GPT_SECONDARY_SECTORS));
}

Test(layout_gpt, what_is_built_is_read_back)
{
	struct lay_partition part;
	build(SIZE, 2048);
	cr_assert(eq(int, lay_gpt_decode(primary, SIZE, &part), LAY_GPT_OK));
	cr_assert(eq(u64, part.first_sector, 2048));
	cr_assert(eq(u64, part.sectors, 2093056));
}

Test(layout_gpt, both_copies_point_at_each_other)
{
	build(SIZE, 2048);
	uint8_t *first = primary + SECTOR_BYTES, *second = secondary + 32 * SECTOR_BYTES;
	cr_assert(zero(int, memcmp(second, "EFI PART", 8)));
	cr_assert(eq(u64, load_le64(first + 24), 1));
	cr_assert(eq(u64, load_le64(first + 32), SIZE - 1));
	cr_assert(eq(u64, load_le64(first + 72), 2));
	cr_assert(eq(u64, load_le64(second + 24), SIZE - 1));
	cr_assert(eq(u64, load_le64(second + 32), 1));
	cr_assert(eq(u64, load_le64(second + 72), SIZE - 33));
	cr_assert(eq(u64, load_le64(first + 48), SIZE - 34));
	cr_assert(zero(int, memcmp(primary + 2 * SECTOR_BYTES, secondary, 32 * SECTOR_BYTES)));
}

Test(layout_gpt, guids_are_stored_in_their_mixed_order)
{
	static const uint8_t mixed[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
					  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	build(SIZE, 2048);
	cr_assert(zero(int, memcmp(primary + SECTOR_BYTES + 56, mixed, 16)));
}

Test(layout_gpt, the_protective_mbr_covers_the_disk)
{
	build(SIZE, 2048);
	cr_assert(eq(u32, primary[450], 0xEE));
	cr_assert(eq(u32, load_le32(primary + 454), 1));
	cr_assert(eq(u32, load_le32(primary + 458), SIZE - 1));
	cr_assert(eq(u32, load_le16(primary + 510), 0xAA55));
	build(4 * TIB / SECTOR_BYTES, 2048);
	cr_assert(eq(u32, load_le32(primary + 458), UINT32_MAX));
}

Test(layout_gpt, crc_is_the_one_of_ethernet)
{
	cr_assert(eq(u32, lay_crc32("123456789", 9), 0xCBF43926));
}

Test(layout_gpt, every_flipped_bit_of_header_and_entries_is_noticed)
{
	struct lay_partition part;
	build(SIZE, 2048);
	for (uint32_t byte = SECTOR_BYTES; byte < sizeof(primary); byte += byte < SECTOR_BYTES + 91 ? 1 : 131) {
		if (byte >= SECTOR_BYTES + 92 && byte < 2 * SECTOR_BYTES)
			byte = 2 * SECTOR_BYTES;
		primary[byte] ^= 1;
		cr_assert(ne(int, lay_gpt_decode(primary, SIZE, &part), LAY_GPT_OK), "byte %u", byte);
		primary[byte] ^= 1;
	}
}

struct refused {
	uint32_t at, bytes;
	uint64_t put;
	enum lay_gpt_status want;
};

ParameterizedTestParameters(layout_gpt, signed_nonsense_is_refused)
{
	static struct refused rows[] = {
		{512, 4, 0, LAY_GPT_ABSENT},
		{512 + 12, 4, 4096, LAY_GPT_BAD_HEADER},
		{512 + 72, 8, 3, LAY_GPT_FOREIGN},
		{512 + 80, 4, 0xFFFFFFFF, LAY_GPT_FOREIGN},
		{512 + 84, 4, 256, LAY_GPT_FOREIGN},
		{1024 + 32, 8, 33, LAY_GPT_BAD_RANGE},
		{1024 + 32, 8, 2095104, LAY_GPT_BAD_RANGE},
		{1024 + 40, 8, SIZE, LAY_GPT_BAD_RANGE},
		{1024 + 40, 8, UINT64_MAX, LAY_GPT_BAD_RANGE},
		{1024, 16, 0, LAY_GPT_EMPTY},
	};
	return cr_make_param_array(struct refused, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct refused *x, layout_gpt, signed_nonsense_is_refused)
{
	struct lay_partition part;
	build(SIZE, 2048);
	uint8_t bytes[16] = {0};
	store_le64(bytes, x->put);
	memcpy(primary + x->at, bytes, x->bytes);
	sign();
	cr_assert(eq(int, lay_gpt_decode(primary, SIZE, &part), x->want));
}

/* ---- new GUIDs */

static uint8_t new_guids[LAY_GPT_ENTRIES][LAY_GPT_GUID_BYTES];

static void make_guids(void)
{
	for (size_t i = 0; i < sizeof(new_guids); i++)
		((uint8_t *)new_guids)[i] = (uint8_t)(i * 7 + 3);
}

Test(layout_gpt, renewed_table_is_the_one_that_init_would_have_made_with_these_guids)
{
	uint8_t want[sizeof(primary)], want_second[sizeof(secondary)];
	make_guids();
	struct lay_partition part;
	cr_assert(lay_gpt_place(SIZE, 2048, &part));
	lay_gpt_build(SIZE, &part, new_guids[100], new_guids[0], want, want_second);
	build(SIZE, 2048);
	cr_assert(eq(u64, lay_gpt_secondary_sector(primary, SIZE), SIZE - 1));
	cr_assert(lay_gpt_is_second_copy(secondary, SIZE - 1, primary));
	lay_gpt_renew(primary, secondary, new_guids[100], new_guids);
	cr_expect(eq(int, memcmp(primary, want, sizeof(want)), 0));
	cr_expect(eq(int, memcmp(secondary, want_second, sizeof(want_second)), 0));
}

Test(layout_gpt, second_copy_that_does_not_fit_is_seen)
{
	build(SIZE, 2048);
	cr_expect(not(lay_gpt_is_second_copy(secondary, SIZE - 2, primary)), "it says where it is");
	secondary[0] ^= 1;
	cr_expect(not(lay_gpt_is_second_copy(secondary, SIZE - 1, primary)), "other entries");
	build(SIZE, 2048);
	secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES - SECTOR_BYTES + 40] ^= 1;
	cr_expect(not(lay_gpt_is_second_copy(secondary, SIZE - 1, primary)), "checksum of the header");

	build(SIZE, 2048);
	store_le64(primary + SECTOR_BYTES + 32, SIZE);
	sign();
	cr_expect(eq(u64, lay_gpt_secondary_sector(primary, SIZE), 0), "behind the disk");
	store_le64(primary + SECTOR_BYTES + 32, 65);
	sign();
	cr_expect(eq(u64, lay_gpt_secondary_sector(primary, SIZE), 0), "inside of the first copy");
}
