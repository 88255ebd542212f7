/* What the server of a disk did last, from the memory that its holder keeps: also after the server died. */
#include "cli/debug.h"
#include "cli/output.h"
#include "cli/resolve.h"
#include "cli/with_disk.h"

struct line_row {
	const char *text;
};

static const struct out_column columns[] = {
	OUT_TEXT("line", "", 0, "\n", struct line_row, text),
	OUT_END,
};

static const struct cli_option options[] = {
	CLI_OUTSIDE(struct debug_args, outside),
	CLI_JSON(struct debug_args, json),
	CLI_END,
};

static void print_line(void *arg, const char *text)
{
	struct out *out = arg;
	out_row(out, columns, &(struct line_row){text});
}

static int dump(struct pl_disk *disk, void *arg)
{
	pl_disk_dump(disk, print_line, arg);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	struct debug_args *args = p;
	struct disk disk;
	int r = disk_resolve(argc, argv, &(struct disk_options){.outside = &args->outside}, &disk);
	if (r != 0)
		return r;
	struct out out;
	out_begin(&out, args->json);
	out_list_begin(&out, "events");
	r = with_disk(&disk.chain, WITH_DISK_PEEK, dump, &out);
	out_list_end(&out);
	int ended = out_end(&out);
	disk_close(&disk);
	return r < 0 ? r : ended;
}

const struct cli_command debug_events = {
	.name = "events",
	.summary = "Print counters and the latest events of the disk's server, living or dead",
	.synopsis = {"[--json] DD", "[--json] BASE [… TOP]"},
	.options = options,
	.args_bytes = sizeof(struct debug_args),
	.min_words = 1,
	.max_words = -1,
	.run = run,
};
