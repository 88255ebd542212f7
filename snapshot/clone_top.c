/* The top of a linked clone, written as a file before anybody opens it as an image: header, a table of few entries, and
 * the clusters that hold the new identity.
 *
 *   | header, table: a hole but for what is set | cluster | cluster | …
 *
 * A cluster of the top hides the one below as a whole, so all of it is here; pages of zeros are holes of the file. */
#include "snapshot/clone.h"

#include "base/byteorder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define PAGE_BYTES  4096u
#define CHUNK_BYTES (256 * KIB)

struct top {
	int fd;
	const char *path;
	struct pl_disk *below;
	const struct identity *id;
	struct lay_header header;
	uint64_t size_bytes; /* of the disk */
	uint32_t clusters;   /* written so far */
	uint8_t *chunk;      /* CHUNK_BYTES */
};

/* What of the patches falls into [at, at + bytes) of the disk, which is in the chunk. */
static void apply_patches(struct top *t, uint64_t at, uint64_t bytes)
{
	for (size_t i = 0; i < t->id->count; i++) {
		const struct identity_patch *p = &t->id->patches[i];
		uint64_t begin = MAX(at, p->offset_bytes), end = MIN(at + bytes, p->offset_bytes + p->length_bytes);
		if (begin < end)
			memcpy(t->chunk + (begin - at), p->bytes + (begin - p->offset_bytes), end - begin);
	}
}

static int write_pages(struct top *t, uint64_t file_bytes, uint64_t bytes)
{
	static const uint8_t zeros[PAGE_BYTES];
	for (uint64_t at = 0, n; at < bytes; at += n) {
		for (n = 0; at + n < bytes && memcmp(t->chunk + at + n, zeros, MIN(PAGE_BYTES, bytes - at - n));)
			n += MIN(PAGE_BYTES, bytes - at - n);
		int r = n ? file_write(t->fd, t->chunk + at, n, file_bytes + at, t->path) : 0;
		if (r < 0)
			return r;
		n = n ? n : PAGE_BYTES;
	}
	return 0;
}

static int write_cluster(struct top *t, uint32_t guest)
{
	uint64_t cluster_bytes = lay_cluster_bytes(&t->header), from = guest * cluster_bytes;
	struct fclu f = {lay_header_clusters(&t->header) + t->clusters++};
	uint64_t bytes = MIN(cluster_bytes, t->size_bytes - from), n;
	for (uint64_t at = 0; at < bytes; at += n) {
		n = MIN(CHUNK_BYTES, bytes - at);
		int r = pl_read(t->below, t->chunk, n, from + at);
		if (r < 0)
			return r;
		apply_patches(t, from + at, n);
		r = write_pages(t, f.n * cluster_bytes + at, n);
		if (r < 0)
			return r;
	}
	uint8_t slot[LAY_BAT_SLOT_BYTES];
	store_le32(slot, lay_slot_from_cluster(&t->header, f));
	return file_write(t->fd, slot, sizeof(slot), lay_slot_offset_bytes(guest), t->path);
}

/* Patches are by offset, so a cluster that the next one touches too has just been written. */
static int write_clusters(struct top *t)
{
	uint64_t cluster_bytes = lay_cluster_bytes(&t->header), next = 0;
	for (size_t i = 0; t->id && i < t->id->count; i++) {
		const struct identity_patch *p = &t->id->patches[i];
		uint64_t last = (p->offset_bytes + p->length_bytes - 1) / cluster_bytes;
		for (uint64_t g = MAX(next, p->offset_bytes / cluster_bytes); g <= last; g++) {
			int r = write_cluster(t, (uint32_t)g);
			if (r < 0)
				return r;
			next = g + 1;
		}
	}
	return 0;
}

static int write_header(struct top *t)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	t->header.flags = t->clusters ? 0 : LAY_FLAG_EMPTY;
	lay_header_encode(&t->header, bytes);
	uint64_t clusters = (uint64_t)lay_header_clusters(&t->header) + t->clusters;
	if (ftruncate(t->fd, (off_t)(clusters * lay_cluster_bytes(&t->header))))
		return pl_fail(-errno, "%s: set its length: %s", t->path, strerror(errno));
	return file_write(t->fd, bytes, sizeof(bytes), 0, t->path);
}

int clone_top_write(int folder_fd, const char *name, const char *path, struct pl_disk *below, const struct identity *id)
{
	struct pl_disk_info info;
	pl_disk_get_info(below, &info);
	struct top t = {.fd = -1, .path = path, .below = below, .id = id, .size_bytes = info.size_bytes};
	uint64_t sectors = info.size_bytes / SECTOR_BYTES;
	uint32_t version = info.version ? info.version : LAY_V2;
	if (lay_header_compute(sectors, info.cluster_bytes / SECTOR_BYTES, version, &t.header) != LAY_OK)
		return pl_fail(-EINVAL, "%s: a disk of %llu sectors does not fit an image of version %u", path,
			       (unsigned long long)sectors, version);
	t.header.size_sectors = sectors; /* also one that is no multiple of a cluster, as all of the chain */

	autofree uint8_t *chunk = malloc(CHUNK_BYTES);
	autofd int fd = openat(folder_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (!chunk || fd < 0)
		return pl_fail(chunk ? -errno : -ENOMEM, "create %s: %s", path, strerror(chunk ? errno : ENOMEM));
	t.fd = fd;
	t.chunk = chunk;
	int r = write_clusters(&t);
	return r < 0 ? r : write_header(&t);
}
