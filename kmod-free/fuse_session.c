/* Mounting, INIT, names and attributes: the one file that knows libfuse. */
#define FUSE_USE_VERSION 314
#include "kmod-free/fuse_export.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/invariant.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <spawn.h>
#include <time.h>
#include <unistd.h>

#define FOREVER_S 86400.0 /* sizes and names do not change while mounted */

extern char **environ;

static void on_init(void *arg, struct fuse_conn_info *conn)
{
	conn->max_write = FUSE_PAYLOAD_BYTES;
	conn->max_background = FUSE_SLOTS;
	conn->congestion_threshold = FUSE_SLOTS;
}

static bool attributes(const struct fuse_export *e, fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){.st_ino = ino, .st_uid = geteuid(), .st_gid = getegid()};
	if (ino == FUSE_INO_ROOT) {
		st->st_mode = S_IFDIR | 0500;
		st->st_nlink = 2;
		return true;
	}
	if (ino >= FUSE_INO_END || !e->files[ino].name)
		return false;
	st->st_mode = S_IFREG | (e->readonly ? 0400 : 0600);
	st->st_nlink = 1;
	st->st_size = (off_t)e->files[ino].length_bytes;
	st->st_blocks = st->st_size / SECTOR_BYTES;
	st->st_blksize = FUSE_PAGE_BYTES;
	return true;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct fuse_export *e = fuse_req_userdata(req);
	struct fuse_entry_param entry = {.attr_timeout = FOREVER_S, .entry_timeout = FOREVER_S};
	for (fuse_ino_t ino = FUSE_INO_DISK; parent == FUSE_INO_ROOT && ino < FUSE_INO_END; ino++)
		if (e->files[ino].name && strcmp(e->files[ino].name, name) == 0)
			entry.ino = ino;
	if (entry.ino == 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(e, entry.ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	if (attributes(fuse_req_userdata(req), ino, &st))
		fuse_reply_attr(req, &st, FOREVER_S);
	else
		fuse_reply_err(req, ENOENT);
}

/* Programs set times and truncate to the size a file has anyway; nothing is kept, a change of size is refused. */
static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct stat st;
	if (!attributes(fuse_req_userdata(req), ino, &st))
		fuse_reply_err(req, ENOENT);
	else if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size != st.st_size)
		fuse_reply_err(req, EPERM);
	else if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		fuse_reply_err(req, EPERM);
	else
		fuse_reply_attr(req, &st, FOREVER_S);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	const struct fuse_export *e = fuse_req_userdata(req);
	char text[512];
	size_t used = 0;
	/* The position after an entry is its inode: the folder itself stands for "." at 1. */
	for (fuse_ino_t i = (fuse_ino_t)offset + 1; i < FUSE_INO_END; i++) {
		struct stat st;
		if (!attributes(e, i, &st))
			continue;
		const char *name = i == FUSE_INO_ROOT ? "." : e->files[i].name;
		size_t bytes = fuse_add_direntry(req, text + used, MIN(size, sizeof(text)) - used, name, &st, (off_t)i);
		if (bytes > MIN(size, sizeof(text)) - used)
			break;
		used += bytes;
	}
	fuse_reply_buf(req, text, used);
}

/* The loop driver takes its discard granularity from the block size here. */
static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct fuse_export *e = fuse_req_userdata(req);
	struct statvfs st = {
		.f_bsize = FUSE_PAGE_BYTES,
		.f_frsize = FUSE_PAGE_BYTES,
		.f_blocks = e->files[FUSE_INO_DISK].length_bytes / FUSE_PAGE_BYTES,
		.f_files = FUSE_INO_END - 1,
		.f_namemax = 255,
	};
	fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.readdir = on_readdir,
	.statfs = on_statfs,
};

static void on_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[256];
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	if (n > 0 && (size_t)n < sizeof(text) && text[n - 1] == '\n')
		text[n - 1] = '\0';
	pl_log(level <= FUSE_LOG_ERR ? PL_LOG_ERROR : PL_LOG_DEBUG, "fuse", "libfuse: %s", text);
}

static int new_session(struct fuse_export *e, const struct fuse_export_options *o)
{
	char mount_options[128];
	snprintf(mount_options, sizeof(mount_options), "fsname=ploop,subtype=ploop,default_permissions%s%s",
		 e->readonly ? ",ro" : "", o->allow_other ? ",allow_other" : "");
	char *argv[] = {"ploop", "-o", mount_options, NULL};
	fuse_set_log_func(on_log);
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	e->session = fuse_session_new(&args, &operations, sizeof(operations), e);
	fuse_opt_free_args(&args);
	return e->session ? 0 : pl_fail(-EINVAL, "libfuse refused the mount options %s", mount_options);
}

int fuse_files_mount(struct fuse_export *e, const struct fuse_export_options *o)
{
	int r = new_session(e, o);
	if (r < 0)
		return r;
	errno = 0;
	if (fuse_session_mount(e->session, e->mount_point) != 0) {
		int err = errno ? errno : EPERM;
		fuse_session_destroy(e->session);
		return pl_fail(-err, "cannot mount FUSE at %s: %s", e->mount_point, strerror(err));
	}
	e->fd = fuse_session_fd(e->session);
	int flags = fcntl(e->fd, F_GETFL);
	invariant(flags >= 0 && fcntl(e->fd, F_SETFL, flags | O_NONBLOCK) == 0);
	return 0;
}

/* What goes through libfuse to the kernel, once we have a predecessor's connection. */
static ssize_t send_reply(int fd, struct iovec *iov, int count, void *arg)
{
	const struct fuse_export *e = arg;
	ssize_t bytes = 0;
	for (int i = 0; i < count; i++)
		bytes += (ssize_t)iov[i].iov_len;
	return e->replaying ? bytes : writev(fd, iov, count);
}

/* fuse.c reads the requests. */
static ssize_t receive_nothing(int fd, void *buf, size_t bytes, void *arg)
{
	return -1;
}

int fuse_files_take_over(struct fuse_export *e, const struct fuse_export_options *o)
{
	static const struct fuse_custom_io io = {.writev = send_reply, .read = receive_nothing};
	autofd int fd = fcntl(o->device_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return pl_fail(-errno, "/dev/fuse of a dead server: %s", strerror(errno));
	int r = new_session(e, o);
	if (r < 0)
		return r;
	r = fuse_session_custom_io(e->session, &io, fd);
	if (r != 0) {
		fuse_session_destroy(e->session);
		return pl_fail(-ENOMEM, "libfuse refused the connection of a dead server");
	}
	e->fd = fd_steal(&fd); /* the session's */
	return 0;
}

/* @how: "-u" now or not at all; "-uz" from the tree now, and for good when nothing uses it. */
static int run_fusermount(const char *mount_point, const char *how)
{
	char *argv[] = {"fusermount3", (char *)how, "-q", "--", (char *)mount_point, NULL};
	pid_t pid;
	int r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (r != 0)
		return pl_fail(-r, "cannot start fusermount3: %s", strerror(r));
	if (child_wait(pid) != 0)
		return pl_fail(-EBUSY, "%s cannot be unmounted: a file in it is open", mount_point);
	return 0;
}

int fuse_files_unmount(struct fuse_export *e)
{
	if (geteuid() != 0)
		return run_fusermount(e->mount_point, "-u");
	if (umount2(e->mount_point, UMOUNT_NOFOLLOW) != 0)
		return pl_fail(-errno, "cannot unmount %s: %s", e->mount_point, strerror(errno));
	return 0;
}

/* libfuse unmounts what it mounted. */
void fuse_files_close(struct fuse_export *e)
{
	if (!e->taken_over)
		fuse_session_unmount(e->session);
	else if (!e->gone && geteuid() == 0)
		umount2(e->mount_point, UMOUNT_NOFOLLOW | MNT_DETACH);
	else if (!e->gone)
		run_fusermount(e->mount_point, "-uz");
	fuse_session_destroy(e->session);
}

/* libfuse gives back all of a session with the mount only, which a successor goes on with: the rest ends with us. */
void fuse_files_leave(struct fuse_export *e)
{
	static struct fuse_session *volatile left; /* seen by nobody but a leak checker */
	left = e->session;
	close(fuse_session_fd(left));
}

void fuse_files_serve(struct fuse_export *e, const void *request, size_t bytes)
{
	/* libfuse only reads from it. */
	struct fuse_buf buf = {.size = bytes, .mem = (void *)request, .fd = -1};
	fuse_session_process_buf(e->session, &buf);
}
