/* Whole reads and writes of an image file, with sentences. */
#include "ploop/image_file.h"

#include "base/checked.h"
#include "base/units.h"
#include "ploop.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(int fd, void *buf, size_t length, uint64_t offset, const char *path)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = pread(fd, (char *)buf + done, length - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pl_fail(-errno, "read %s at %" PRIu64 ": %s", path, offset + done, strerror(errno));
		if (n == 0)
			return pl_fail(-EIO, "read %s at %" PRIu64 ": the file ends there", path, offset + done);
		done += (size_t)n;
	}
	return 0;
}

int file_write(int fd, const void *buf, size_t length, uint64_t offset, const char *path)
{
	size_t done = 0;
	while (done < length) {
		ssize_t n = pwrite(fd, (const char *)buf + done, length - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return pl_fail(-errno, "write %s at %" PRIu64 ": %s", path, offset + done, strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

int file_sync(int fd, const char *path)
{
	return fsync(fd) ? pl_fail(-errno, "fsync %s: %s", path, strerror(errno)) : 0;
}

int file_length(int fd, uint64_t *length_bytes, uint64_t *allocated_bytes, const char *path)
{
	struct stat st;
	if (fstat(fd, &st))
		return pl_fail(-errno, "stat %s: %s", path, strerror(errno));
	off_t end = st.st_size;
	if (S_ISBLK(st.st_mode) && (end = lseek(fd, 0, SEEK_END)) < 0)
		return pl_fail(-errno, "seek %s: %s", path, strerror(errno));
	*length_bytes = (uint64_t)end;
	*allocated_bytes = S_ISBLK(st.st_mode) ? (uint64_t)end : (uint64_t)st.st_blocks * SECTOR_BYTES;
	return 0;
}

enum lay_finding_id file_unfence(int fd, uint64_t file_bytes, const char *path, struct lay_header *h,
				 struct lay_fault *fault)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_journal journal;
	uint64_t at;
	*fault = (struct lay_fault){.value = h->ext_sectors};
	if (!checked_mul(h->ext_sectors, SECTOR_BYTES, &at) || !range_fits(at, sizeof(block), file_bytes) ||
	    file_read(fd, block, sizeof(block), at, path))
		return LAY_F_JOURNAL_HEAD;
	return lay_journal_head_decode(block, file_bytes, h, &journal, fault);
}
