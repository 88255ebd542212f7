/* Opening an image file for bytes, without being led elsewhere or hung by what lies there (D9).
 *
 * A file beneath a bundle's folder is reached without a symlink, a ".." or a magic link, and must be a regular file.
 * A file that the operator named is opened as it is and may also be a block device. */
#include "ploop/image_fd.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

/* What openat2() with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS does, one component at a time. */
static int open_by_components(int dir_fd, const char *name, int flags)
{
	autofd int dir = -1;
	int at = dir_fd;

	if (*name == '/')
		return -EXDEV;
	for (;;) {
		char part[NAME_MAX + 1];
		size_t n = strcspn(name, "/");
		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(part, name, n);
		part[n] = '\0';
		if (!strcmp(part, ".."))
			return -EXDEV;
		name += n + strspn(name + n, "/");
		bool last = *name == '\0';

		struct stat st; /* for a better answer than ENOTDIR; what protects is O_NOFOLLOW */
		if (!fstatat(at, part, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode))
			return -ELOOP;
		int fd = openat(at, part, (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (last)
			return fd;
		fd_autop(&dir);
		at = dir = fd;
	}
}

static int open_beneath(int dir_fd, const char *name, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	if (fd >= 0)
		return (int)fd;
	/* EPERM: what older seccomp profiles answer for a call they do not know */
	return errno == ENOSYS || errno == EPERM ? open_by_components(dir_fd, name, flags) : -errno;
}

static int open_ref(const struct pl_image_ref *ref, int flags)
{
	if (ref->dir_fd >= 0)
		return open_beneath(ref->dir_fd, ref->name, flags);
	int fd = open(ref->path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int refuse_open(const struct pl_image_ref *ref, int err)
{
	switch (err) {
	case -EXDEV:
		return pl_fail(err, "open %s: the path leaves the folder of the disk", ref->path);
	case -ELOOP:
		return pl_fail(err, "open %s: the path goes through a symbolic link", ref->path);
	default:
		return pl_fail(err, "open %s: %s", ref->path, strerror(-err));
	}
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFBLK:
		return "a block device";
	case S_IFCHR:
		return "a character device";
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	default:
		return "a socket";
	}
}

static int judge_type(const struct pl_image_ref *ref, int fd, struct stat *st)
{
	if (fstat(fd, st))
		return pl_fail(-errno, "stat %s: %s", ref->path, strerror(errno));
	if (S_ISREG(st->st_mode) || (ref->dir_fd < 0 && S_ISBLK(st->st_mode)))
		return 0;
	return pl_fail(S_ISDIR(st->st_mode) ? -EISDIR : -EMEDIUMTYPE, "open %s: it is %s, not a regular file",
		       ref->path, kind_of(st->st_mode));
}

int image_look(const struct pl_image_ref *ref, struct stat *st)
{
	autofd int fd = open_ref(ref, O_PATH);
	return fd < 0 ? refuse_open(ref, fd) : judge_type(ref, fd, st);
}

int pl_image_open_fd(const struct pl_image_ref *ref, int flags)
{
	struct stat st;
	int r = image_look(ref, &st); /* before opening: opening a device can already act on it */
	if (r)
		return r;

	/* The name may have been given to another file since, so nothing here may wait, and the type is judged again.
	 */
	autofd int fd = open_ref(ref, flags | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return refuse_open(ref, fd);
	r = judge_type(ref, fd, &st);
	if (r)
		return r;

	/* io_uring would answer -EAGAIN instead of waiting for the disk. */
	int now = fcntl(fd, F_GETFL);
	if (now < 0 || fcntl(fd, F_SETFL, now & ~O_NONBLOCK))
		return pl_fail(-errno, "open %s: clear O_NONBLOCK: %s", ref->path, strerror(errno));
	return fd_steal(&fd);
}
