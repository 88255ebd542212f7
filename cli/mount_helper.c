/* mount -t ploop DD DIR -o OPTIONS, and umount DIR.
 *
 *	ploop.NAME[=VALUE]    the option --NAME of `ploop mount`, by its own table
 *	ro, rw                of the disk and of the file system
 *	all others            of the file system; libmount knows which of them are its own or nobody's
 *
 * The prefix keeps the two apart: file systems have options called "quota", "debug" or "device" too. What is mounted
 * here is marked in libmount's table with helper=ploop, by which umount(8) comes back to us. */
#include "cli/mount_helper.h"

#include "cli/console.h"
#include "cli/guest_mount.h"
#include "cli/mount_disk.h"
#include "cli/umount_disk.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define OWN_PREFIX       "ploop."
#define FAILED           32   /* of mount(8): "mount failure" */
#define QUIET            0    /* verbosity: warnings only */
#define BUSY_PATIENCE_MS 2000 /* whoever probes a device lets go in this time; people want their answer */

struct helper_args {
	const char *options, *type, *namespace;
	bool fake, no_mtab, sloppy, verbose, force, lazy, readonly;
};

#define COMMON_OPTIONS                                                                                                 \
	CLI_FLAG('n', NULL, struct helper_args, no_mtab, "accepted and ignored: there is no mtab"),                    \
	CLI_FLAG('v', NULL, struct helper_args, verbose, "tell what is done"),                                         \
	CLI_TEXT('N', NULL, "NAMESPACE", struct helper_args, namespace,                                                \
		 "refused: a server cannot be started in another mount namespace"),                                    \
	CLI_TEXT('t', NULL, "TYPE", struct helper_args, type, "ploop, or ploop.FSTYPE to name the file system inside")

static int begin(const struct helper_args *a)
{
	console_init(a->verbose ? CONSOLE_DEFAULT_VERBOSITY : QUIET, false);
	return a->namespace ? pl_fail(-EOPNOTSUPP, "another mount namespace (-N): run it there, with nsenter") : 0;
}

/* ------------------------------------------------------------------ mount */

static const struct cli_option mount_options[] = {
	CLI_TEXT('o', NULL, "OPTIONS", struct helper_args, options,
		 "with commas: ro, rw, ploop.NAME[=VALUE] for an option of ploop mount, and those of the file system"),
	CLI_FLAG('f', NULL, struct helper_args, fake, "fake: look at the words, mount nothing"),
	CLI_FLAG('s', NULL, struct helper_args, sloppy, "accepted and ignored: the file system judges its options"),
	COMMON_OPTIONS,
	CLI_END,
};

static int take_own(char *word, struct mount_args *m)
{
	char *value = strchr(word, '=');
	if (value)
		*value++ = '\0';
	return cli_parse_long(&cmd_mount, word, value, m);
}

/* @text is cut into words that stay part of @m; @rest gets those of the file system. */
static int take_options(char *text, struct mount_args *m, char rest[GUEST_DATA_BYTES])
{
	int r = 0;
	for (char *word; r == 0 && (word = strsep(&text, ","));) {
		if (strncmp(word, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
			r = take_own(word + strlen(OWN_PREFIX), m);
		else if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0)
			m->readonly = word[1] == 'o';
		else if (strcmp(word, "remount") == 0)
			r = pl_fail(-EOPNOTSUPP, "remount without the type ploop: mount -o remount,... DIR");
		else
			r = guest_add_option(rest, word, strlen(word));
	}
	return r;
}

/* mount -a comes by again and again. */
static bool is_there(const char *spec, const char *dir, const struct mount_args *m)
{
	struct pl_device *d;
	autofree char **points = NULL;
	autofree char *want = realpath(dir, NULL);
	bool found = false;
	if (pl_device_find(spec, m->component, &d) < 0)
		return false;
	if (want && d->readonly == m->readonly && pl_device_mount_points(d, &points) == 0)
		for (char **p = points; *p && !found; p++)
			found = strcmp(*p, want) == 0;
	pl_device_free(d);
	return found;
}

static int run_mount(void *p, int argc, char **argv)
{
	const struct helper_args *a = p;
	struct mount_args m = {.for_umount = "ploop"};
	char rest[GUEST_DATA_BYTES] = "";
	autofree char *text = strdup(a->options ? a->options : "");
	int r = text ? begin(a) : -ENOMEM;
	if (r == 0)
		r = take_options(text, &m, rest);
	if (r != 0)
		return r;
	const char *inner = a->type ? strchr(a->type, '.') : NULL;
	if (inner)
		m.type = inner + 1;
	m.data = rest;
	m.mount_point = argv[1];
	if (a->fake || is_there(argv[0], argv[1], &m))
		return 0;
	pl_error_clear();
	return cmd_mount.run(&m, 1, argv);
}

static const struct cli_command helper_mount = {
	.name = "mount.ploop",
	.summary = "Mount the file system in a disk, for mount(8)",
	.synopsis = {"[-fnsv] [-o OPTIONS] [-t TYPE] DD DIR"},
	.options = mount_options,
	.examples = {
		{"mount -t ploop -o ro /vz/test/DiskDescriptor.xml /mnt", "Mount a disk for reading"},
		{"mount -t ploop -o ploop.component=old,ploop.uuid={UUID} /vz/test /mnt/old", "A snapshot beside it"},
		{"/vz/test/DiskDescriptor.xml /srv/test ploop noatime,nofail 0 0", "A line of fstab"},
	},
	.args_bytes = sizeof(struct helper_args),
	.min_words = 2,
	.max_words = 2,
	.failure_code = FAILED,
	.run = run_mount,
};

/* ------------------------------------------------------------------ umount */

static const struct cli_option umount_options[] = {
	CLI_FLAG('l', NULL, struct helper_args, lazy, "take it out of sight now, and let it end with its last user"),
	CLI_FLAG('f', NULL, struct helper_args, force, "accepted and ignored: nothing here waits for a network"),
	CLI_FLAG('r', NULL, struct helper_args, readonly, "accepted and ignored: what is busy stays as it is"),
	COMMON_OPTIONS,
	CLI_END,
};

static bool has_other_points(const struct pl_device *d)
{
	autofree char **points = NULL;
	return pl_device_mount_points(d, &points) == 0 && points[0] && points[1];
}

static bool is_mounted(const struct pl_device *d)
{
	autofree char **points = NULL;
	return pl_device_mount_points(d, &points) < 0 || points[0];
}

/* The device goes with its last mount point. If something else keeps it then, the unmounting was done all the same. */
static int unmount_at(struct pl_device *d, const char *dir, const struct helper_args *a)
{
	if (has_other_points(d))
		return a->lazy ? guest_unmount_now(dir, true) : guest_unmount(d, dir, BUSY_PATIENCE_MS);
	int r = a->lazy ? guest_unmount_now(dir, true) : 0;
	if (r == 0)
		r = umount_disk(d, &(struct umount_args){0}, a->lazy ? 0 : BUSY_PATIENCE_MS);
	if (r != EXIT_UMOUNT_BUSY || is_mounted(d))
		return r;
	console_warn("%s; later: ploop umount -d %s", pl_error(), d->node);
	pl_error_clear();
	return 0;
}

static int run_umount(void *p, int argc, char **argv)
{
	const struct helper_args *a = p;
	struct pl_device *d;
	int r = begin(a);
	if (r < 0)
		return r;
	r = pl_device_find(argv[0], NULL, &d);
	if (r == -ENOENT) { /* the run directory was wiped */
		pl_error_clear();
		return guest_unmount_now(argv[0], a->lazy);
	}
	if (r < 0)
		return r;
	r = unmount_at(d, argv[0], a);
	pl_device_free(d);
	return r;
}

static const struct cli_command helper_umount = {
	.name = "umount.ploop",
	.summary = "Unmount the file system in a disk and close the disk, for umount(8)",
	.synopsis = {"[-flnrv] [-t TYPE] DIR|DEVICE"},
	.options = umount_options,
	.examples = {{"umount /mnt", "What was mounted by mount(8)"}},
	.args_bytes = sizeof(struct helper_args),
	.min_words = 1,
	.max_words = 1,
	.failure_code = FAILED,
	.run = run_umount,
};

const struct cli_command *mount_helper_find(const char *word)
{
	static const struct cli_command *const helpers[] = {&helper_mount, &helper_umount};
	const char *slash = strrchr(word, '/');
	for (size_t i = 0; i < ARRAY_LEN(helpers); i++)
		if (strcmp(helpers[i]->name, slash ? slash + 1 : word) == 0)
			return helpers[i];
	return NULL;
}
