/* Changing the UUID of an ext superblock: only where nothing else depends on it, and all that does is told. That e2fsck
 * agrees is for cli/230-clone-identity. */
#include "layout/extfs.h"

#include "base/byteorder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

static uint8_t sb[LAY_EXTFS_BYTES];
static const uint8_t old_uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t new_uuid[16] = {0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
				     0xA8, 0xA9, 0xAA, 0xAB, 0xAC, 0xAD, 0xAE, 0xAF};

enum { MAGIC = 0x38, COMPAT = 0x5C, INCOMPAT = 0x60, RO_COMPAT = 0x64, UUID = 0x68, SEED = 0x270, CHECKSUM = 0x3FC };

static void make(uint32_t compat, uint32_t incompat, uint32_t ro_compat)
{
	memset(sb, 0, sizeof(sb));
	store_le16(sb + MAGIC, 0xEF53);
	store_le32(sb + COMPAT, compat);
	store_le32(sb + INCOMPAT, incompat);
	store_le32(sb + RO_COMPAT, ro_compat);
	memcpy(sb + UUID, old_uuid, sizeof(old_uuid));
	if (ro_compat & 0x400)
		store_le32(sb + CHECKSUM, lay_crc32c(UINT32_MAX, sb, CHECKSUM));
}

Test(layout_extfs, checksum_is_crc32c)
{
	cr_expect(eq(u32, ~lay_crc32c(UINT32_MAX, "123456789", 9), 0xE3069283));
	uint32_t halves = lay_crc32c(lay_crc32c(UINT32_MAX, "1234", 4), "56789", 5);
	cr_expect(eq(u32, halves, lay_crc32c(UINT32_MAX, "123456789", 9)));
}

Test(layout_extfs, without_checksums_only_the_uuid_changes)
{
	uint8_t want[LAY_EXTFS_BYTES];
	make(0, 0x42, 0x3);
	memcpy(want, sb, sizeof(want));
	memcpy(want + UUID, new_uuid, sizeof(new_uuid));
	cr_assert(eq(int, lay_extfs_check(sb), LAY_EXTFS_OK));
	lay_extfs_set_uuid(sb, new_uuid);
	cr_expect(eq(int, memcmp(sb, want, sizeof(want)), 0));
}

Test(layout_extfs, checksums_keep_their_seed)
{
	make(0, 0x42, 0x400);
	cr_assert(eq(int, lay_extfs_check(sb), LAY_EXTFS_OK));
	lay_extfs_set_uuid(sb, new_uuid);
	uint32_t seed = lay_crc32c(UINT32_MAX, old_uuid, sizeof(old_uuid));
	cr_expect(eq(u32, load_le32(sb + SEED), seed));
	cr_expect(eq(u32, load_le32(sb + INCOMPAT), 0x2042));
	cr_expect(eq(int, memcmp(sb + UUID, new_uuid, 16), 0));
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_OK), "its own checksum is right again");
	lay_extfs_set_uuid(sb, old_uuid);
	cr_expect(eq(u32, load_le32(sb + SEED), seed), "the seed is that of the first UUID for ever");
}

Test(layout_extfs, what_cannot_be_changed_is_told)
{
	make(0, 0, 0);
	store_le16(sb + MAGIC, 0xEF54);
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_ABSENT));
	make(0, 0x8, 0);
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_ABSENT), "a journal device");
	make(0, 0, 0x400);
	sb[200] ^= 1;
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_BAD_CHECKSUM));
	make(0, 0, 0x10);
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_TIED), "group checksums over the UUID");
	make(0, 0, 0x410);
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_OK), "metadata_csum takes their place");
	make(0x800, 0, 0);
	cr_expect(eq(int, lay_extfs_check(sb), LAY_EXTFS_TIED), "keys derived from the UUID");
}

Test(layout_extfs, a_journal_that_waits_is_seen)
{
	make(0, 0x4, 0);
	cr_expect(lay_extfs_needs_recovery(sb));
	make(0, 0x40, 0);
	cr_expect(not(lay_extfs_needs_recovery(sb)));
}
