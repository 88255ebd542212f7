/* A new identity for a copied disk: the GUIDs of its partition table and the UUID of the file system on partition 1, or
 * on the bare disk. What is found is judged first; what is unknown or damaged is left alone, and said so.
 *
 *   GPT, both copies    disk and partitions get new GUIDs
 *   ext2, ext3, ext4    new UUID in the primary superblock (layout/extfs.h); backups follow at the next e2fsck
 *   XFS                 left alone: its UUID is in every allocation group and its log */
#ifndef SNAPSHOT_IDENTITY_H
#define SNAPSHOT_IDENTITY_H

#include "layout/extfs.h"
#include "layout/gpt.h"
#include "ploop.h"

struct identity_patch { /* bytes of the disk that change */
	uint64_t offset_bytes;
	uint32_t length_bytes;
	const uint8_t *bytes;
};

struct identity {
	struct identity_patch patches[3]; /* by offset */
	size_t count;
	char told[512]; /* what is done and what is not: a sentence */
	/* what the patches point to */
	uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES];
	uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES];
	uint8_t superblock[LAY_EXTFS_BYTES];
};

/* Look at @disk and plan. Nothing is written. */
int identity_plan(struct pl_disk *disk, struct identity *out);

/* A random UUID, bytes in the order of its text. */
int identity_random(uint8_t uuid[16]);
/* And its text, 36 characters. */
void identity_text(const uint8_t uuid[16], char out[37]);

#endif
