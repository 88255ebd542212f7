/* A GPT with one Linux partition, as `ploop init` makes it; and reading such tables back. Pure over buffers, sectors of
 * 512 bytes. Tables that other tools wrote in other shapes are libfdisk's business. */
#ifndef PLOOP_LAYOUT_GPT_H
#define PLOOP_LAYOUT_GPT_H

#include "base/units.h"

#define LAY_GPT_GUID_BYTES	  16
#define LAY_GPT_ENTRIES		  128u
#define LAY_GPT_PRIMARY_SECTORS	  34u /* protective MBR, header, 128 entries: sector 0 on */
#define LAY_GPT_SECONDARY_SECTORS 33u /* entries, header: the last sectors of the disk */

/* Partition 1 of a disk: starts at cluster 1, ends where the last whole cluster but one does, at a multiple of 4 KiB.
 */
struct lay_partition {
	uint64_t first_sector;
	uint64_t sectors;
};
/* false: the disk is too small for table and partition. */
bool lay_gpt_place(uint64_t size_sectors, uint32_t cluster_sectors, struct lay_partition *out);

/* Build both copies for @part, which lay_gpt_place() gave. The GUIDs are random and the caller's, bytes in text order.
 */
void lay_gpt_build(uint64_t size_sectors, const struct lay_partition *part, const uint8_t disk_guid[LAY_GPT_GUID_BYTES],
		   const uint8_t part_guid[LAY_GPT_GUID_BYTES], uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES],
		   uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES]);

enum lay_gpt_status {
	LAY_GPT_OK,
	LAY_GPT_ABSENT,	     /* no header signature in sector 1 */
	LAY_GPT_BAD_HEADER,  /* header length or checksum */
	LAY_GPT_FOREIGN,     /* not 128 entries of 128 bytes in sectors 2 to 33 */
	LAY_GPT_BAD_ENTRIES, /* checksum of the entries */
	LAY_GPT_BAD_RANGE,   /* partition 1 leaves the disk, or ends before it starts */
	LAY_GPT_EMPTY,	     /* there is no partition 1 */
};
/* Read partition 1 from the first sectors of a disk. */
enum lay_gpt_status lay_gpt_decode(const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES], uint64_t size_sectors,
				   struct lay_partition *out);

/* Where the header of the second copy is, as a header that lay_gpt_decode() passed says; its entries lie before it. 0:
 * nowhere on the disk. */
uint64_t lay_gpt_secondary_sector(const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES], uint64_t size_sectors);
/* Is @secondary (entries, then the header that lies in @sector) a sound second copy of @primary's table? */
bool lay_gpt_is_second_copy(const uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES], uint64_t sector,
			    const uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES]);
/* Give the disk and each of its partitions a new GUID, in both copies; @secondary may be NULL. */
void lay_gpt_renew(uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES],
		   uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES],
		   const uint8_t disk_guid[LAY_GPT_GUID_BYTES],
		   const uint8_t part_guids[LAY_GPT_ENTRIES][LAY_GPT_GUID_BYTES]);

/* The checksum of GPT headers and entries: CRC-32 as in Ethernet and zlib. */
uint32_t lay_crc32(const void *data, size_t bytes);

#endif
