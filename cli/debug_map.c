/* What the guest's bytes come from, over the whole chain. */
#include "cli/debug.h"
#include "cli/output.h"
#include "cli/resolve.h"
#include "cli/with_disk.h"

#define EXTENTS 256

struct extent_row {
	uint64_t offset_bytes, length_bytes;
	uint32_t depth;
	bool hole, zero;
};

static const struct out_column columns[] = {
	OUT_U64("offset", "", 16, " ", struct extent_row, offset_bytes),
	OUT_U64("length", "", 16, " ", struct extent_row, length_bytes),
	OUT_U32("depth", "", 6, " ", struct extent_row, depth),
	OUT_BOOL("hole", "", 5, " ", struct extent_row, hole),
	OUT_BOOL("zero", "", 5, "\n", struct extent_row, zero),
	OUT_END,
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct debug_args, uuid, "the chain up to this snapshot (with a descriptor)"),
	CLI_OUTSIDE(struct debug_args, outside),
	CLI_JSON(struct debug_args, json),
	CLI_END,
};

static int print_map(struct pl_disk *disk, void *arg)
{
	struct out *out = arg;
	struct pl_disk_info info;
	pl_disk_get_info(disk, &info);
	for (uint64_t at = 0; at < info.size_bytes;) {
		struct pl_extent extents[EXTENTS];
		size_t n = pl_map(disk, at, info.size_bytes - at, extents, EXTENTS);
		if (n == 0)
			break;
		for (size_t i = 0; i < n; i++) {
			const struct pl_extent *e = &extents[i];
			struct extent_row row = {at, e->length_bytes, e->depth, e->flags & PL_EXTENT_HOLE,
						 e->flags & PL_EXTENT_ZERO};
			out_row(out, columns, &row);
			at += e->length_bytes;
		}
	}
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	struct debug_args *args = p;
	struct disk disk;
	int r = disk_resolve(argc, argv, &(struct disk_options){.outside = &args->outside, .uuid = &args->uuid}, &disk);
	if (r != 0)
		return r;
	struct out out;
	out_begin(&out, args->json);
	out_text(&out, "          offset           length  depth  hole  zero\n");
	out_list_begin(&out, "extents");
	r = with_disk(&disk.chain, WITH_DISK_PEEK, print_map, &out);
	out_list_end(&out);
	int ended = out_end(&out);
	disk_close(&disk);
	return r < 0 ? r : ended;
}

const struct cli_command debug_map = {
	.name = "map",
	.summary = "Print which delta of a chain holds what: depth 1 is the top, 0 is nowhere",
	.synopsis = {"[-u UUID] [--json] DD", "[--json] BASE [… TOP]"},
	.options = options,
	.args_bytes = sizeof(struct debug_args),
	.min_words = 1,
	.max_words = -1,
	.run = run,
};
