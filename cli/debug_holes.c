/* Where the host's file system has space for the file, and where it has none. */
#include "cli/debug.h"
#include "cli/output.h"

#include "base/cleanup.h"

#include <string.h>
#include <sys/types.h>

struct range_row {
	uint64_t offset_bytes, length_bytes;
	const char *kind;
};

static const struct out_column columns[] = {
	OUT_U64("offset", "", 16, " ", struct range_row, offset_bytes),
	OUT_U64("length", "", 16, " ", struct range_row, length_bytes),
	OUT_TEXT("kind", "", 0, "\n", struct range_row, kind),
	OUT_END,
};

static const struct cli_option options[] = {
	CLI_JSON(struct debug_args, json),
	CLI_END,
};

/* The end of the range of @whence's opposite that starts at @at. */
static int range_end(const struct debug_image *image, int whence, uint64_t at, uint64_t *end)
{
	off_t found = lseek(image->fd, (off_t)at, whence);
	if (found < 0 && errno != ENXIO)
		return pl_fail(-errno, "seek for %s: %s", whence == SEEK_DATA ? "data" : "a hole", strerror(errno));
	*end = found < 0 ? image->file_bytes : MIN((uint64_t)found, image->file_bytes);
	return 0;
}

static int print_ranges(const struct debug_image *image, struct out *out)
{
	bool in_hole = true; /* which may be empty */
	for (uint64_t at = 0, end = 0; at < image->file_bytes; at = end, in_hole = !in_hole) {
		int r = range_end(image, in_hole ? SEEK_DATA : SEEK_HOLE, at, &end);
		if (r < 0)
			return r;
		struct range_row row = {at, end - at, in_hole ? "hole" : "data"};
		if (end > at)
			out_row(out, columns, &row);
	}
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct debug_args *args = p;
	struct debug_image image;
	int r = debug_open(argv[0], &image);
	if (r < 0)
		return r;
	autofd int fd = image.fd;
	struct out out;
	out_begin(&out, args->json);
	out_text(&out, "          offset           length kind\n");
	out_list_begin(&out, "ranges");
	r = print_ranges(&image, &out);
	out_list_end(&out);
	int ended = out_end(&out);
	return r < 0 ? r : ended;
}

const struct cli_command debug_holes = {
	.name = "holes",
	.summary = "Print which parts of an image file take space on the host",
	.synopsis = {"[--json] IMAGE"},
	.options = options,
	.args_bytes = sizeof(struct debug_args),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
