/* Superblocks are somebody else's bytes: every field is bounded before it is used. */
#include "cli/guest_usage.h"

#include "cli/with_disk.h"
#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "layout/gpt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define STATFS_FILE   ".statfs"
#define STATFS_FIELDS 5 /* in the byte order of the host that wrote it */

int guest_usage_from_mount(const struct pl_device *device, struct guest_usage *out)
{
	autofree char **points = NULL;
	int r = pl_device_mount_points(device, &points);
	if (r < 0)
		return r;
	if (!points[0])
		return pl_fail(-ENOENT, "%s is not mounted", device->name);
	struct statvfs st;
	if (statvfs(points[0], &st) < 0)
		return pl_fail(-errno, "%s: %s", points[0], strerror(errno));
	*out = (struct guest_usage){st.f_frsize, st.f_blocks, st.f_bfree, st.f_files, st.f_ffree};
	return 0;
}

/* The path of @name beside @base_image, free() it; NULL: no memory. */
static char *path_beside(const char *base_image, const char *name)
{
	char *path;
	const char *slash = strrchr(base_image, '/');
	int folder_bytes = slash ? (int)(slash - base_image + 1) : 0;
	if (asprintf(&path, "%.*s%s", folder_bytes, base_image, name) >= 0)
		return path;
	pl_fail(-ENOMEM, "no memory for a file name");
	return NULL;
}

int guest_usage_to_statfs(const char *mount_point, const char *base_image)
{
	struct statvfs st;
	if (statvfs(mount_point, &st) != 0)
		return pl_fail(-errno, "%s: %s", mount_point, strerror(errno));
	uint64_t field[STATFS_FIELDS] = {st.f_bsize, st.f_blocks, st.f_bfree, st.f_files, st.f_ffree};
	autofree char *path = path_beside(base_image, STATFS_FILE);
	autofree char *temporary = path_beside(base_image, STATFS_FILE ".new");
	if (!path || !temporary)
		return -ENOMEM;
	autofd int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd >= 0 && write(fd, field, sizeof(field)) == (ssize_t)sizeof(field) && rename(temporary, path) == 0)
		return 0;
	int r = pl_fail(-errno, "%s: %s", path, strerror(errno));
	unlink(temporary);
	return r;
}

void guest_usage_forget(const char *base_image)
{
	autofree char *path = path_beside(base_image, STATFS_FILE);
	if (path)
		unlink(path);
}

int guest_usage_from_statfs(const char *base_image, struct guest_usage *out)
{
	autofree char *path = path_beside(base_image, STATFS_FILE);
	if (!path)
		return -ENOMEM;
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	uint64_t field[STATFS_FIELDS];
	ssize_t n = read(fd, field, sizeof(field));
	if (n != (ssize_t)sizeof(field))
		return pl_fail(-EUCLEAN, "%s has %zd bytes instead of %zu", path, n, sizeof(field));
	*out = (struct guest_usage){field[0], field[1], field[2], field[3], field[4]};
	return 0;
}

/* ---- superblocks; the offsets are those of the file systems' own documentation */

#define PROBE_BYTES 4096u

enum {
	EXT_SUPERBLOCK = 1024,
	EXT_INODES = 0x00,
	EXT_BLOCKS_LO = 0x04,
	EXT_FREE_BLOCKS_LO = 0x0C,
	EXT_FREE_INODES = 0x10,
	EXT_LOG_BLOCK_SIZE = 0x18,
	EXT_MAGIC = 0x38,
	EXT_FEATURE_INCOMPAT = 0x60,
	EXT_BLOCKS_HI = 0x150,
	EXT_FREE_BLOCKS_HI = 0x158,
	EXT_OVERHEAD = 0x248,
};
#define EXT_MAGIC_VALUE 0xEF53
#define EXT_INCOMPAT_64BIT 0x80u
#define EXT_MAX_LOG_BLOCK_SIZE 6u

static bool read_ext(const uint8_t probe[PROBE_BYTES], struct guest_usage *out)
{
	const uint8_t *s = probe + EXT_SUPERBLOCK;
	uint32_t log_block = load_le32(s + EXT_LOG_BLOCK_SIZE);
	if (load_le16(s + EXT_MAGIC) != EXT_MAGIC_VALUE || log_block > EXT_MAX_LOG_BLOCK_SIZE)
		return false;
	bool wide = load_le32(s + EXT_FEATURE_INCOMPAT) & EXT_INCOMPAT_64BIT;
	uint64_t high = wide ? (uint64_t)load_le32(s + EXT_BLOCKS_HI) << 32 : 0;
	uint64_t free_high = wide ? (uint64_t)load_le32(s + EXT_FREE_BLOCKS_HI) << 32 : 0;
	uint64_t blocks = high | load_le32(s + EXT_BLOCKS_LO);
	*out = (struct guest_usage){
		.block_bytes = KIB << log_block,
		.blocks = blocks - MIN(blocks, load_le32(s + EXT_OVERHEAD)),
		.blocks_free = free_high | load_le32(s + EXT_FREE_BLOCKS_LO),
		.inodes = load_le32(s + EXT_INODES),
		.inodes_free = load_le32(s + EXT_FREE_INODES),
	};
	return true;
}

enum {
	XFS_BLOCK_BYTES = 4,
	XFS_BLOCKS = 8,
	XFS_LOG_START = 48,
	XFS_LOG_BLOCKS = 96,
	XFS_INODE_BYTES = 104,
	XFS_INODES_MAX_PERCENT = 127,
	XFS_INODES = 128,
	XFS_INODES_FREE = 136,
	XFS_BLOCKS_FREE = 144,
};
#define XFS_MIN_BLOCK_BYTES 512u
#define XFS_MAX_BLOCK_BYTES 65536u

/* xfs makes inodes as it needs them: their number is what the free space could still become. */
static uint64_t xfs_inode_limit(const uint8_t *s, const struct guest_usage *u, uint64_t existing)
{
	uint64_t per_block = u->block_bytes / MAX(load_be16(s + XFS_INODE_BYTES), 256);
	uint64_t limit = existing + u->blocks_free * per_block;
	uint8_t percent = s[XFS_INODES_MAX_PERCENT];
	return percent ? MIN(limit, u->blocks / 100 * percent * per_block) : limit;
}

static bool read_xfs(const uint8_t probe[PROBE_BYTES], struct guest_usage *out)
{
	uint32_t block_bytes = load_be32(probe + XFS_BLOCK_BYTES);
	if (memcmp(probe, "XFSB", 4) != 0 || block_bytes < XFS_MIN_BLOCK_BYTES || block_bytes > XFS_MAX_BLOCK_BYTES)
		return false;
	uint64_t blocks = load_be64(probe + XFS_BLOCKS);
	uint64_t log_blocks = load_be64(probe + XFS_LOG_START) ? load_be32(probe + XFS_LOG_BLOCKS) : 0;
	struct guest_usage u = {
		.block_bytes = block_bytes,
		.blocks = blocks - MIN(blocks, log_blocks),
		.blocks_free = load_be64(probe + XFS_BLOCKS_FREE),
	};
	uint64_t existing = load_be64(probe + XFS_INODES);
	uint64_t existing_free = load_be64(probe + XFS_INODES_FREE);
	u.inodes = xfs_inode_limit(probe, &u, existing);
	u.inodes_free = u.inodes - MIN(u.inodes, existing - MIN(existing, existing_free));
	*out = u;
	return true;
}

/* Where the file system starts: partition 1 of a GPT, else the disk itself. */
static int find_start(struct pl_disk *disk, uint64_t size_bytes, uint64_t *start_bytes)
{
	uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES];
	struct lay_partition part;
	*start_bytes = 0;
	if (size_bytes < sizeof(primary))
		return 0;
	int r = pl_read(disk, primary, sizeof(primary), 0);
	if (r == 0 && lay_gpt_decode(primary, size_bytes / SECTOR_BYTES, &part) == LAY_GPT_OK)
		*start_bytes = part.first_sector * SECTOR_BYTES;
	return r;
}

static int probe_disk(struct pl_disk *disk, void *arg)
{
	struct guest_usage *out = arg;
	struct pl_disk_info info;
	pl_disk_get_info(disk, &info);
	uint64_t start;
	int r = find_start(disk, info.size_bytes, &start);
	if (r < 0)
		return r;
	uint8_t probe[PROBE_BYTES];
	if (info.size_bytes - start >= sizeof(probe)) {
		r = pl_read(disk, probe, sizeof(probe), start);
		if (r < 0)
			return r;
		if (read_ext(probe, out) || read_xfs(probe, out))
			return 0;
	}
	return pl_fail(-EMEDIUMTYPE, "there is neither ext2, ext3, ext4 nor xfs in it");
}

int guest_usage_from_disk(const struct pl_chain_spec *chain, struct guest_usage *out)
{
	return with_disk(chain, WITH_DISK_PEEK, probe_disk, out);
}
