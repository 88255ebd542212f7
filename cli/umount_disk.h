/* What `ploop umount` does, for those who unmount on the way. */
#ifndef PLOOP_CLI_UMOUNT_DISK_H
#define PLOOP_CLI_UMOUNT_DISK_H

#include "cli/command.h"
#include "ploop-serve.h"

struct umount_args {
	const char *device, *mount_point, *component, *timeout;
	bool all, force, no_wait;
};

/* Unmount @d everywhere, remove its block device and let its server close the disk; while it is busy, try again for
 * @timeout_ms. What was done stays done when a later step fails. Returns 0 or an exit code. */
int umount_disk(struct pl_device *d, const struct umount_args *a, uint64_t timeout_ms);
/* All of them, as far as it can be done; those that stay are told. Returns 0 or an exit code. */
int umount_all(const struct umount_args *a, uint64_t timeout_ms);

#endif
