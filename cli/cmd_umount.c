/* ploop umount: unmount the file system, remove the block device, let the server close the disk. What was done stays
 * done when a later step fails, and the command can be given again. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/finish_disk.h"
#include "cli/guest_mount.h"
#include "cli/guest_usage.h"
#include "cli/interrupt.h"
#include "cli/live.h"
#include "cli/resolve.h"
#include "cli/umount_disk.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_S 60u
#define MOST_TIMEOUT_S    86400u

static const struct cli_option options[] = {
	CLI_TEXT('d', "device", "DEVICE", struct umount_args, device, "the running disk with this device or partition"),
	CLI_TEXT('m', "mount-point", "DIR", struct umount_args, mount_point, "the running disk that is mounted there"),
	CLI_TEXT('c', "component", "NAME", struct umount_args, component, "the one that was mounted under this name"),
	CLI_FLAG(0, "all", struct umount_args, all, "all running disks, as far as they are not in use"),
	CLI_TEXT(0, "timeout", "SECONDS", struct umount_args, timeout,
		 "how long to try while it is in use, by default 60"),
	CLI_FLAG(0, "force", struct umount_args, force,
		 "kill its server first: what was not written is lost, and requests that wait fail"),
	CLI_FLAG(0, "no-wait", struct umount_args, no_wait, "leave unfinished clusters so: see ploop finish"),
	CLI_END,
};

static int which(const struct umount_args *a, int argc, char **argv, const char **word)
{
	const char *words[] = {a->device, a->mount_point, argc ? argv[0] : NULL, a->all ? "" : NULL};
	size_t given = 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (words[i]) {
			*word = words[i];
			given++;
		}
	}
	return given == 1 ? 0 : cli_misuse("what to unmount? One of -d DEVICE, -m DIR, --all, or a disk");
}

/* The cache by which `ploop info` knows a stopped disk; it is no reason to fail. */
static void note_usage(const struct pl_device *d, const char *mount_point)
{
	if (d->component[0] || d->readonly || !d->alive)
		return;
	if (guest_usage_to_statfs(mount_point, d->images[0]) < 0)
		console_warn("usage is not noted: %s", pl_error());
}

static int unmount_all(const struct pl_device *d, uint64_t timeout_ms)
{
	autofree char **points = NULL;
	int r = pl_device_mount_points(d, &points);
	if (r == 0 && points[0])
		note_usage(d, points[0]);
	for (size_t i = 0; r == 0 && points[i]; i++) {
		r = guest_unmount(d, points[i], timeout_ms);
		if (r == 0)
			console_say("Unmounted %s", points[i]);
	}
	return r;
}

/* Requests that wait for a server would make an unmount wait too. */
static int settle_server(struct pl_device *d, bool force)
{
	if (force || !d->alive)
		return pl_device_abort(d);
	if (!d->waiting)
		return 0;
	return pl_fail(-EBUSY, "the server of %s died too often: %s. Requests wait: ploop server restart tries again, "
		       "--force gives up what was not written", d->node, d->why);
}

/* Before the server is stopped, so that it is seen how far it is. Whatever keeps it from being done here, the server
 * tries again at its end; but who interrupts us wants the disk to stay as it is. */
static int finish_first(const struct pl_device *d)
{
	struct live_disk disk;
	struct pl_disk_info info;
	int r = 0;
	if (!d->bundle[0] || d->readonly || !d->alive || live_disk_open(d->bundle, NULL, &disk) != 0)
		return 0;
	if (disk.live && disk.live->ops->info(disk.live, &info) == 0 && info.partial_clusters > 0)
		r = finish_running(disk.live);
	live_disk_close(&disk);
	return r == -ECANCELED ? r : 0;
}

static bool is_unfinished(const struct pl_device *d)
{
	struct pl_image_ref top = {.path = d->images[d->image_count - 1], .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &top, .count = 1};
	struct live_disk disk = {0};
	if (d->bundle[0] && disk_open_bundle(d->bundle, NULL, &disk.bundle) == 0)
		pl_bundle_chain(disk.bundle, NULL, &chain);
	bool unfinished = chain_is_unfinished(&chain);
	live_disk_close(&disk);
	return unfinished;
}

/* The server of a disk without a descriptor fills at its end, and that may take its time. */
static int detach(struct pl_device *d, uint64_t timeout_ms)
{
	int r;
	do
		r = pl_device_detach(d, (uint32_t)timeout_ms);
	while (r == -ETIMEDOUT && !d->leave && is_unfinished(d) && !interrupt_seen());
	return r;
}

int umount_disk(struct pl_device *d, const struct umount_args *a, uint64_t timeout_ms)
{
	interrupt_catch();
	int r = settle_server(d, a->force);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_UMOUNT);
	if (!d->alive)
		console_warn("The server of %s died: what was not synced before may be lost", d->node);
	r = unmount_all(d, timeout_ms);
	if (r == 0 && !a->no_wait)
		r = finish_first(d);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_UMOUNT);
	if (a->no_wait)
		pl_device_leave(d);
	r = detach(d, timeout_ms);
	if (r < 0)
		return cli_exit_code(r, r == -EBUSY || r == -ETIMEDOUT ? CLI_AT_UMOUNT : CLI_AT_DEVICE);
	console_say("Removed %s", d->node);
	if (a->no_wait && is_unfinished(d))
		console_warn("%s stays unfinished, and stock tools refuse it: run ploop finish",
			     d->bundle[0] ? d->bundle : d->images[d->image_count - 1]);
	return 0;
}

static void warn_lost(void *arg, const char *sentence)
{
	console_warn("%s", sentence);
}

/* The disk that is meant may be one that the registry has lost; the sentence of what went wrong stays. */
static void tell_lost(void)
{
	autofree char *why = strdup(pl_error());
	pl_device_lost(warn_lost, NULL);
	pl_fail(-ENOENT, "%s", why ? why : "");
}

static int run(void *p, int argc, char **argv)
{
	const struct umount_args *a = p;
	const char *word = NULL;
	uint64_t timeout_s = DEFAULT_TIMEOUT_S;
	int r = which(a, argc, argv, &word);
	if (r == 0 && a->timeout && (cli_parse_number(a->timeout, &timeout_s) < 0 || timeout_s > MOST_TIMEOUT_S))
		r = cli_misuse("--timeout %s is not a number of seconds up to %u", a->timeout, MOST_TIMEOUT_S);
	if (r != 0)
		return r;
	if (a->all)
		return umount_all(a, timeout_s * 1000);
	struct pl_device *device;
	r = pl_device_find(word, a->component, &device);
	if (r == -ENOENT)
		tell_lost();
	if (r < 0)
		return r != -ENOENT ? cli_exit_code(r, CLI_AT_DEVICE)
				    : a->mount_point ? EXIT_PARAM : EXIT_DEV_NOT_MOUNTED;
	r = umount_disk(device, a, timeout_s * 1000);
	pl_device_free(device);
	return r;
}

const struct cli_command cmd_umount = {
	.name = "umount",
	.summary = "Unmount a disk and close it",
	.synopsis = {
		"[-c NAME] -d DEVICE",
		"-m DIR",
		"[-c NAME] DD",
		"[-c NAME] IMAGE",
		"--all",
	},
	.options = options,
	.examples = {
		{"ploop umount -m /mnt/test", "By where it is mounted"},
		{"ploop umount /vz/test", "By its folder"},
		{"ploop umount -d /dev/mapper/ploop1000", "By its device"},
		{"ploop umount --no-wait /vz/test", "At once; ploop finish does the rest some time"},
	},
	.args_bytes = sizeof(struct umount_args),
	.max_words = 1,
	.stock = true,
	.run = run,
};
