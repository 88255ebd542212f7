/* The folder of a new bundle.
 *
 *   step                              on disk                      a crash here leaves   repair
 *   make .NAME.part-XXXXXXXX, lock    an empty hidden folder       that                  the next clone or move to NAME
 *   fill it                           a hidden folder              that                  removes every .NAME.part-*
 *   fsync it                          the same, durable            that                  whose lock it gets
 *   rename it to NAME                 hidden, or the new bundle    one of the two        the same
 *   fsync the parent                  the new bundle, durable      that                  -
 */
#include "snapshot/clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#define PART_NAME_BYTES 200 /* of NAME: what the suffix leaves of NAME_MAX */
#define MAKE_TRIES	10

/* ---- judge */

static bool is_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);
	return !strncmp(path, folder, n) && (path[n] == '\0' || path[n] == '/' || folder[n - 1] == '/');
}

/* Nothing, or an empty folder, which the new one will replace. */
static int judge_absent(const struct clone_folder *f)
{
	struct stat st;
	if (fstatat(f->parent_fd, f->name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : pl_fail(-errno, "stat %s: %s", f->target, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return pl_fail(-EEXIST, "%s exists already", f->target);
	int fd = openat(f->parent_fd, f->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int r = -errno;
		if (fd >= 0)
			close(fd);
		return pl_fail(r, "open %s: %s", f->target, strerror(-r));
	}
	int entries = 0;
	while (entries <= 2 && readdir(dir))
		entries++;
	closedir(dir);
	return entries > 2 ? pl_fail(-EEXIST, "%s exists already and is not empty", f->target) : 0;
}

int clone_folder_name(struct clone_folder *f, const char *target)
{
	f->target = strdup(target);
	if (!f->target)
		return pl_fail(-ENOMEM, "%s: no memory", target);
	for (size_t n = strlen(f->target); n > 1 && f->target[n - 1] == '/';)
		f->target[--n] = '\0';
	const char *slash = strrchr(f->target, '/');
	autofree char *parent = slash ? strndup(f->target, MAX((size_t)(slash - f->target), (size_t)1)) : strdup(".");
	f->name = strdup(slash ? slash + 1 : f->target);
	if (!parent || !f->name)
		return pl_fail(-ENOMEM, "%s: no memory", target);
	if (!*f->name || !strcmp(f->name, ".") || !strcmp(f->name, ".."))
		return pl_fail(-EINVAL, "\"%s\" is not the name of a new folder", target);
	f->path = realpath(parent, NULL);
	if (!f->path)
		return pl_fail(-errno, "%s: its parent folder: %s", target, strerror(errno));
	f->parent_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return f->parent_fd < 0 ? pl_fail(-errno, "open %s: %s", f->path, strerror(errno)) : 0;
}

int clone_folder_judge(struct clone_folder *f, const char *target, const char *source_folder)
{
	int r = clone_folder_name(f, target);
	if (r < 0)
		return r;
	if (is_below(f->path, source_folder))
		return pl_fail(-EINVAL, "%s lies inside the folder of the disk, %s", target, source_folder);
	return judge_absent(f);
}

/* ---- make */

/* @out: ".NAME.part-" */
static void part_prefix(const struct clone_folder *f, char out[NAME_MAX + 1])
{
	snprintf(out, NAME_MAX + 1, ".%.*s.part-", PART_NAME_BYTES, f->name);
}

/* An abandoned folder is one whose lock is free: who fills one holds it. */
static void sweep_one(const struct clone_folder *f, const char *name)
{
	autofd int fd = openat(f->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return;
	int r = clone_tree_remove(f->parent_fd, name);
	pl_log(PL_LOG_INFO, "snap", "what an interrupted operation left was removed name=%s result=%d", name, r);
}

static void sweep(const struct clone_folder *f)
{
	char prefix[NAME_MAX + 1];
	part_prefix(f, prefix);
	int fd = openat(f->parent_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (struct dirent *entry; (entry = readdir(dir));)
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			sweep_one(f, entry->d_name);
	closedir(dir);
}

/* 1: somebody swept it away between making and locking it. */
static int make_once(struct clone_folder *f, const char *name)
{
	struct stat st;
	if (mkdirat(f->parent_fd, name, 0777))
		return errno == EEXIST ? 1 : pl_fail(-errno, "create %s: %s", f->target, strerror(errno));
	f->fd = openat(f->parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (f->fd < 0)
		return errno == ENOENT ? 1 : pl_fail(-errno, "create %s: %s", f->target, strerror(errno));
	if ((flock(f->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) || fstat(f->fd, &st) || st.st_nlink == 0) {
		close(fd_steal(&f->fd));
		return 1;
	}
	return 0;
}

int clone_folder_make(struct clone_folder *f)
{
	char prefix[NAME_MAX + 1];
	part_prefix(f, prefix);
	sweep(f);
	int r = 1;
	for (int i = 0; r == 1 && i < MAKE_TRIES; i++) {
		uint8_t random[16];
		char text[37];
		r = identity_random(random);
		if (r < 0)
			return r;
		identity_text(random, text);
		free(f->part);
		if (asprintf(&f->part, "%s%.8s", prefix, text) < 0) {
			f->part = NULL;
			return pl_fail(-ENOMEM, "create %s: no memory", f->target);
		}
		r = make_once(f, f->part);
	}
	if (r == 1)
		return pl_fail(-EBUSY, "create %s: another process removes what is made there", f->target);
	if (r < 0)
		return r;
	char *path;
	if (asprintf(&path, "%s/%s", f->path, f->part) < 0)
		return pl_fail(-ENOMEM, "create %s: no memory", f->target);
	free(f->path);
	f->path = path;
	return 0;
}

/* ---- end */

/* Written back, a file has its blocks; then one commit of the host's journal holds the inodes of all. */
static int sync_files(int *fds, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		sync_file_range(fds[i], 0, 0, SYNC_FILE_RANGE_WRITE);
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = file_sync(fds[i], names[i]);
	return r;
}

int clone_folder_sync(const struct clone_folder *f, const char *const *names, size_t count)
{
	autofree int *fds = calloc(count, sizeof(*fds));
	size_t opened = 0;
	int r = fds ? 0 : pl_fail(-ENOMEM, "%s: no memory", f->target);
	for (; r == 0 && opened < count; opened++) {
		fds[opened] = openat(f->fd, names[opened], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fds[opened] < 0) {
			r = pl_fail(-errno, "open %s/%s: %s", f->path, names[opened], strerror(errno));
			break;
		}
	}
	if (r == 0)
		r = sync_files(fds, names, count);
	while (opened > 0)
		close(fds[--opened]);
	return r;
}

int clone_folder_commit(struct clone_folder *f)
{
	if (fsync(f->fd))
		return pl_fail(-errno, "fsync %s: %s", f->path, strerror(errno));
	/* Replaces nothing but an empty folder; that is the kernel's check, without a gap. */
	if (renameat(f->parent_fd, f->part, f->parent_fd, f->name)) {
		int r = errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
		return pl_fail(r, "create %s: %s", f->target, strerror(-r));
	}
	close(fd_steal(&f->fd));
	snap_point("clone-shown");
	/* It is there. Should its name not be durable, a crash takes it away as a whole. */
	return fsync(f->parent_fd) ? pl_fail(-errno, "fsync the folder of %s: %s", f->target, strerror(errno)) : 0;
}

void clone_folder_close(struct clone_folder *f)
{
	if (f->fd >= 0) {
		clone_tree_remove(f->parent_fd, f->part);
		close(f->fd);
	}
	if (f->parent_fd >= 0)
		close(f->parent_fd);
	free(f->target);
	free(f->name);
	free(f->part);
	free(f->path);
	*f = (struct clone_folder)CLONE_FOLDER_NONE;
}
