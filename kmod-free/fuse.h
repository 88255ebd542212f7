/* A disk as files of a FUSE file system: `disk` is all of it, `part1` its first partition when there is one.
 *
 * No rights are needed beyond those to mount with fusermount3; as root a loop device on `disk` makes it a block device.
 * Everything runs on the loop and the thread of the disk. */
#ifndef PLOOP_FUSE_H
#define PLOOP_FUSE_H

#include "ploop.h"

#define FUSE_EXPORT_DISK "disk"
#define FUSE_EXPORT_PART "part1"

struct fuse_export_options {
	size_t size;
	const char *mount_point; /* an existing empty folder */
	uint64_t part_offset_bytes, part_length_bytes; /* of the first partition; length 0: no file part1 */
	bool allow_other; /* users other than this one may come in; without root needs user_allow_other */
	/* The file system went away by umount or abort; requests are finished. The callback may call
	 * fuse_export_stop(), which does not call it. */
	void (*unmounted)(void *arg);
	void *arg;
	/* Go on with what a predecessor that died left: its fuse_export_device() and fuse_export_greeting(), which
	 * stay the caller's. Requests it had not answered are asked for again. @takes_over false: mount. */
	bool takes_over;
	int device_fd, greeting_fd;
};

struct fuse_export;

/* Mount the file system and serve it from @loop. A read-only disk gives read-only files. @disk must outlive the export.
 * The files are there on return, and the kernel's first request, its greeting, is answered, for which the loop turns.
 * -EINVAL: the partition lies outside the disk · the errno of mount(2) or fusermount3. */
int fuse_export_start(struct pl_loop *loop, struct pl_disk *disk, const struct fuse_export_options *options,
		      struct fuse_export **out);

/* What a successor needs: the connection to the kernel, which ends when its last descriptor is closed, and memory with
 * what was agreed on it. Both are the export's. */
int fuse_export_device(const struct fuse_export *export);
int fuse_export_greeting(const struct fuse_export *export);
/* Does the kernel ask a successor again what was not answered? Linux 6.9 and later. */
bool fuse_export_can_resend(const struct fuse_export *export);

/* Read no more requests, and answer those under way by turning the loop. -ETIMEDOUT: not done at @deadline_ns, it
 * serves on. Thereafter fuse_export_stop() or fuse_export_leave(). */
int fuse_export_drain(struct fuse_export *export, uint64_t deadline_ns);
/* The end of our part only: the file system stays mounted, for a successor. Drained before. */
void fuse_export_leave(struct fuse_export *export);

/* Ask for the end: unmounted() follows when the kernel let go. -EBUSY: a file of it is open. */
int fuse_export_unmount(struct fuse_export *export);

/* The end, whoever still has files open: they get EIO from here on. Turns the loop until requests are finished. */
void fuse_export_stop(struct fuse_export *export);

#endif
