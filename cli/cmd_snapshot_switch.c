/* ploop snapshot-switch: go on from a snapshot; what was written since the last one is dropped. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/live.h"

#include <errno.h>

struct switch_args {
	bool keep;
	struct cli_uuid uuid, keep_uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct switch_args, uuid, "the snapshot to go on from"),
	CLI_FLAG('D', "keep", struct switch_args, keep, "keep the present state as a snapshot of a random id"),
	CLI_UUID(0, "keep-uuid", struct switch_args, keep_uuid, "keep the present state as the snapshot of this id"),
	CLI_OUTSIDE(struct switch_args, outside),
	CLI_END,
};

static int switch_to(const struct switch_args *a, const struct live_disk *disk)
{
	struct cli_uuid keep = a->keep_uuid;
	int r = 0;
	if (a->keep && !keep.text[0])
		r = cli_random_uuid(&keep);
	if (r == 0 && disk->live && !keep.text[0])
		r = pl_fail(-EINVAL, "%s is running: stop it before its present state is dropped",
			    pl_bundle_path(disk->bundle));
	if (r == 0)
		r = pl_snapshot_switch(disk->bundle, disk->live, a->uuid.text, keep.text[0] ? keep.text : NULL);
	if (r < 0)
		return live_exit_code(disk, a->uuid.text, r, CLI_AT_CHAIN);
	if (keep.text[0])
		console_say("The former state is snapshot %s", keep.text);
	console_say("ploop snapshot has been successfully switched");
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct switch_args *a = p;
	struct live_disk disk;
	int r = a->uuid.text[0] ? 0 : cli_misuse("which snapshot? -u UUID");
	if (r == 0)
		r = live_disk_open(argv[0], &a->outside, &disk);
	if (r != 0)
		return r;
	r = switch_to(a, &disk);
	live_disk_close(&disk);
	return r == EXIT_NOSNAP ? EXIT_PARAM : r; /* as the stock tool has it */
}

const struct cli_command cmd_snapshot_switch = {
	.name = "snapshot-switch",
	.summary = "Go back to a snapshot of a disk",
	.synopsis = {"-u UUID [-D | --keep-uuid UUID] DD"},
	.options = options,
	.examples = {
		{"ploop snapshot-switch -u {UUID} /vz/test", "Drop what was written since the last snapshot"},
		{"ploop snapshot-switch -D -u {UUID} /vz/test", "Keep it, as a snapshot"},
	},
	.args_bytes = sizeof(struct switch_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
