/* ploop snapshot-merge: a snapshot and its parent become one image. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/live.h"
#include "cli/merge_images.h"
#include "cli/progress.h"
#include "cli/resolve.h"

struct merge_args {
	bool all;
	const char *new_delta;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct merge_args, uuid, "merge this snapshot into its parent, by default the top"),
	CLI_FLAG('A', "all", struct merge_args, all, "merge all, so that one image is left"),
	CLI_TEXT('n', "new-delta", "NEW_DELTA", struct merge_args, new_delta,
		 "put the result into this new file; stopped disks only"),
	CLI_OUTSIDE(struct merge_args, outside),
	CLI_END,
};

static int merge(const struct merge_args *a, const struct live_disk *disk)
{
	const char *guid = a->uuid.text[0] ? a->uuid.text : NULL;
	struct pl_progress progress = progress_begin("Merging");
	struct pl_snapshot_merge_options how = {
		.size = sizeof(how),
		.guid = guid,
		.all = a->all,
		.new_delta = a->new_delta,
		.progress = &progress,
	};
	int r = pl_snapshot_merge(disk->bundle, disk->live, &how);
	if (r < 0) {
		int code = live_exit_code(disk, guid, r, CLI_AT_MERGE);
		return code == EXIT_NOSNAP ? EXIT_PARAM : code; /* as the stock tool has it */
	}
	console_say("ploop snapshot merged");
	return 0;
}

static int merge_bundle(const struct merge_args *a, const char *word)
{
	struct live_disk disk;
	int r = live_disk_open(word, &a->outside, &disk);
	if (r != 0)
		return r;
	r = merge(a, &disk);
	live_disk_close(&disk);
	return r;
}

static int run(void *p, int argc, char **argv)
{
	const struct merge_args *a = p;
	if (a->all && a->uuid.text[0])
		return cli_misuse("-u and -A exclude each other");
	if (argc == 1)
		return merge_bundle(a, argv[0]);
	for (int i = 0; i < argc; i++)
		if (disk_word_is_descriptor(argv[i]))
			return cli_misuse("%s is a descriptor: it stands alone", argv[i]);
	if (a->all || a->uuid.text[0])
		return cli_misuse("-u and -A need a descriptor");
	return merge_images(argc, argv, a->new_delta, false);
}

const struct cli_command cmd_snapshot_merge = {
	.name = "snapshot-merge",
	.summary = "Merge a snapshot of a disk into its parent, also while it runs",
	.synopsis = {
		"[-u UUID | -A] [-n NEW_DELTA] DD",
		"[-n NEW_DELTA] CHILD… BASE",
	},
	.options = options,
	.examples = {
		{"ploop snapshot-merge /vz/test", "Forget the latest snapshot, keep the present state"},
		{"ploop snapshot-merge -A /vz/test", "Forget all snapshots"},
	},
	.args_bytes = sizeof(struct merge_args),
	.min_words = 1,
	.max_words = -1,
	.stock = true,
	.run = run,
};
