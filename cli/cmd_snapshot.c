/* ploop snapshot: the state of this moment gets a name and stays, also of a disk that runs. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/freeze.h"
#include "cli/live.h"
#include "cli/output.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

struct snapshot_args {
	bool offline, freeze, json, old_freeze;
	const char *cbt, *old_device;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct snapshot_args, uuid, "id of the snapshot, by default a random one"),
	CLI_TEXT('b', "cbt", "CBT_UUID", struct snapshot_args, cbt,
		 "begin to track changes under this id, or go on under it; 36 characters"),
	CLI_FLAG('o', "offline", struct snapshot_args, offline, "take the disk for stopped: fail when it runs"),
	CLI_FLAG(0, "freeze", struct snapshot_args, freeze,
		 "freeze the mounted file system of a running disk for that moment"),
	CLI_TEXT('d', NULL, "DEVICE", struct snapshot_args, old_device, "accepted and ignored"),
	CLI_FLAG('F', NULL, struct snapshot_args, old_freeze, "accepted and ignored"),
	CLI_OUTSIDE(struct snapshot_args, outside),
	CLI_JSON(struct snapshot_args, json),
	CLI_END,
};

struct snapshot_row {
	const char *guid;
	uint64_t pause_ns;
	bool running, frozen;
};

static const struct out_column columns[] = {
	OUT_TEXT("guid", NULL, 0, NULL, struct snapshot_row, guid),
	OUT_BOOL("running", NULL, 0, NULL, struct snapshot_row, running),
	OUT_BOOL("frozen", NULL, 0, NULL, struct snapshot_row, frozen),
	OUT_U64("pause_ns", NULL, 0, NULL, struct snapshot_row, pause_ns),
	OUT_END,
};

static int report(const struct snapshot_args *a, const struct snapshot_row *row)
{
	if (a->json) {
		struct out out;
		out_begin(&out, true);
		out_row(&out, columns, row);
		return out_end(&out);
	}
	if (row->running)
		console_say("requests were held for %.2f ms%s", (double)row->pause_ns / (double)NS_PER_MS,
			    row->frozen ? ", the file system was frozen" : "");
	console_say("ploop snapshot %s has been successfully created", row->guid);
	return 0;
}

static int create(const struct snapshot_args *a, const struct live_disk *disk, struct freeze *freeze)
{
	struct cli_uuid cbt = {""};
	if (a->cbt && cli_parse_uuid(a->cbt, &cbt) == 0)
		cbt.text[PL_GUID_TEXT - 1] = '\0'; /* without braces */
	struct pl_live *live = a->offline ? NULL : disk->live;
	struct pl_snapshot_options how = {
		.size = sizeof(how),
		.guid = a->uuid.text[0] ? a->uuid.text : NULL,
		.cbt_uuid = a->cbt ? cbt.text + 1 : NULL,
		.freeze = freeze ? freeze_set : NULL,
		.freeze_arg = freeze,
	};
	struct pl_snapshot_result result;
	int r = pl_snapshot_create(disk->bundle, live, &how, &result);
	if (r < 0)
		return live_exit_code(disk, NULL, r, CLI_AT_CHAIN);
	struct snapshot_row row = {result.guid, live ? result.pause_ns : 0, live != NULL, freeze != NULL};
	return cli_exit_code(report(a, &row), CLI_AT_OTHER);
}

static int create_frozen(const struct snapshot_args *a, const struct live_disk *disk)
{
	if (!a->freeze || a->offline || !disk->live)
		return create(a, disk, NULL);
	struct freeze freeze;
	int r = freeze_begin(disk->bundle, &freeze);
	if (r < 0)
		return r == -ENOENT ? EXIT_DEV_NOT_MOUNTED : cli_exit_code(r, CLI_AT_DEVICE);
	r = create(a, disk, &freeze);
	freeze_end(&freeze);
	return r;
}

static int check_args(const struct snapshot_args *a)
{
	struct cli_uuid uuid;
	if (a->cbt && (strlen(a->cbt) != PL_GUID_TEXT - 2 || cli_parse_uuid(a->cbt, &uuid) < 0))
		return cli_misuse("-b %s: Incorrect uuid, 36 characters without braces are wanted", a->cbt);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct snapshot_args *a = p;
	struct live_disk disk;
	int r = check_args(a);
	if (r == 0)
		r = live_disk_open(argv[0], &a->outside, &disk);
	if (r != 0)
		return r;
	r = create_frozen(a, &disk);
	live_disk_close(&disk);
	return r;
}

const struct cli_command cmd_snapshot = {
	.name = "snapshot",
	.summary = "Take a snapshot of a disk, also while it runs",
	.synopsis = {"[-u UUID] [-b CBT_UUID] [-o] [--freeze] [--json] DD"},
	.options = options,
	.examples = {
		{"ploop snapshot /vz/test", "A snapshot with a random id, which is printed"},
		{"ploop snapshot --freeze -u {UUID} /vz/test", "Of a mounted disk, with nothing left in caches"},
	},
	.args_bytes = sizeof(struct snapshot_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
