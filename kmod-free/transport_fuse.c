/* Transport "fuse": the server exports the disk as a FUSE file, a loop device makes it a block device. Works on every
 * kernel with /dev/fuse and /dev/loop-control.
 *
 * When the server dies its keeper (keeper.h) holds the connection to the kernel, and the next server goes on. When that
 * is lost too, the file answers EIO for good, and so does the block device: unmount and mount again. */
#include "base/wait.h"
#include "kmod-free/fuse.h"
#include "kmod-free/kmodule.h"
#include "kmod-free/loopdev.h"
#include "kmod-free/registry.h"
#include "kmod-free/transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define FUSE_DEVICE "/dev/fuse"
#define FUSE_FOLDER "fuse"

static int fuse_probe(void)
{
	int r = access(FUSE_DEVICE, F_OK) == 0 ? 0 : kmodule_load("fuse");
	if (r == 0 && access(FUSE_DEVICE, R_OK | W_OK) != 0)
		r = pl_fail(-errno, FUSE_DEVICE ": %s", strerror(errno));
	return r < 0 ? r : loopdev_probe();
}

static int fuse_prepare(const struct pl_device *device, struct transport_plan *plan, struct pl_serve_options *serve)
{
	int r = registry_path(device->name, FUSE_FOLDER, plan->fuse_mount_point);
	if (r < 0)
		return r;
	if (mkdir(plan->fuse_mount_point, 0700) != 0)
		return pl_fail(-errno, "%s: %s", plan->fuse_mount_point, strerror(errno));
	serve->fuse_mount_point = plan->fuse_mount_point;
	return 0;
}

static int disk_file(const struct pl_device *device, char path[PATH_MAX])
{
	return registry_path(device->name, FUSE_FOLDER "/" FUSE_EXPORT_DISK, path);
}

static int fuse_attach(struct pl_device *device)
{
	char file[PATH_MAX];
	int r = disk_file(device, file);
	return r < 0 ? r : loopdev_attach(file, device->readonly, &device->backing, &device->raw_dev);
}

/* The loop device lets go of the file a moment after it is detached. */
static int unmount_folder(const char *path, uint64_t deadline_ns)
{
	struct wait wait = WAIT_UNTIL(deadline_ns);
	while (umount2(path, UMOUNT_NOFOLLOW) != 0) {
		if (errno == EINVAL || errno == ENOENT)
			return 0; /* it was not mounted */
		if (errno != EBUSY || !wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-errno, "unmount %s: %s", path, strerror(errno));
	}
	return 0;
}

static int fuse_detach(const struct pl_device *device, uint64_t deadline_ns)
{
	char path[PATH_MAX];
	uint64_t number;
	int r = disk_file(device, path);
	/* By its file, not by the number that was noted: a mount that died may have had no time to note it. */
	if (r == 0 && loopdev_find(path, &number) == 0)
		r = loopdev_detach(number, path, deadline_ns);
	if (r == 0)
		r = registry_path(device->name, FUSE_FOLDER, path);
	if (r == 0)
		r = unmount_folder(path, deadline_ns);
	if (r == 0 && rmdir(path) != 0 && errno != ENOENT)
		r = pl_fail(-errno, "%s: %s", path, strerror(errno));
	return r;
}

const struct transport transport_fuse = {
	.name = "fuse",
	.probe = fuse_probe,
	.prepare = fuse_prepare,
	.attach = fuse_attach,
	.detach = fuse_detach,
};
