/* ploop mount: a server for the disk, a block device on it, the file system in it. A step that fails undoes those
 * before it, so that nothing runs and the image is clean. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/guest_mount.h"
#include "cli/guest_partition.h"
#include "cli/guest_usage.h"
#include "cli/interrupt.h"
#include "cli/mount_disk.h"
#include "cli/server.h"
#include "cli/with_disk.h"

#include "base/cleanup.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define UNDO_TIMEOUT_MS 30000

static const struct cli_option options[] = {
	CLI_FLAG('r', "read-only", struct mount_args, readonly, "change nothing, neither disk nor file system"),
	CLI_FLAG('F', "fsck", struct mount_args, fsck, "check the file system first and repair what is safe"),
	CLI_FLAG('n', "no-scan", struct mount_args, no_scan, "do not look for partitions, and mount nothing"),
	CLI_TEXT('m', "mount-point", "DIR", struct mount_args, mount_point, "mount the file system in the disk there"),
	CLI_TEXT('t', "type", "FSTYPE", struct mount_args, type, "type of the file system, by default what is found"),
	CLI_TEXT('o', "options", "OPTIONS", struct mount_args, data, "more mount options, with commas"),
	CLI_UUID('u', "uuid", struct mount_args, uuid, "this snapshot instead of the top; read-only"),
	CLI_TEXT('d', "device", "DEVICE", struct mount_args, device, "name of the device, such as /dev/mapper/ploop10"),
	CLI_TEXT('c', "component", "NAME", struct mount_args, component,
		 "a name for the device; one disk may have a device under each name"),
	CLI_FLAG('q', "quota", struct mount_args, quota, "mount with journalled quota"),
	CLI_NUMBER('b', "cluster", "SECTORS", struct mount_args, cluster_sectors, "cluster size of a raw first image"),
	CLI_FORMAT('f', "format", struct mount_args, format, "format of the first image of a list"),
	CLI_TEXT(0, "transport", "NAME", struct mount_args, transport,
		 "how the bytes travel: nbd (the kernel's NBD client), fuse (FUSE and a loop device), or auto: "
		 "the best that works here"),
	CLI_TEXT(0, "on-full", "wait|fail", struct mount_args, on_full,
		 "what writes do that find no space on the host, until unmounted; else what ploop set said, or wait"),
	CLI_TEXT(0, "debug", "LIST", struct mount_args, debug,
		 "debug lines of the server to the system's log: fuse,map"),
	CLI_PARTIAL(struct mount_args, partial),
	CLI_OUTSIDE(struct mount_args, outside),
	CLI_END,
};

/* ------------------------------------------------------------------ the file system */

static int mount_guest(const struct mount_args *a, const struct pl_device *d)
{
	const char *source = d->partition[0] ? d->partition : d->node;
	char type[GUEST_TYPE_BYTES], data[GUEST_DATA_BYTES];
	int r = 0;
	if (a->type && strlen(a->type) < sizeof(type))
		memcpy(type, a->type, strlen(a->type) + 1);
	else
		r = guest_type(source, type);
	if (r == 0)
		r = guest_options(type, d->readonly, a->quota, a->data, data);
	if (r == 0 && a->fsck && !d->readonly && guest_fsck(source, type) < 0)
		return EXIT_FSCK;
	if (r == 0 && a->mount_point)
		r = guest_mount(source, a->mount_point, type, data, d->readonly, a->for_umount);
	if (r < 0)
		return EXIT_MOUNT; /* for every reason */
	if (a->mount_point)
		console_say("Mounted %s at %s fstype=%s data='%s'%s", source, a->mount_point, type, data,
			    d->readonly ? " ro" : "");
	return 0;
}

/* ------------------------------------------------------------------ the device */

/* The server told in words what it could not open; the exit code wants the errno. */
static int look_again(struct pl_disk *disk, void *arg)
{
	return 0;
}

static int code_of_failure(int err, const struct disk *disk)
{
	autofree char *why = strdup(pl_error());
	if (err != -EIO)
		return cli_exit_code(err, CLI_AT_MOUNT);
	err = with_disk(&disk->chain, WITH_DISK_PEEK, look_again, NULL);
	pl_fail(-EIO, "%s", why ? why : "");
	return cli_exit_code(err < 0 ? err : -EIO, CLI_AT_MOUNT);
}

static void say_attached(const struct pl_device *d)
{
	for (size_t i = 0; i < d->image_count; i++)
		console_say("Adding delta dev=%s img=%s (%s)", d->node, d->images[i],
			    i + 1 < d->image_count || d->readonly ? "ro" : "rw");
	console_say("Transport %s with %s, server %llu", d->transport, d->front, (unsigned long long)d->server_pid);
	if (!d->kept)
		console_warn("Nobody starts the server again if it dies: then unmount, and mount again");
	else if (d->mortal)
		console_warn("This kernel forgets the requests of a server that dies: then unmount, and mount again");
}

static int attach(const struct mount_args *a, const struct disk *disk, struct pl_device **out)
{
	char control[PATH_MAX];
	struct resume_words resume;
	bool partial = true, readonly = a->readonly || disk_is_below_top(disk);
	struct disk_options again = {.outside = &a->outside, .uuid = &a->uuid, .for_writing = !readonly};
	cli_parse_partial(a->partial, &partial); /* it was looked at before */
	resume_words_of(disk, &again, &resume);
	struct pl_serve_options serve = {
		.size = sizeof(serve),
		.chain = disk->chain,
		.readonly = readonly,
		.no_partial = !partial,
		.control = disk_control(disk, readonly, control, sizeof(control)),
		.settings = disk_settings(disk),
		.on_full = a->on_full,
		.bundle_lock_fd = (uint32_t)disk->lock_fd,
		.resume = resume.words,
		.resume_count = resume.count,
		.log_categories = a->debug,
	};
	struct pl_attach_options how = {
		.size = sizeof(how),
		.serve = &serve,
		.bundle = disk->kind == DISK_BUNDLE ? pl_bundle_path(disk->bundle) : NULL,
		.component = a->component,
		.device = a->device,
		.transport = a->transport,
	};
	if (!a->for_umount)
		console_warn(disk->kind == DISK_BUNDLE ? "load ddxml" : "load images");
	int r = pl_device_attach(&how, out);
	return r < 0 ? code_of_failure(r, disk) : 0;
}

static int add_partition(struct pl_device *d)
{
	uint64_t offset_bytes, length_bytes;
	int r = guest_find_partition(d->node, &offset_bytes, &length_bytes);
	if (r == 0 && length_bytes)
		r = pl_device_add_partition(d, offset_bytes, length_bytes);
	return cli_exit_code(r, CLI_AT_DEVICE);
}

static void undo(struct pl_device *d)
{
	autofree char *why = strdup(pl_error());
	if (pl_device_detach(d, UNDO_TIMEOUT_MS) < 0)
		console_warn("%s is still there: %s", d->node, pl_error());
	pl_fail(-EIO, "%s", why ? why : "");
}

int mount_disk(const struct mount_args *a, struct disk *disk)
{
	struct pl_device *d;
	interrupt_catch();
	int r = attach(a, disk, &d);
	disk_unlock(disk);
	if (r != 0)
		return r;
	say_attached(d);
	r = cli_exit_code(interrupt_check(), CLI_AT_OTHER);
	if (r == 0 && !a->no_scan)
		r = add_partition(d);
	if (r == 0 && !a->no_scan && (a->mount_point || a->fsck))
		r = mount_guest(a, d);
	if (r != 0)
		undo(d);
	else if (!d->readonly && !d->component[0])
		guest_usage_forget(d->images[0]);
	pl_device_free(d);
	return r;
}

int mount_check_args(const struct mount_args *a)
{
	struct stat st;
	enum pl_on_full on_full;
	bool partial;
	if (cli_parse_partial(a->partial, &partial) != 0)
		return CLI_MISUSE;
	if (a->component && strpbrk(a->component, "/\n"))
		return cli_misuse("-c %s: a name has no slash and no newline", a->component);
	if (a->mount_point && stat(a->mount_point, &st) != 0)
		return cli_exit_code(pl_fail(-errno, "%s: %s", a->mount_point, strerror(errno)), CLI_AT_MOUNT);
	if (a->mount_point && !S_ISDIR(st.st_mode))
		return cli_exit_code(pl_fail(-ENOTDIR, "%s is not a folder", a->mount_point), CLI_AT_MOUNT);
	if (a->on_full && cli_parse_on_full(a->on_full, &on_full) < 0)
		return CLI_MISUSE;
	if (geteuid() != 0)
		return cli_exit_code(pl_fail(-EPERM, "only root can make block devices; ploop serve needs no root"),
				     CLI_AT_MOUNT);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct mount_args *a = p;
	struct disk disk;
	struct disk_options how = {
		.outside = &a->outside,
		.uuid = &a->uuid,
		.cluster_sectors = a->cluster_sectors,
		.base_format = a->format,
		.for_writing = !a->readonly,
	};
	int r = mount_check_args(a);
	if (r == 0)
		r = disk_resolve(argc, argv, &how, &disk);
	if (r != 0)
		return r;
	r = mount_disk(a, &disk);
	disk_close(&disk);
	return r;
}

const struct cli_command cmd_mount = {
	.name = "mount",
	.summary = "Make a block device of a disk, and mount its file system",
	.synopsis = {
		"[options] [-m DIR] DD",
		"[options] [-m DIR] [-f FORMAT] BASE [… TOP]",
	},
	.options = options,
	.examples = {
		{"ploop mount -m /mnt/test /vz/test", "Mount the disk of that folder"},
		{"ploop mount -d /dev/mapper/ploop10 /vz/test", "Only the device, under this name"},
		{"ploop mount -r -u {UUID} -m /mnt/old /vz/test", "Look at a snapshot"},
	},
	.args_bytes = sizeof(struct mount_args),
	.min_words = 1,
	.max_words = -1,
	.stock = true,
	.run = run,
};
