#include "layout/extfs.h"

#include "base/byteorder.h"

#include <string.h>

enum superblock_offset {
	AT_MAGIC = 0x38,
	AT_COMPAT = 0x5C,
	AT_INCOMPAT = 0x60,
	AT_RO_COMPAT = 0x64,
	AT_UUID = 0x68,
	AT_CHECKSUM_SEED = 0x270,
	AT_CHECKSUM = 0x3FC,
};

#define MAGIC 0xEF53u

#define COMPAT_STABLE_INODES   0x0800u /* keys of encrypted files are derived from the UUID */
#define INCOMPAT_RECOVER       0x0004u
#define INCOMPAT_JOURNAL_DEV   0x0008u
#define INCOMPAT_CSUM_SEED     0x2000u
#define RO_COMPAT_GDT_CSUM     0x0010u /* of groups only, over the UUID itself; metadata_csum takes its place */
#define RO_COMPAT_METADATA_CSUM 0x0400u

uint32_t lay_crc32c(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *p = data;
	while (bytes--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
	}
	return crc;
}

static bool has(const uint8_t *sb, enum superblock_offset features, uint32_t bit)
{
	return load_le32(sb + features) & bit;
}

static uint32_t checksum(const uint8_t *sb)
{
	return lay_crc32c(UINT32_MAX, sb, AT_CHECKSUM);
}

enum lay_extfs_status lay_extfs_check(const uint8_t sb[LAY_EXTFS_BYTES])
{
	bool checksums = has(sb, AT_RO_COMPAT, RO_COMPAT_METADATA_CSUM);
	if (load_le16(sb + AT_MAGIC) != MAGIC || has(sb, AT_INCOMPAT, INCOMPAT_JOURNAL_DEV))
		return LAY_EXTFS_ABSENT;
	if (checksums && load_le32(sb + AT_CHECKSUM) != checksum(sb))
		return LAY_EXTFS_BAD_CHECKSUM;
	if (has(sb, AT_COMPAT, COMPAT_STABLE_INODES) || (!checksums && has(sb, AT_RO_COMPAT, RO_COMPAT_GDT_CSUM)))
		return LAY_EXTFS_TIED;
	return LAY_EXTFS_OK;
}

void lay_extfs_set_uuid(uint8_t sb[LAY_EXTFS_BYTES], const uint8_t uuid[LAY_EXTFS_UUID_BYTES])
{
	bool checksums = has(sb, AT_RO_COMPAT, RO_COMPAT_METADATA_CSUM);
	if (checksums && !has(sb, AT_INCOMPAT, INCOMPAT_CSUM_SEED)) {
		store_le32(sb + AT_CHECKSUM_SEED, lay_crc32c(UINT32_MAX, sb + AT_UUID, LAY_EXTFS_UUID_BYTES));
		store_le32(sb + AT_INCOMPAT, load_le32(sb + AT_INCOMPAT) | INCOMPAT_CSUM_SEED);
	}
	memcpy(sb + AT_UUID, uuid, LAY_EXTFS_UUID_BYTES);
	if (checksums)
		store_le32(sb + AT_CHECKSUM, checksum(sb));
}

bool lay_extfs_needs_recovery(const uint8_t sb[LAY_EXTFS_BYTES])
{
	return has(sb, AT_INCOMPAT, INCOMPAT_RECOVER);
}
