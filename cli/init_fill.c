/* Steps: temporary file -> mkfs -> open the image -> GPT, then the data extents of the file -> close.
 * The temporary file loses its name right after mkfs, so that a crash leaves at most what mkfs was writing. */
#include "cli/init_fill.h"

#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/with_disk.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "layout/gpt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define COPY_MAX_BYTES (4 * MIB)
#define COPY_BUFFER_ALIGN 4096u

/* Where the file system goes. False: the disk is too small. */
static bool place(const struct fill_options *o, struct lay_partition *part)
{
	if (o->partition)
		return lay_gpt_place(o->size_sectors, o->cluster_sectors, part);
	*part = (struct lay_partition){0, o->size_sectors};
	return true;
}

int fill_check(const struct fill_options *o)
{
	struct lay_partition part;
	if (!place(o, &part))
		return pl_fail(-EINVAL,
			       "a disk of %llu sectors has no room for a partition: that takes more than two clusters "
			       "of %u sectors",
			       (unsigned long long)o->size_sectors, o->cluster_sectors);
	return 0;
}

/* @path gets the name, which the caller unlinks. */
static int create_temporary(const char *image_path, uint64_t bytes, char **path, int *out)
{
	autofree char *name = NULL;
	if (asprintf(&name, "%s.mkfs.XXXXXX", image_path) < 0) {
		name = NULL;
		return pl_fail(-ENOMEM, "no memory for a file name");
	}
	autofd int fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		return pl_fail(-errno, "create %s: %s", name, strerror(errno));
	if (ftruncate(fd, (off_t)bytes) < 0) {
		int err = -errno;
		unlink(name);
		return pl_fail(err, "%s: no sparse file of %llu bytes here: %s", name, (unsigned long long)bytes,
			       strerror(-err));
	}
	*path = mem_steal(&name);
	*out = fd_steal(&fd);
	return 0;
}

static int make_in_temporary(const char *image_path, uint64_t bytes, const struct filesystem_options *fs, int *out)
{
	autofree char *path = NULL;
	autofd int fd = -1;
	int r = create_temporary(image_path, bytes, &path, &fd);
	if (r < 0)
		return r;
	r = filesystem_make(path, bytes, fs);
	if (unlink(path) < 0 && r == 0)
		r = pl_fail(-errno, "unlink %s: %s", path, strerror(errno));
	if (r == 0)
		*out = fd_steal(&fd);
	return r;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static int read_full(int fd, uint8_t *buf, size_t length, uint64_t offset)
{
	size_t got = 0;
	while (got < length) {
		ssize_t n = pread(fd, buf + got, length - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return pl_fail(n < 0 ? -errno : -EIO, "read the new file system at %llu: %s",
				       (unsigned long long)(offset + got),
				       n < 0 ? strerror(errno) : "it became shorter");
		got += (size_t)n;
	}
	return 0;
}

/* The next byte at or after @from that may hold data; @end when there is none. */
static uint64_t next_data(int fd, uint64_t from, uint64_t end)
{
	off_t at = lseek(fd, (off_t)from, SEEK_DATA);
	if (at >= 0)
		return (uint64_t)at;
	return errno == ENXIO ? end : from; /* no SEEK_DATA here: read all */
}

/* What a walk over the new file system does with the pieces of it that are not zero. */
struct walk {
	int fd;
	uint64_t bytes;
	uint64_t cluster_bytes;
	struct pl_disk *disk; /* copy them there, at @to_bytes; NULL: only count */
	uint64_t to_bytes;
	uint64_t clusters; /* that have data */
	uint64_t counted;  /* 1 + the last cluster that was counted */
};

static int take_piece(struct walk *w, const void *piece, size_t length, uint64_t at)
{
	uint64_t cluster = at / w->cluster_bytes;
	w->clusters += w->counted != cluster + 1;
	w->counted = cluster + 1;
	return w->disk ? pl_write(w->disk, piece, length, w->to_bytes + at, 0) : 0;
}

/* In steps of a cluster, so that each is written once. */
static int walk_data(struct walk *w)
{
	uint64_t step = MIN(w->cluster_bytes, COPY_MAX_BYTES);
	autofree void *buffer = NULL;
	if (posix_memalign(&buffer, COPY_BUFFER_ALIGN, step) != 0)
		return pl_fail(-ENOMEM, "no memory for a buffer of %llu bytes", (unsigned long long)step);
	for (uint64_t at = 0; at < w->bytes; at += step) {
		at = round_down_pow2(next_data(w->fd, at, w->bytes), step);
		if (at >= w->bytes)
			break;
		size_t length = MIN(step, w->bytes - at);
		int r = interrupt_check();
		if (r == 0)
			r = read_full(w->fd, buffer, length, at);
		if (r == 0 && !is_zero(buffer, length))
			r = take_piece(w, buffer, length, at);
		if (r < 0)
			return r;
		if (w->disk)
			console_progress("Writing the file system", at + length, w->bytes);
	}
	return 0;
}

/* The engine waits for space rather than fail (D8). Here somebody waits for the answer: is there room for @bytes more
 * in the image? A file that will grow takes the blocks behind its end, where the host can do that, so that nobody
 * else does. */
static int reserve(const char *path, uint64_t bytes, bool will_grow)
{
	autofd int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;
	struct statvfs fs;
	if (fd < 0 || fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
	int err = EOPNOTSUPP;
	if (will_grow)
		err = fallocate(fd, FALLOC_FL_KEEP_SIZE, st.st_size, (off_t)bytes) < 0 ? errno : 0;
	if (err == EOPNOTSUPP || err == ENOSYS)
		err = bytes > room ? ENOSPC : 0;
	if (err)
		return pl_fail(-err, "%s: the file system needs %llu bytes, there are %llu: %s", path,
			       (unsigned long long)bytes, (unsigned long long)room, strerror(err));
	return 0;
}

static int random_guid(uint8_t guid[LAY_GPT_GUID_BYTES])
{
	if (getrandom(guid, LAY_GPT_GUID_BYTES, 0) != LAY_GPT_GUID_BYTES)
		return pl_fail(-EIO, "getrandom: %s", strerror(errno));
	guid[6] = (guid[6] & 0x0F) | 0x40; /* version 4 */
	guid[8] = (guid[8] & 0x3F) | 0x80;
	return 0;
}

struct gpt_buffers {
	uint8_t primary[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES];
	uint8_t secondary[LAY_GPT_SECONDARY_SECTORS * SECTOR_BYTES];
};

static int build_partition_table(uint64_t size_sectors, const struct lay_partition *part, struct gpt_buffers *gpt)
{
	uint8_t disk_guid[LAY_GPT_GUID_BYTES], part_guid[LAY_GPT_GUID_BYTES];
	int r = random_guid(disk_guid);
	if (r == 0)
		r = random_guid(part_guid);
	if (r == 0)
		lay_gpt_build(size_sectors, part, disk_guid, part_guid, gpt->primary, gpt->secondary);
	return r;
}

/* What write_contents() puts into the open disk. */
struct contents {
	uint64_t size_sectors;
	bool partition;
	struct gpt_buffers gpt;
	struct walk filesystem;
};

/* In the order of the disk, so that the image is in order, too. */
static int write_contents(struct pl_disk *disk, void *arg)
{
	struct contents *c = arg;
	uint64_t secondary_at = c->size_sectors * SECTOR_BYTES - sizeof(c->gpt.secondary);
	int r = c->partition ? pl_write(disk, c->gpt.primary, sizeof(c->gpt.primary), 0, 0) : 0;
	c->filesystem.disk = disk;
	if (r == 0)
		r = walk_data(&c->filesystem);
	if (r == 0 && c->partition)
		r = pl_write(disk, c->gpt.secondary, sizeof(c->gpt.secondary), secondary_at, 0);
	return r;
}

/* Space for every cluster that will be written, and for those of the partition table. */
static int reserve_contents(const struct pl_chain_spec *chain, struct contents *c)
{
	int r = walk_data(&c->filesystem);
	uint64_t bytes = (c->filesystem.clusters + 2) * c->filesystem.cluster_bytes;
	const struct pl_image_ref *image = &chain->images[0];
	struct stat st;
	if (r == 0 && stat(image->path, &st) < 0)
		r = pl_fail(-errno, "%s: %s", image->path, strerror(errno));
	if (r < 0)
		return r;
	bool has_its_space = (uint64_t)st.st_blocks >= c->size_sectors; /* raw with zeros, or preallocated */
	return has_its_space ? 0 : reserve(image->path, bytes, image->format == PL_FORMAT_PLOOP);
}

int fill_disk(const struct pl_chain_spec *chain, const struct fill_options *o)
{
	struct lay_partition part;
	struct contents contents = {.size_sectors = o->size_sectors, .partition = o->partition};
	int r = place(o, &part) ? 0 : fill_check(o);
	if (r == 0 && o->partition)
		r = build_partition_table(o->size_sectors, &part, &contents.gpt);
	if (r < 0)
		return r;
	autofd int fd = -1;
	r = make_in_temporary(chain->images[0].path, part.sectors * SECTOR_BYTES, &o->filesystem, &fd);
	if (r < 0)
		return r;
	contents.filesystem = (struct walk){
		.fd = fd,
		.bytes = part.sectors * SECTOR_BYTES,
		.to_bytes = part.first_sector * SECTOR_BYTES,
		.cluster_bytes = o->cluster_sectors * (uint64_t)SECTOR_BYTES,
	};
	r = reserve_contents(chain, &contents);
	return r < 0 ? r : with_disk(chain, 0, write_contents, &contents);
}
