/* Freeze the file system of a running disk for a moment, so that a snapshot holds it as after an unmount.
 *
 * A child process of ours does it and thaws when we are gone, however we go, and when we take longer than
 * FREEZE_LIMIT_MS: no file system stays frozen. While it is frozen nothing may be printed: stdout may lie on it.
 */
#ifndef PLOOP_CLI_FREEZE_H
#define PLOOP_CLI_FREEZE_H

#include "ploop.h"

#include <sys/types.h>

#define FREEZE_LIMIT_MS 30000

struct freeze {
	int mount_fd; /* the mount point */
	int guard_fd; /* to the child */
	pid_t guard;
	char *mount_point;
};

/* Find where the file system of the disk @bundle is mounted and start the guard. On success freeze_end() releases it.
 * -ENOENT it is not mounted on this machine. */
int freeze_begin(const struct pl_bundle *bundle, struct freeze *out);

/* @arg is a struct freeze: the callback of struct pl_snapshot_options. Thawing: -ETIMEDOUT it was thawed before. */
int freeze_set(void *arg, bool freeze);

/* Thaw if need be, and end the guard. */
void freeze_end(struct freeze *f);

#endif
