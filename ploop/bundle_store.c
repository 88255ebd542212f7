/* Replacing and creating a descriptor (D6).
 *
 *   step                          on disk                     a crash here leaves       repair
 *   lock the folder               old                         old                       -
 *   write NAME.tmp, fsync         old, part of the new        old and a stale .tmp      the next store removes it
 *   rename NAME.tmp to NAME       old or new, whole           old or new                -
 *   fsync the folder              new, durable                new                       -
 *
 * D8: on a full file system even a temporary file finds no block, and a disk could not be made smaller. So a descriptor
 * has some space behind its end, allocated and invisible, which is given up when there is no other. Who copies the file
 * copies it without, and the next store brings it back. */
#include "ploop/bundle.h"

#include "layout/header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define RESERVE_BYTES	    (64 << 10) /* a few small files, and blocks of their folder */
#define RESERVE_LEAST_BYTES 4096

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

static int put_in_place(int folder, const char *name, const char *text, size_t n, bool must_be_new)
{
	char temp[64];
	snprintf(temp, sizeof(temp), "%s.tmp", name);
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

int folder_replace_file(int folder, const char *name, const char *text, size_t n)
{
	return put_in_place(folder, name, text, n, false);
}

/* What we write must be readable by us: a name that is no UTF-8 ends here rather than at the next open. */
static int serialise(const struct lay_desc *desc, const char *path, char **text, size_t *n)
{
	autodesc struct lay_desc again = {0};
	struct lay_desc_why why;
	int r = lay_desc_write(desc, text, n);
	if (r)
		return pl_fail(r, "%s: no memory to write " LAY_DESC_NAME, path);
	r = lay_desc_parse(*text, *n, &again, &why);
	return r ? pl_fail(-EINVAL, "%s: the new " LAY_DESC_NAME " would be refused: %s", path, why.text) : 0;
}

static int open_folder(int folder_fd, const char *path)
{
	int folder = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* O_PATH cannot be synced or locked */
	return folder < 0 ? pl_fail(-errno, "open %s: %s", path, strerror(errno)) : folder;
}

int bundle_lock(int folder_fd, const char *path)
{
	autofd int folder = open_folder(folder_fd, path);
	if (folder < 0)
		return folder;
	if (flock(folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) /* elsewhere (NFS) folders have no locks */
		return pl_fail(-EBUSY, "another operation is running on %s", path);
	return fd_steal(&folder);
}

int bundle_store(int folder_fd, const char *path, struct lay_desc *desc, enum bundle_store_how how)
{
	autofree char *text = NULL;
	struct lay_desc_why why;
	size_t n = 0;
	int r = lay_desc_settle_top(desc, &why);
	if (r)
		return pl_fail(r, "%s: %s", path, why.text);
	r = serialise(desc, path, &text, &n);
	if (r)
		return r;

	autofd int folder = how == BUNDLE_REPLACE_LOCKED ? open_folder(folder_fd, path) : bundle_lock(folder_fd, path);
	if (folder < 0)
		return folder;
	r = put_in_place(folder, LAY_DESC_NAME, text, n, how == BUNDLE_CREATE);
	return r ? pl_fail(r, "%s: write " LAY_DESC_NAME ": %s", path, strerror(-r)) : 0;
}

static int fill_new(struct lay_desc *d, const char *dir, const char *image_name, enum pl_image_mode mode,
		    uint32_t cluster_sectors, uint64_t size_sectors)
{
	struct lay_chs chs = lay_chs_compute(size_sectors);
	d->size_sectors = size_sectors;
	d->cylinders = chs.cylinders;
	d->heads = chs.heads;
	d->cluster_sectors = cluster_sectors;
	d->mode = mode == PL_MODE_RAW		 ? LAY_DESC_RAW
		  : mode == PL_MODE_PREALLOCATED ? LAY_DESC_PREALLOCATED
						 : LAY_DESC_EXPANDED;
	d->top = lay_guid_top;
	d->nodes = calloc(1, sizeof(*d->nodes));
	if (!d->nodes)
		return pl_fail(-ENOMEM, "%s: no memory", dir);
	d->count = 1;
	d->nodes[0].guid = lay_guid_top;
	d->nodes[0].parent = lay_guid_none;
	int r = bundle_name_below(dir, image_name, &d->nodes[0].file);
	if (r == -EXDEV)
		return pl_fail(-EINVAL, "%s: the image %s lies outside the folder of the disk", dir, image_name);
	return r;
}

int pl_bundle_create(const char *dir, const char *image_name, enum pl_image_mode mode, uint32_t cluster_sectors,
		     uint64_t size_sectors)
{
	autodesc struct lay_desc d = {0};
	autofree char *real = realpath(dir, NULL);
	if (!real)
		return pl_fail(-errno, "open %s: %s", dir, strerror(errno));
	autofd int folder = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return pl_fail(-errno, "open %s: %s", real, strerror(errno));
	int r = fill_new(&d, real, image_name, mode, cluster_sectors, size_sectors);
	return r ? r : bundle_store(folder, real, &d, BUNDLE_CREATE);
}
