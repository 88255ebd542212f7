/* ploop tsnapshot: a temporary snapshot as a read-only device, for a backup to read while the disk goes on. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/freeze.h"
#include "cli/live.h"
#include "cli/mount_disk.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct tsnapshot_args {
	const char *component, *mount_point;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct tsnapshot_args, uuid, "id of the snapshot"),
	CLI_TEXT('c', "component", "NAME", struct tsnapshot_args, component, "the device gets the name ~NAME"),
	CLI_TEXT('m', "mount-point", "DIR", struct tsnapshot_args, mount_point, "mount the file system there, too"),
	CLI_OUTSIDE(struct tsnapshot_args, outside),
	CLI_END,
};

/* Nobody will ask for a snapshot whose device never came. */
static void undo(const struct live_disk *disk, const char *guid)
{
	autofree char *why = strdup(pl_error());
	enum pl_snapshot_end end;
	if (pl_snapshot_delete(disk->bundle, disk->live, guid, NULL, &end) < 0)
		console_warn("Snapshot %s is still there: %s", guid, pl_error());
	pl_fail(-EIO, "%s", why ? why : "");
}

static int mount_snapshot(const struct mount_args *mount, const char *descriptor)
{
	struct disk disk;
	char *words[] = {(char *)descriptor};
	struct disk_options how = {.outside = &mount->outside, .uuid = &mount->uuid};
	int r = disk_resolve(1, words, &how, &disk);
	if (r != 0)
		return r;
	r = mount_disk(mount, &disk);
	disk_close(&disk);
	return r;
}

/* Its file system is frozen for that moment when it is mounted here: what is read has no journal to replay. */
static int create(const struct live_disk *disk, const char *guid, struct pl_snapshot_result *result)
{
	struct freeze freeze;
	bool freezes = disk->live && freeze_begin(disk->bundle, &freeze) == 0;
	struct pl_snapshot_options how = {
		.size = sizeof(how),
		.guid = guid,
		.temporary = true,
		.freeze = freezes ? freeze_set : NULL,
		.freeze_arg = &freeze,
	};
	pl_error_clear();
	int r = pl_snapshot_create(disk->bundle, disk->live, &how, result);
	if (freezes)
		freeze_end(&freeze);
	return r;
}

static int create_and_mount(const struct mount_args *mount, const struct live_disk *disk)
{
	struct pl_snapshot_result result;
	int r = create(disk, mount->uuid.text, &result);
	if (r < 0)
		return live_exit_code(disk, NULL, r, CLI_AT_CHAIN);
	r = mount_snapshot(mount, pl_bundle_path(disk->bundle));
	if (r != 0) {
		undo(disk, result.guid);
		return r;
	}
	console_say("ploop temporary snapshot %s has been successfully created", result.guid);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct tsnapshot_args *a = p;
	autofree char *component = NULL;
	if (!a->uuid.text[0] || !a->component)
		return cli_misuse("-u UUID and -c NAME are both needed");
	if (asprintf(&component, "~%s", a->component) < 0) {
		component = NULL;
		return pl_fail(-ENOMEM, "no memory for a name");
	}
	struct mount_args mount = {
		.readonly = true,
		.mount_point = a->mount_point,
		.component = component,
		.uuid = a->uuid,
		.outside = a->outside,
	};
	struct live_disk disk;
	int r = mount_check_args(&mount);
	if (r == 0)
		r = live_disk_open(argv[0], &a->outside, &disk);
	if (r != 0)
		return r;
	r = create_and_mount(&mount, &disk);
	live_disk_close(&disk);
	return r;
}

const struct cli_command cmd_tsnapshot = {
	.name = "tsnapshot",
	.summary = "Take a temporary snapshot of a disk and make a device of it",
	.synopsis = {"-u UUID -c NAME [-m DIR] DD"},
	.options = options,
	.examples = {{"ploop tsnapshot -u {UUID} -c backup -m /mnt/backup /vz/test", "Something for a backup to read"}},
	.args_bytes = sizeof(struct tsnapshot_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
