/* The file system inside a running disk: find its type, check it, mount it, unmount it. */
#ifndef PLOOP_CLI_GUEST_MOUNT_H
#define PLOOP_CLI_GUEST_MOUNT_H

#include "ploop-serve.h"

#define GUEST_TYPE_BYTES 32
#define GUEST_DATA_BYTES 1024

/* What is on the block device @source: "ext4". -EMEDIUMTYPE: nothing that is known. */
int guest_type(const char *source, char type[GUEST_TYPE_BYTES]);

/* Check it with the fsck of its type and repair what that repairs unasked. -EUCLEAN: it needs a person. */
int guest_fsck(const char *source, const char *type);

/* The options a mount gets: those of the type, @user's (NULL: none), lazytime. -E2BIG. */
int guest_options(const char *type, bool readonly, bool quota, const char *user, char data[GUEST_DATA_BYTES]);

/* One more. -E2BIG. */
int guest_add_option(char data[GUEST_DATA_BYTES], const char *option, size_t bytes);

/* A read-only disk whose ext journal is not replayed, such as a snapshot of a mounted one, is mounted without it:
 * noload is added to @data then. @helper, if not NULL: umount(8) shall run umount.@helper for it. */
int guest_mount(const char *source, const char *mount_point, const char *type, char data[GUEST_DATA_BYTES],
		bool readonly, const char *helper);

/* Once. -EBUSY and all that umount(2) says; @lazily: it goes out of sight, and ends with its last user. */
int guest_unmount_now(const char *mount_point, bool lazily);
/* Unmount; while it is busy try again until @timeout_ms is over, then -EBUSY with the names of who holds it. */
int guest_unmount(const struct pl_device *device, const char *mount_point, uint64_t timeout_ms);

#endif
