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
};

struct fuse_export;

/* Mount the file system and serve it from @loop. A read-only disk gives read-only files. @disk must outlive the export.
 * The files are there on return; the kernel's first request is answered once the loop turns.
 * -EINVAL: the partition lies outside the disk · the errno of mount(2) or fusermount3. */
int fuse_export_start(struct pl_loop *loop, struct pl_disk *disk, const struct fuse_export_options *options,
		      struct fuse_export **out);

/* Ask for the end: unmounted() follows when the kernel let go. -EBUSY: a file of it is open. */
int fuse_export_unmount(struct fuse_export *export);

/* The end, whoever still has files open: they get EIO from here on. Turns the loop until requests are finished. */
void fuse_export_stop(struct fuse_export *export);

#endif
