/* ploop merge: merge image files that no descriptor joins. */
#include "cli/command.h"
#include "cli/merge_images.h"
#include "cli/resolve.h"

struct merge_args {
	const char *new_delta, *device, *level;
	struct cli_format format;
	struct cli_uuid uuid;
	bool all;
};

static const struct cli_option options[] = {
	CLI_TEXT('n', "new-delta", "NEW", struct merge_args, new_delta, "put the result into this new file"),
	CLI_FORMAT('f', "format", struct merge_args, format, "format of the base: ploop1 (default) or raw"),
	CLI_TEXT('d', "device", "DEVICE", struct merge_args, device, "refused: see ploop snapshot-merge"),
	CLI_TEXT('l', "level", "LEVELS", struct merge_args, level, "refused: see ploop snapshot-merge"),
	CLI_UUID('u', "uuid", struct merge_args, uuid, "accepted and ignored"),
	CLI_FLAG('A', "all", struct merge_args, all, "accepted and ignored"),
	CLI_END,
};

static int run(void *p, int argc, char **argv)
{
	const struct merge_args *a = p;
	if (a->device || a->level)
		return cli_misuse("a running disk is merged with ploop snapshot-merge DD");
	for (int i = 0; i < argc; i++)
		if (disk_word_is_descriptor(argv[i]))
			return cli_misuse("%s is a descriptor: ploop snapshot-merge merges its images", argv[i]);
	return merge_images(argc, argv, a->new_delta, a->format.given && a->format.mode == PL_MODE_RAW);
}

const struct cli_command cmd_merge = {
	.name = "merge",
	.summary = "Merge image files without a descriptor",
	.synopsis = {"[-f raw] [-n NEW] CHILD… BASE"},
	.options = options,
	.examples = {
		{"ploop merge top.hds middle.hds base.hds", "All that the three hold, in base.hds"},
		{"ploop merge -n whole.hds top.hds base.hds", "The same in a new file"},
	},
	.args_bytes = sizeof(struct merge_args),
	.min_words = 1,
	.max_words = -1,
	.stock = true,
	.run = run,
};
