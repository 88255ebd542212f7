/* ploop move: the folder of a stopped disk to another place, also in another file system. */
#include "cli/attached.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"
#include "cli/resolve.h"

struct move_args {
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_OUTSIDE(struct move_args, outside),
	CLI_END,
};

static int move(struct pl_bundle *bundle, const char *target)
{
	struct pl_progress progress = progress_begin("Moving");
	int r = pl_bundle_move(bundle, target, &progress);
	console_progress_end();
	if (r == 0)
		console_say("ploop disk has been successfully moved to %s", target);
	return cli_exit_code(r, CLI_AT_CREATE);
}

static int run(void *p, int argc, char **argv)
{
	const struct move_args *a = p;
	struct pl_bundle *bundle;
	if (!disk_word_is_descriptor(argv[0]))
		return cli_misuse("%s is neither a descriptor nor the folder of a disk", argv[0]);
	int r = attached_refuse(argv[0]);
	if (r == 0)
		r = cli_exit_code(disk_open_bundle(argv[0], &a->outside, &bundle), CLI_AT_DESCRIPTOR);
	if (r != 0)
		return r;
	r = move(bundle, argv[1]);
	pl_bundle_close(bundle);
	return r;
}

const struct cli_command cmd_move = {
	.name = "move",
	.summary = "Move a stopped disk, also to another file system",
	.synopsis = {"[options] DD DIR"},
	.options = options,
	.examples = {
		{"ploop move /vz/ct1 /vz2/ct1", "Clones of it, and those it is a clone of, go on as before"},
	},
	.args_bytes = sizeof(struct move_args),
	.min_words = 2,
	.max_words = 2,
	.stock = true,
	.run = run,
};
