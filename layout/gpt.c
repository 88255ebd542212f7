/* GPT of one partition. Sector 0 protective MBR · 1 header · 2–33 entries · partition · entries · header. */
#include "layout/gpt.h"

#include "base/byteorder.h"

#include <string.h>

#define ENTRIES		       LAY_GPT_ENTRIES
#define ENTRY_BYTES	       128u
#define ENTRIES_BYTES	       (ENTRIES * ENTRY_BYTES)
#define HEADER_BYTES	       92u
#define REVISION	       0x00010000u
#define PRIMARY_HEADER_SECTOR  1u
#define PRIMARY_ENTRIES_SECTOR 2u

#define PART_ALIGN_SECTORS 8u

enum header_offset {
	AT_SIGNATURE = 0,
	AT_REVISION = 8,
	AT_HEADER_BYTES = 12,
	AT_HEADER_CRC = 16,
	AT_SELF = 24,
	AT_ALTERNATE = 32,
	AT_FIRST_USABLE = 40,
	AT_LAST_USABLE = 48,
	AT_DISK_GUID = 56,
	AT_ENTRIES_SECTOR = 72,
	AT_ENTRIES = 80,
	AT_ENTRY_BYTES = 84,
	AT_ENTRIES_CRC = 88,
};
enum entry_offset { ENTRY_TYPE = 0, ENTRY_GUID = 16, ENTRY_FIRST = 32, ENTRY_LAST = 40, ENTRY_NAME = 56 };
enum mbr_offset {
	MBR_CHS_FIRST = 447,
	MBR_TYPE = 450,
	MBR_CHS_LAST = 451,
	MBR_FIRST = 454,
	MBR_SECTORS = 458,
	MBR_MAGIC = 510,
};

static const uint8_t signature[8] = {'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'};
/* 0FC63DAF-8483-4772-8E79-3D69D8477DE4, Linux file system */
static const uint8_t type_linux[LAY_GPT_GUID_BYTES] = {0x0F, 0xC6, 0x3D, 0xAF, 0x84, 0x83, 0x47, 0x72,
						       0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4};
static const char part_name[] = "Linux filesystem";

uint32_t lay_crc32(const void *data, size_t bytes)
{
	const uint8_t *p = data;
	uint32_t crc = UINT32_MAX;
	while (bytes--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
	}
	return ~crc;
}

/* On disk the first three fields of a GUID are little-endian. */
static void store_guid(uint8_t *p, const uint8_t guid[LAY_GPT_GUID_BYTES])
{
	store_le32(p, load_be32(guid));
	store_le16(p + 4, load_be16(guid + 4));
	store_le16(p + 6, load_be16(guid + 6));
	memcpy(p + 8, guid + 8, 8);
}

bool lay_gpt_place(uint64_t size_sectors, uint32_t cluster_sectors, struct lay_partition *out)
{
	if (size_sectors < cluster_sectors)
		return false;
	uint64_t end = round_down_pow2(size_sectors - cluster_sectors, MAX(cluster_sectors, PART_ALIGN_SECTORS));
	if (cluster_sectors < LAY_GPT_PRIMARY_SECTORS || end <= cluster_sectors)
		return false;
	*out = (struct lay_partition){cluster_sectors, end - cluster_sectors};
	return true;
}

static void build_mbr(uint8_t *mbr, uint64_t size_sectors)
{
	static const uint8_t chs_first[3] = {0x00, 0x02, 0x00}, chs_last[3] = {0xFE, 0xFF, 0xFF};
	memcpy(mbr + MBR_CHS_FIRST, chs_first, sizeof(chs_first));
	memcpy(mbr + MBR_CHS_LAST, chs_last, sizeof(chs_last));
	mbr[MBR_TYPE] = 0xEE;
	store_le32(mbr + MBR_FIRST, PRIMARY_HEADER_SECTOR);
	store_le32(mbr + MBR_SECTORS, (uint32_t)MIN(size_sectors - 1, (uint64_t)UINT32_MAX));
	store_le16(mbr + MBR_MAGIC, 0xAA55);
}

static void build_entries(uint8_t *entries, const struct lay_partition *part, const uint8_t *part_guid)
{
	store_guid(entries + ENTRY_TYPE, type_linux);
	store_guid(entries + ENTRY_GUID, part_guid);
	store_le64(entries + ENTRY_FIRST, part->first_sector);
	store_le64(entries + ENTRY_LAST, part->first_sector + part->sectors - 1);
	for (size_t i = 0; part_name[i]; i++)
		store_le16(entries + ENTRY_NAME + 2 * i, (uint8_t)part_name[i]);
}

static void build_header(uint8_t *header, uint64_t size_sectors, bool primary, const uint8_t *disk_guid,
			 uint32_t entries_crc)
{
	uint64_t last = size_sectors - 1, last_usable = last - LAY_GPT_SECONDARY_SECTORS;
	memcpy(header + AT_SIGNATURE, signature, sizeof(signature));
	store_le32(header + AT_REVISION, REVISION);
	store_le32(header + AT_HEADER_BYTES, HEADER_BYTES);
	store_le64(header + AT_SELF, primary ? PRIMARY_HEADER_SECTOR : last);
	store_le64(header + AT_ALTERNATE, primary ? last : PRIMARY_HEADER_SECTOR);
	store_le64(header + AT_FIRST_USABLE, LAY_GPT_PRIMARY_SECTORS);
	store_le64(header + AT_LAST_USABLE, last_usable);
	store_guid(header + AT_DISK_GUID, disk_guid);
	store_le64(header + AT_ENTRIES_SECTOR, primary ? PRIMARY_ENTRIES_SECTOR : last_usable + 1);
	store_le32(header + AT_ENTRIES, ENTRIES);
	store_le32(header + AT_ENTRY_BYTES, ENTRY_BYTES);
	store_le32(header + AT_ENTRIES_CRC, entries_crc);
	store_le32(header + AT_HEADER_CRC, lay_crc32(header, HEADER_BYTES));
}

void lay_gpt_build(uint64_t size_sectors, const struct lay_partition *part, const uint8_t disk_guid[LAY_GPT_GUID_BYTES],
		   const uint8_t part_guid[LAY_GPT_GUID_BYTES], uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES],
		   uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES])
{
	memset(primary, 0, LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES);
	memset(secondary, 0, LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES);

	uint8_t *entries = primary + PRIMARY_ENTRIES_SECTOR * SECTOR_BYTES;
	build_entries(entries, part, part_guid);
	memcpy(secondary, entries, ENTRIES_BYTES);
	uint32_t crc = lay_crc32(entries, ENTRIES_BYTES);

	build_mbr(primary, size_sectors);
	build_header(primary + PRIMARY_HEADER_SECTOR * SECTOR_BYTES, size_sectors, true, disk_guid, crc);
	build_header(secondary + ENTRIES_BYTES, size_sectors, false, disk_guid, crc);
}

static bool header_crc_is_right(const uint8_t *header)
{
	uint8_t copy[HEADER_BYTES];
	memcpy(copy, header, sizeof(copy));
	store_le32(copy + AT_HEADER_CRC, 0);
	return lay_crc32(copy, sizeof(copy)) == load_le32(header + AT_HEADER_CRC);
}

enum lay_gpt_status lay_gpt_decode(const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES], uint64_t size_sectors,
				   struct lay_partition *out)
{
	const uint8_t *header = primary + PRIMARY_HEADER_SECTOR * SECTOR_BYTES;
	const uint8_t *entries = primary + PRIMARY_ENTRIES_SECTOR * SECTOR_BYTES;
	static const uint8_t no_type[LAY_GPT_GUID_BYTES];

	if (memcmp(header + AT_SIGNATURE, signature, sizeof(signature)) != 0)
		return LAY_GPT_ABSENT;
	if (load_le32(header + AT_HEADER_BYTES) != HEADER_BYTES || !header_crc_is_right(header))
		return LAY_GPT_BAD_HEADER;
	if (load_le64(header + AT_ENTRIES_SECTOR) != PRIMARY_ENTRIES_SECTOR ||
	    load_le32(header + AT_ENTRIES) != ENTRIES || load_le32(header + AT_ENTRY_BYTES) != ENTRY_BYTES)
		return LAY_GPT_FOREIGN;
	if (lay_crc32(entries, ENTRIES_BYTES) != load_le32(header + AT_ENTRIES_CRC))
		return LAY_GPT_BAD_ENTRIES;
	if (memcmp(entries + ENTRY_TYPE, no_type, sizeof(no_type)) == 0)
		return LAY_GPT_EMPTY;

	uint64_t first = load_le64(entries + ENTRY_FIRST), last = load_le64(entries + ENTRY_LAST);
	if (first < LAY_GPT_PRIMARY_SECTORS || last < first || last >= size_sectors)
		return LAY_GPT_BAD_RANGE;
	*out = (struct lay_partition){first, last - first + 1};
	return LAY_GPT_OK;
}

/* ---- new GUIDs */

uint64_t lay_gpt_secondary_sector(const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES], uint64_t size_sectors)
{
	uint64_t sector = load_le64(primary + PRIMARY_HEADER_SECTOR * SECTOR_BYTES + AT_ALTERNATE);
	bool fits = sector >= LAY_GPT_PRIMARY_SECTORS + LAY_GPT_SECONDARY_SECTORS - 1 && sector < size_sectors;
	return fits ? sector : 0;
}

bool lay_gpt_is_second_copy(const uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES], uint64_t sector,
			    const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES])
{
	const uint8_t *header = secondary + ENTRIES_BYTES;
	return memcmp(header + AT_SIGNATURE, signature, sizeof(signature)) == 0 &&
	       load_le32(header + AT_HEADER_BYTES) == HEADER_BYTES && header_crc_is_right(header) &&
	       load_le64(header + AT_SELF) == sector &&
	       load_le64(header + AT_ENTRIES_SECTOR) == sector + 1 - LAY_GPT_SECONDARY_SECTORS &&
	       memcmp(secondary, primary + PRIMARY_ENTRIES_SECTOR * SECTOR_BYTES, ENTRIES_BYTES) == 0;
}

static void sign_header(uint8_t *header, const uint8_t *disk_guid, uint32_t entries_crc)
{
	store_guid(header + AT_DISK_GUID, disk_guid);
	store_le32(header + AT_ENTRIES_CRC, entries_crc);
	store_le32(header + AT_HEADER_CRC, 0);
	store_le32(header + AT_HEADER_CRC, lay_crc32(header, HEADER_BYTES));
}

void lay_gpt_renew(uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES],
		   uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES],
		   const uint8_t disk_guid[LAY_GPT_GUID_BYTES],
		   const uint8_t part_guids[LAY_GPT_ENTRIES][LAY_GPT_GUID_BYTES])
{
	static const uint8_t no_type[LAY_GPT_GUID_BYTES];
	uint8_t *entries = primary + PRIMARY_ENTRIES_SECTOR * SECTOR_BYTES;
	for (size_t i = 0; i < ENTRIES; i++) {
		uint8_t *entry = entries + i * ENTRY_BYTES;
		if (memcmp(entry + ENTRY_TYPE, no_type, sizeof(no_type)) != 0)
			store_guid(entry + ENTRY_GUID, part_guids[i]);
	}
	uint32_t crc = lay_crc32(entries, ENTRIES_BYTES);
	sign_header(primary + PRIMARY_HEADER_SECTOR * SECTOR_BYTES, disk_guid, crc);
	if (!secondary)
		return;
	memcpy(secondary, entries, ENTRIES_BYTES);
	sign_header(secondary + ENTRIES_BYTES, disk_guid, crc);
}
