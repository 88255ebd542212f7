/* Making a new image file.
 *
 *   expanded       header clusters, nothing else
 *   preallocated   header clusters, every BAT entry set, every data cluster reserved and reading as zeros
 *   raw            the disk itself: zeros that take space, or a hole
 *
 * The file is durable before its name is: a crash leaves no file, or a whole one, or (the name was already written
 * back) one without a signature that nobody can take for an image. */
#include "ploop.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "layout/header.h"
#include "ploop/finding.h"
#include "ploop/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define CHUNK_BYTES MIB

static int fail_for_space(int fd, const char *path, uint64_t need_bytes, int err)
{
	struct statvfs fs;
	if (err == -ENOSPC && fstatvfs(fd, &fs) == 0)
		return pl_fail(err, "create %s: it needs %" PRIu64 " bytes, the file system has %" PRIu64, path,
			       need_bytes, (uint64_t)fs.f_bavail * fs.f_frsize);
	return pl_fail(err, "create %s: %" PRIu64 " bytes: %s", path, need_bytes, strerror(-err));
}

static int set_length(int fd, const char *path, uint64_t bytes)
{
	return ftruncate(fd, (off_t)bytes) ? fail_for_space(fd, path, bytes, -errno) : 0;
}

static int write_zeros(int fd, const char *path, uint64_t bytes)
{
	autofree void *zeros = calloc(1, CHUNK_BYTES);
	if (!zeros)
		return pl_fail(-ENOMEM, "create %s: out of memory", path);
	for (uint64_t at = 0; at < bytes; at += CHUNK_BYTES) {
		int r = file_write(fd, zeros, (size_t)MIN(CHUNK_BYTES, bytes - at), at, path);
		if (r)
			return r;
	}
	return 0;
}

/* Give the empty file @bytes of zeros that have their space. A file system that cannot reserve gets zeros written up to
 * @written_bytes, where space is worth that much, and a hole behind. */
static int reserve(int fd, const char *path, uint64_t bytes, uint64_t written_bytes)
{
	int r;
	do
		r = fallocate(fd, 0, 0, (off_t)bytes) ? -errno : 0;
	while (r == -EINTR);
	if (r != -EOPNOTSUPP)
		return r ? fail_for_space(fd, path, bytes, r) : 0;
	r = write_zeros(fd, path, written_bytes);
	return r ? r : set_length(fd, path, bytes);
}

/* Every guest cluster gets the cluster of the data area that has its number. */
static int fill_bat(int fd, const char *path, const struct lay_header *h)
{
	autofree uint8_t *chunk = malloc(CHUNK_BYTES);
	if (!chunk)
		return pl_fail(-ENOMEM, "create %s: out of memory", path);
	uint32_t per_chunk = CHUNK_BYTES / LAY_BAT_SLOT_BYTES, clusters = lay_guest_clusters(h);
	for (uint64_t first = 0; first < clusters; first += per_chunk) {
		uint32_t n = (uint32_t)MIN(per_chunk, clusters - first);
		for (uint32_t i = 0; i < n; i++) {
			struct fclu f = {lay_header_clusters(h) + (uint32_t)first + i};
			store_le32(chunk + (size_t)i * LAY_BAT_SLOT_BYTES, lay_slot_from_cluster(h, f));
		}
		int r = file_write(fd, chunk, (size_t)n * LAY_BAT_SLOT_BYTES, lay_slot_offset_bytes((uint32_t)first),
				   path);
		if (r)
			return r;
	}
	return 0;
}

static int write_image(int fd, const char *path, struct lay_header *h, bool preallocate)
{
	uint64_t header_bytes = (uint64_t)h->first_block_sectors * SECTOR_BYTES;
	uint64_t bytes = header_bytes + (preallocate ? h->size_sectors * SECTOR_BYTES : 0);
	int r = reserve(fd, path, bytes, header_bytes);
	if (!r && preallocate)
		r = fill_bat(fd, path, h);
	if (!r)
		r = file_sync(fd, path);
	if (r)
		return r;

	uint8_t header[LAY_HEADER_BYTES];
	h->flags = LAY_FLAG_EMPTY;
	lay_header_encode(h, header);
	return file_write(fd, header, sizeof(header), 0, path);
}

static int write_file(int fd, const char *path, struct lay_header *h, const struct pl_create_options *o)
{
	uint64_t disk_bytes = h->size_sectors * SECTOR_BYTES;
	int r;
	if (o->mode != PL_MODE_RAW)
		r = write_image(fd, path, h, o->mode == PL_MODE_PREALLOCATED);
	else if (o->sparse)
		r = set_length(fd, path, disk_bytes);
	else
		r = reserve(fd, path, disk_bytes, disk_bytes);
	return r ? r : file_sync(fd, path);
}

static int open_folder(const char *path)
{
	autofree char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int fail_option(enum lay_finding_id id, uint64_t value, uint64_t limit, const char *path)
{
	finding_fail(id, &(struct lay_fault){.value = value, .limit = limit}, path);
	return pl_wrap(-EINVAL, "create");
}

/* The header that the options ask for; of a raw disk only the rounded size counts. */
static int plan(const char *path, const struct pl_create_options *o, struct lay_header *h)
{
	uint32_t version = o->version, cluster = o->cluster_sectors;
	if (version != LAY_V1 && version != LAY_V2)
		return pl_fail(-EINVAL, "create %s: version %" PRIu32 ", it must be 1 or 2", path, version);
	if (!lay_cluster_is_valid(cluster))
		return fail_option(LAY_F_CLUSTER_SIZE, cluster, LAY_MAX_CLUSTER_SECTORS, path);
	if (o->size_sectors == 0)
		return fail_option(LAY_F_SIZE_ZERO, 0, 0, path);

	/* A size in the last, partial cluster of what can be addressed is rounded down instead of up. */
	uint64_t most = lay_max_size_sectors(cluster, version), size = o->size_sectors;
	if (size > most && size - most < cluster)
		size = most;
	if (lay_header_compute(size, cluster, version, h) != LAY_OK)
		return fail_option(LAY_F_SIZE_LIMIT, size, most, path);

	/* Version 1 counts sectors in its slots: all clusters together must stay below 2 TiB. */
	uint64_t end = h->first_block_sectors + h->size_sectors;
	if (o->mode == PL_MODE_PREALLOCATED && version == LAY_V1 && end > UINT32_MAX)
		return fail_option(LAY_F_SIZE_LIMIT, size, UINT32_MAX - h->first_block_sectors, path);
	return 0;
}

int pl_image_create(const char *path, const struct pl_create_options *options)
{
	struct pl_create_options o = {0};
	memcpy(&o, options, MIN(options->size, sizeof(o)));
	o.cluster_sectors = o.cluster_sectors ? o.cluster_sectors : LAY_DEFAULT_CLUSTER_SECTORS;
	o.version = o.version ? o.version : LAY_V2;

	struct lay_header h;
	int r = plan(path, &o, &h);
	if (r)
		return r;

	autofd int dir = open_folder(path);
	if (dir < 0)
		return pl_fail(dir, "create %s: open its folder: %s", path, strerror(-dir));
	autofd int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return pl_fail(-errno, "create %s: %s", path, strerror(errno));

	r = write_file(fd, path, &h, &o);
	if (!r)
		r = file_sync(dir, path);
	if (!r)
		return 0;
	unlink(path);
	return r;
}
