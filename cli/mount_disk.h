/* What `ploop mount` does, for the commands that mount on the way. */
#ifndef PLOOP_CLI_MOUNT_DISK_H
#define PLOOP_CLI_MOUNT_DISK_H

#include "cli/command.h"
#include "cli/resolve.h"

struct mount_args {
	bool readonly, fsck, no_scan, quota;
	const char *mount_point, *type, *data, *device, *component, *transport, *debug, *on_full,
		*partial;
	struct cli_uuid uuid;
	struct cli_format format;
	struct cli_list outside;
	uint64_t cluster_sectors;
	/* mount(8) runs us, umount(8) shall run umount.X: what goes well is not told. NULL: somebody else runs us. */
	const char *for_umount;
};

/* Can it be done at all? Before anything is changed. Returns 0, an exit code or CLI_MISUSE. */
int mount_check_args(const struct mount_args *a);

/* Attach @disk and mount its file system; a step that fails undoes those before it. The lock of the bundle is let go as
 * soon as the server has the images. Returns 0 or an exit code. */
int mount_disk(const struct mount_args *a, struct disk *disk);

#endif
