/* Copying a file: shared blocks where the file system can, else in pieces, in the kernel, else through a buffer. */
#include "snapshot/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define PIECE_BYTES  (16 * MIB)
#define BUFFER_BYTES MIB

int clone_progress_add(struct clone_progress *p, uint64_t bytes)
{
	if (!p->to)
		return 0;
	p->done_bytes += bytes;
	if (p->to->step)
		p->to->step(p->to->arg, MIN(p->done_bytes, p->total_bytes), p->total_bytes);
	if (p->to->cancelled && p->to->cancelled(p->to->arg))
		return pl_fail(-ECANCELED, "cancelled after %" PRIu64 " of %" PRIu64 " bytes", p->done_bytes,
			       p->total_bytes);
	return 0;
}

static int copy_by_buffer(int from, int to, uint64_t offset, uint64_t bytes)
{
	autofree uint8_t *buffer = malloc(BUFFER_BYTES);
	if (!buffer)
		return -ENOMEM;
	while (bytes > 0) {
		ssize_t n = pread(from, buffer, (size_t)MIN(bytes, BUFFER_BYTES), (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* it was cut meanwhile */
			return n < 0 ? -errno : 0;
		for (ssize_t put = 0; put < n;) {
			ssize_t m = pwrite(to, buffer + put, (size_t)(n - put), (off_t)offset + put);
			if (m < 0 && errno != EINTR)
				return -errno;
			put += MAX(m, 0);
		}
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int copy_piece(int from, int to, uint64_t offset, uint64_t bytes)
{
	while (bytes > 0) {
		loff_t in = (loff_t)offset, out = (loff_t)offset;
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
			return -errno;
		if (n <= 0) /* not between these file systems; some say so with 0 bytes */
			return copy_by_buffer(from, to, offset, bytes);
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* [*@begin, *@end): the next data of the file from *@end on; false: there is none. */
static bool next_data(int fd, uint64_t size, uint64_t *begin, uint64_t *end)
{
	off_t data = lseek(fd, (off_t)*end, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return false;
	*begin = data < 0 ? *end : (uint64_t)data; /* the file system knows no holes */
	off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	*end = hole < 0 ? size : MIN((uint64_t)hole, size);
	return *begin < *end;
}

static int copy_data(int from, int to, uint64_t size, const char *path, struct clone_progress *progress)
{
	for (uint64_t begin = 0, end = 0; end < size && next_data(from, size, &begin, &end);) {
		for (uint64_t at = begin; at < end; at += PIECE_BYTES) {
			uint64_t bytes = MIN(end - at, PIECE_BYTES);
			int r = copy_piece(from, to, at, bytes);
			if (r < 0)
				return pl_fail(r, "copy %s: at byte %" PRIu64 ": %s", path, at, strerror(-r));
			r = clone_progress_add(progress, bytes);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* The length; and all of the space if the original has all of it, so that a preallocated image stays one. */
static int set_length(int to, const struct stat *st, const char *path)
{
	bool full = (uint64_t)st->st_blocks * SECTOR_BYTES >= (uint64_t)st->st_size;
	int r = ftruncate(to, st->st_size) ? -errno : 0;
	if (r == 0 && full && st->st_size > 0 && fallocate(to, 0, 0, st->st_size))
		r = errno == EOPNOTSUPP || errno == EINTR ? 0 : -errno;
	return r < 0 ? pl_fail(r, "copy %s: %" PRIu64 " bytes: %s", path, (uint64_t)st->st_size, strerror(-r)) : 0;
}

int clone_copy_file(int from, int to, const char *path, struct clone_progress *progress)
{
	struct stat st;
	if (fstat(from, &st))
		return pl_fail(-errno, "stat %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return pl_fail(-EMEDIUMTYPE, "%s is not a regular file", path);
	if (ioctl(to, FICLONE, from) == 0)
		return clone_progress_add(progress, (uint64_t)st.st_blocks * SECTOR_BYTES);
	int r = set_length(to, &st, path);
	return r < 0 ? r : copy_data(from, to, (uint64_t)st.st_size, path, progress);
}
