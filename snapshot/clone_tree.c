/* Folders with all that is in them. Names are taken one at a time and never followed, so that a symbolic link, or a
 * folder that somebody moves meanwhile, leads nowhere. */
#include "snapshot/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define MAX_DEPTH 16

static void close_dir(DIR *dir)
{
	closedir(dir);
}
DEFINE_AUTO(DIR *, dir, close_dir, NULL)
#define autodir __attribute__((cleanup(dir_autop)))

static DIR *list(int folder_fd, const char *name)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

/* The next entry that is not "." or ".."; NULL at the end, then errno tells. */
static const char *next_name(DIR *dir)
{
	struct dirent *entry;
	do {
		errno = 0;
		entry = readdir(dir);
	} while (entry && (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")));
	return entry ? entry->d_name : NULL;
}

/* ---- remove */

static int remove_depth(int parent_fd, const char *name, int depth)
{
	if (depth > MAX_DEPTH)
		return -ELOOP;
	autodir DIR *dir = list(parent_fd, name);
	if (!dir)
		return -errno;
	for (const char *entry; (entry = next_name(dir));) {
		int r = unlinkat(dirfd(dir), entry, 0) ? -errno : 0;
		if (r == -EISDIR || r == -EPERM)
			r = remove_depth(dirfd(dir), entry, depth + 1);
		if (r < 0)
			return r;
	}
	if (errno)
		return -errno;
	return unlinkat(parent_fd, name, AT_REMOVEDIR) ? -errno : 0;
}

int clone_tree_remove(int parent_fd, const char *name)
{
	return remove_depth(parent_fd, name, 0);
}

/* ---- measure */

static int measure_depth(int folder_fd, const char *path, uint64_t *bytes, int depth)
{
	struct stat st;
	if (depth > MAX_DEPTH)
		return pl_fail(-ELOOP, "%s: more than %d folders inside each other", path, MAX_DEPTH);
	autodir DIR *dir = list(folder_fd, ".");
	if (!dir)
		return pl_fail(-errno, "open %s: %s", path, strerror(errno));
	for (const char *entry; (entry = next_name(dir));) {
		if (fstatat(dirfd(dir), entry, &st, AT_SYMLINK_NOFOLLOW))
			return pl_fail(-errno, "stat %s/%s: %s", path, entry, strerror(errno));
		if (S_ISREG(st.st_mode)) {
			*bytes += (uint64_t)st.st_blocks * SECTOR_BYTES;
		} else if (S_ISDIR(st.st_mode)) {
			autofd int fd = openat(dirfd(dir), entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			int r = fd < 0 ? pl_fail(-errno, "open %s/%s: %s", path, entry, strerror(errno))
				       : measure_depth(fd, path, bytes, depth + 1);
			if (r < 0)
				return r;
		} else if (!S_ISLNK(st.st_mode)) {
			return pl_fail(-EOPNOTSUPP, "%s/%s is neither a file nor a folder, it cannot be moved", path,
				       entry);
		}
	}
	return errno ? pl_fail(-errno, "read %s: %s", path, strerror(errno)) : 0;
}

int clone_tree_measure(int folder_fd, const char *path, uint64_t *bytes)
{
	*bytes = 0;
	return measure_depth(folder_fd, path, bytes, 0);
}

/* ---- copy */

/* Owner before mode: changing it takes bits of the mode away. Only root may give files away; others keep them. */
static int copy_attributes(int fd, const struct stat *st, const char *path)
{
	struct timespec times[2] = {st->st_atim, st->st_mtim};
	if (fchown(fd, st->st_uid, st->st_gid) && errno != EPERM && errno != EINVAL)
		return pl_fail(-errno, "chown of the copy of %s: %s", path, strerror(errno));
	if (fchmod(fd, st->st_mode & 07777) || futimens(fd, times))
		return pl_fail(-errno, "mode of the copy of %s: %s", path, strerror(errno));
	return 0;
}

static int copy_regular(int from_dir, int to_dir, const char *name, const char *path, struct clone_progress *progress)
{
	struct stat st;
	autofd int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (from < 0 || fstat(from, &st))
		return pl_fail(-errno, "open %s/%s: %s", path, name, strerror(errno));
	autofd int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return pl_fail(-errno, "create the copy of %s/%s: %s", path, name, strerror(errno));
	int r = clone_copy_file(from, to, name, progress);
	if (r == 0)
		r = copy_attributes(to, &st, name);
	return r < 0 ? r : file_sync(to, name);
}

static int copy_link(int from_dir, int to_dir, const char *name, const char *path)
{
	char text[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, text, sizeof(text) - 1);
	if (n < 0)
		return pl_fail(-errno, "read the link %s/%s: %s", path, name, strerror(errno));
	text[n] = '\0';
	if (symlinkat(text, to_dir, name))
		return pl_fail(-errno, "copy the link %s/%s: %s", path, name, strerror(errno));
	return 0;
}

static int copy_folder(int from_dir, int to_dir, const char *name, const char *path, struct clone_progress *progress)
{
	struct stat st;
	autofd int from = openat(from_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) || mkdirat(to_dir, name, 0700))
		return pl_fail(-errno, "copy %s/%s: %s", path, name, strerror(errno));
	autofd int to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to < 0)
		return pl_fail(-errno, "open the copy of %s/%s: %s", path, name, strerror(errno));
	int r = clone_tree_copy(from, to, path, progress);
	if (r == 0)
		r = copy_attributes(to, &st, name);
	return r < 0 ? r : file_sync(to, name);
}

int clone_tree_copy(int from, int to, const char *path, struct clone_progress *progress)
{
	struct stat st;
	autodir DIR *dir = list(from, ".");
	if (!dir)
		return pl_fail(-errno, "open %s: %s", path, strerror(errno));
	int r = 0;
	for (const char *entry; r == 0 && (entry = next_name(dir));) {
		if (fstatat(from, entry, &st, AT_SYMLINK_NOFOLLOW))
			return pl_fail(-errno, "stat %s/%s: %s", path, entry, strerror(errno));
		if (S_ISLNK(st.st_mode))
			r = copy_link(from, to, entry, path);
		else if (S_ISDIR(st.st_mode))
			r = copy_folder(from, to, entry, path, progress);
		else
			r = copy_regular(from, to, entry, path, progress);
	}
	return r == 0 && errno ? pl_fail(-errno, "read %s: %s", path, strerror(errno)) : r;
}
