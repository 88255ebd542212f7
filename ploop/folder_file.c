/* Putting a small file in place as a whole (D6): the descriptor, and what lies beside it.
 *
 *   step                          on disk                     a crash here leaves       repair
 *   write NAME.tmp, fsync         old, part of the new        old and a stale .tmp      the next store or sweep of the
 *                                                                                       folder removes it
 *   rename NAME.tmp to NAME       old or new, whole           old or new                -
 *   fsync the folder              new, durable                new                       -
 *
 * D8: on a full file system even a temporary file finds no block, and a disk could not be made smaller. So a descriptor
 * has some space behind its end, allocated and invisible, which is given up when there is no other. Who copies the file
 * copies it without, and the next store brings it back.
 *
 * Apart from what writes descriptors, so that a server, which puts settings in place, does without libxml2. */
#include "ploop/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define RESERVE_BYTES	    (64 << 10) /* a few small files, and blocks of their folder */
#define RESERVE_LEAST_BYTES 4096
#define TEMP_NAME_BYTES	    64

static int write_all(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t put = write(fd, text, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		text += put;
		n -= (size_t)put;
	}
	return fsync(fd) ? -errno : 0;
}

/* As much as fits; there may be none to be had. */
static void take_reserve(int fd, size_t n)
{
	for (off_t bytes = RESERVE_BYTES; bytes >= RESERVE_LEAST_BYTES; bytes /= 2)
		if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)n, bytes) == 0)
			return;
}

/* Cutting a file where it ends frees what lies behind. */
static void give_reserve(int folder)
{
	struct stat st;
	autofd int fd = openat(folder, LAY_DESC_NAME, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fd, st.st_size) == 0)
		fsync(fd);
}

/* Durable content under the temporary name. @keeps: with a reserve behind it. */
static int write_temp(int folder, const char *temp, const char *text, size_t n, bool keeps)
{
	if (unlinkat(folder, temp, 0) && errno != ENOENT) /* of a crash, or a trap: never opened */
		return -errno;
	autofd int fd = openat(folder, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	int r = write_all(fd, text, n);
	if (!r && keeps)
		take_reserve(fd, n);
	if (close(fd_steal(&fd)) && !r)
		r = -errno;
	return r;
}

/* Those who store hold the folder's lock, so looking first is enough where the file system cannot refuse by itself. */
static int rename_new(int folder, const char *temp, const char *name)
{
	struct stat st;
	if (!renameat2(folder, temp, folder, name, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (!fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
		return -EEXIST;
	return renameat(folder, temp, folder, name) ? -errno : 0;
}

static void temp_name(const char *name, char temp[TEMP_NAME_BYTES])
{
	snprintf(temp, TEMP_NAME_BYTES, "%s.tmp", name);
}

void folder_drop_temp(int folder, const char *name)
{
	char temp[TEMP_NAME_BYTES];
	temp_name(name, temp);
	unlinkat(folder, temp, 0);
}

int folder_put_file(int folder, const char *name, const char *text, size_t n, bool must_be_new)
{
	char temp[TEMP_NAME_BYTES];
	temp_name(name, temp);
	bool keeps = strcmp(name, LAY_DESC_NAME) == 0; /* one for all: the others shall not use it up */
	int r = write_temp(folder, temp, text, n, keeps);
	if (r == -ENOSPC || r == -EDQUOT) {
		give_reserve(folder);
		r = write_temp(folder, temp, text, n, keeps);
	}
	if (!r && must_be_new)
		r = rename_new(folder, temp, name);
	else if (!r && renameat(folder, temp, folder, name))
		r = -errno;
	if (r) {
		unlinkat(folder, temp, 0);
		return r;
	}
	return fsync(folder) ? -errno : 0;
}
