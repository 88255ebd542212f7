#include "snapshot/identity.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int identity_random(uint8_t uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return pl_fail(-EIO, "getrandom: %s", strerror(errno));
	uuid[6] = (uint8_t)((uuid[6] & 0x0F) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
	return 0;
}

void identity_text(const uint8_t uuid[16], char out[37])
{
	size_t n = 0;
	for (size_t i = 0; i < 16; i++)
		n += (size_t)snprintf(out + n, 37 - n, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
				      uuid[i]);
}

static void tell(struct identity *id, const char *fmt, ...) PL_PRINTF(2, 3);
static void tell(struct identity *id, const char *fmt, ...)
{
	size_t n = strlen(id->told);
	va_list ap;
	n += (size_t)snprintf(id->told + n, sizeof(id->told) - n, "%s", n ? "; " : "");
	va_start(ap, fmt);
	vsnprintf(id->told + n, sizeof(id->told) - n, fmt, ap);
	va_end(ap);
}

static void add_patch(struct identity *id, uint64_t offset_bytes, const uint8_t *bytes, uint32_t length_bytes)
{
	size_t at = id->count++;
	for (; at > 0 && id->patches[at - 1].offset_bytes > offset_bytes; at--)
		id->patches[at] = id->patches[at - 1];
	id->patches[at] = (struct identity_patch){offset_bytes, length_bytes, bytes};
}

/* ---- the partition table */

static int renew_table(struct pl_disk *disk, uint64_t size_sectors, struct identity *id)
{
	uint8_t disk_guid[LAY_GPT_GUID_BYTES], part_guids[LAY_GPT_ENTRIES][LAY_GPT_GUID_BYTES];
	int r = identity_random(disk_guid);
	for (size_t i = 0; r == 0 && i < LAY_GPT_ENTRIES; i++)
		r = identity_random(part_guids[i]);
	uint64_t header = lay_gpt_secondary_sector(id->primary, size_sectors);
	uint64_t first_bytes = (header + 1 - LAY_GPT_SECONDARY_SECTORS) * SECTOR_BYTES;
	if (r == 0 && header)
		r = pl_read(disk, id->secondary, sizeof(id->secondary), first_bytes);
	if (r < 0)
		return r;
	bool both = header && lay_gpt_is_second_copy(id->secondary, header, id->primary);
	lay_gpt_renew(id->primary, both ? id->secondary : NULL, disk_guid, part_guids);
	add_patch(id, 0, id->primary, sizeof(id->primary));
	if (both)
		add_patch(id, first_bytes, id->secondary, sizeof(id->secondary));
	tell(id, both ? "new GUIDs in the partition table"
		      : "new GUIDs in the partition table, whose second copy is damaged and stays so");
	return 0;
}

/* *@part: where the file system is, the whole disk when there is no table. 1: there is a table, but not one of ours. */
static int plan_table(struct pl_disk *disk, uint64_t size_sectors, struct identity *id, struct lay_partition *part)
{
	*part = (struct lay_partition){0, size_sectors};
	if (size_sectors < LAY_GPT_PRIMARY_SECTORS)
		return 0;
	int r = pl_read(disk, id->primary, sizeof(id->primary), 0);
	if (r < 0)
		return r;
	switch (lay_gpt_decode(id->primary, size_sectors, part)) {
	case LAY_GPT_OK:
		return renew_table(disk, size_sectors, id);
	case LAY_GPT_ABSENT:
		return 0;
	case LAY_GPT_EMPTY:
		tell(id, "there is no partition 1, so the disk keeps its identity");
		return 1;
	default:
		tell(id, "the partition table is damaged or of another shape, so the disk keeps its identity");
		return 1;
	}
}

/* ---- the file system */

static int renew_extfs(struct identity *id, uint64_t superblock_bytes)
{
	uint8_t uuid[LAY_EXTFS_UUID_BYTES];
	char text[37];
	int r = identity_random(uuid);
	if (r < 0)
		return r;
	lay_extfs_set_uuid(id->superblock, uuid);
	add_patch(id, superblock_bytes, id->superblock, sizeof(id->superblock));
	identity_text(uuid, text);
	tell(id, "the file system has the new UUID %s", text);
	if (lay_extfs_needs_recovery(id->superblock))
		tell(id, "it was in use, and the replay of its journal may bring the old UUID back");
	return 0;
}

static bool is_xfs(struct pl_disk *disk, uint64_t offset_bytes)
{
	uint8_t sector[SECTOR_BYTES];
	return pl_read(disk, sector, sizeof(sector), offset_bytes) == 0 && memcmp(sector, "XFSB", 4) == 0;
}

static int plan_filesystem(struct pl_disk *disk, const struct lay_partition *part, struct identity *id)
{
	uint64_t begin_bytes = part->first_sector * SECTOR_BYTES, at_bytes = begin_bytes + LAY_EXTFS_AT_BYTES;
	int r = 0;
	if (part->sectors * SECTOR_BYTES >= LAY_EXTFS_AT_BYTES + LAY_EXTFS_BYTES)
		r = pl_read(disk, id->superblock, sizeof(id->superblock), at_bytes);
	if (r < 0)
		return r;
	switch (lay_extfs_check(id->superblock)) {
	case LAY_EXTFS_OK:
		return renew_extfs(id, at_bytes);
	case LAY_EXTFS_BAD_CHECKSUM:
		tell(id, "the superblock of the file system is damaged, so its UUID stays");
		return 0;
	case LAY_EXTFS_TIED:
		tell(id, "checksums or keys of the file system depend on its UUID, which stays: tune2fs -U random");
		return 0;
	case LAY_EXTFS_ABSENT:
		break;
	}
	if (is_xfs(disk, begin_bytes))
		tell(id, "the UUID of XFS stays: mount it with -o nouuid, or use xfs_admin -U generate");
	else
		tell(id, "there is no file system that is known here, so no UUID is changed");
	return 0;
}

int identity_plan(struct pl_disk *disk, struct identity *out)
{
	struct pl_disk_info info;
	struct lay_partition part;
	pl_disk_get_info(disk, &info);
	*out = (struct identity){0};
	int r = plan_table(disk, info.size_bytes / SECTOR_BYTES, out, &part);
	if (r == 0)
		r = plan_filesystem(disk, &part, out);
	return r < 0 ? pl_wrap(r, "new identity") : 0;
}
