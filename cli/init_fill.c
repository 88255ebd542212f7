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

/* Copy what is not zero from @fd to the disk at @to_bytes, in steps of a cluster, so that each is written once. */
static int copy_data(int fd, uint64_t bytes, struct pl_disk *disk, uint64_t to_bytes, uint64_t step_bytes)
{
	autofree void *buffer = NULL;
	if (posix_memalign(&buffer, COPY_BUFFER_ALIGN, step_bytes) != 0)
		return pl_fail(-ENOMEM, "no memory for a buffer of %llu bytes", (unsigned long long)step_bytes);
	uint64_t at = 0;
	while ((at = round_down_pow2(next_data(fd, at, bytes), step_bytes)) < bytes) {
		size_t length = MIN(step_bytes, bytes - at);
		int r = interrupt_check();
		if (r == 0)
			r = read_full(fd, buffer, length, at);
		if (r == 0 && !is_zero(buffer, length))
			r = pl_write(disk, buffer, length, to_bytes + at, 0);
		if (r < 0)
			return r;
		at += length;
		console_progress("Writing the file system", at, bytes);
		if (at == bytes)
			break;
	}
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
	const struct fill_options *options;
	struct lay_partition partition;
	struct gpt_buffers gpt;
	int fd; /* the file system */
};

/* In the order of the disk, so that the image is in order, too. */
static int write_contents(struct pl_disk *disk, void *arg)
{
	const struct contents *c = arg;
	const struct fill_options *o = c->options;
	uint64_t secondary_at = o->size_sectors * SECTOR_BYTES - sizeof(c->gpt.secondary);
	int r = o->partition ? pl_write(disk, c->gpt.primary, sizeof(c->gpt.primary), 0, 0) : 0;
	if (r == 0)
		r = copy_data(c->fd, c->partition.sectors * SECTOR_BYTES, disk,
			      c->partition.first_sector * SECTOR_BYTES,
			      MIN(o->cluster_sectors * (uint64_t)SECTOR_BYTES, COPY_MAX_BYTES));
	if (r == 0 && o->partition)
		r = pl_write(disk, c->gpt.secondary, sizeof(c->gpt.secondary), secondary_at, 0);
	return r;
}

int fill_disk(const struct pl_chain_spec *chain, const struct fill_options *o)
{
	struct contents contents = {.options = o};
	int r = place(o, &contents.partition) ? 0 : fill_check(o);
	if (r == 0 && o->partition)
		r = build_partition_table(o->size_sectors, &contents.partition, &contents.gpt);
	if (r < 0)
		return r;
	autofd int fd = -1;
	r = make_in_temporary(chain->images[0].path, contents.partition.sectors * SECTOR_BYTES, &o->filesystem, &fd);
	if (r < 0)
		return r;
	contents.fd = fd;
	return with_disk(chain, 0, write_contents, &contents);
}
