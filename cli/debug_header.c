/* The header as it is on disk: nothing is judged. */
#include "cli/console.h"
#include "cli/debug.h"
#include "cli/output.h"

#include "base/cleanup.h"
#include "layout/header.h"

#include <string.h>

struct header_row {
	const char *signature, *in_use;
	uint32_t type, version, heads, cylinders, cluster_sectors, bat_entries, marker, first_block_sectors, flags;
	uint64_t size_sectors, ext_sectors, file_bytes;
};

static const struct out_column columns[] = {
	OUT_TEXT("signature", "signature:      ", 0, "\n", struct header_row, signature),
	OUT_U32("version", "version:        ", 0, "\n", struct header_row, version),
	OUT_U32("type", "type:           ", 0, "\n", struct header_row, type),
	OUT_U32("heads", "heads:          ", 0, "\n", struct header_row, heads),
	OUT_U32("cylinders", "cylinders:      ", 0, "\n", struct header_row, cylinders),
	OUT_U32("cluster_sectors", "cluster:        ", 0, " sectors\n", struct header_row, cluster_sectors),
	OUT_U32("bat_entries", "BAT entries:    ", 0, "\n", struct header_row, bat_entries),
	OUT_U64("size_sectors", "size:           ", 0, " sectors\n", struct header_row, size_sectors),
	OUT_U32("marker", "marker:         ", 0, "", struct header_row, marker),
	OUT_TEXT("state", " ", 0, "\n", struct header_row, in_use),
	OUT_U32("first_block_sectors", "first block:    ", 0, " sectors\n", struct header_row, first_block_sectors),
	OUT_U32("flags", "flags:          ", 0, "\n", struct header_row, flags),
	OUT_U64("ext_sectors", "extension at:   ", 0, " sectors\n", struct header_row, ext_sectors),
	OUT_U64("file_bytes", "file:           ", 0, " bytes\n", struct header_row, file_bytes),
	OUT_END,
};

/* A fenced header hides cluster size and flags; where the extension would be is the journal. */
struct fence_row {
	uint32_t cluster_sectors, flags;
	uint64_t journal_sectors, journal_bytes;
};

static const struct out_column fence_columns[] = {
	OUT_U32("fenced_cluster_sectors", "fenced: true cluster ", 0, " sectors,", struct fence_row, cluster_sectors),
	OUT_U32("fenced_flags", " true flags ", 0, ",", struct fence_row, flags),
	OUT_U64("journal_sectors", " journal at ", 0, " sectors,", struct fence_row, journal_sectors),
	OUT_U64("journal_bytes", " of ", 0, " bytes\n", struct fence_row, journal_bytes),
	OUT_END,
};

static void print_fence(const struct debug_image *image, const char *path, struct lay_header h, struct out *out)
{
	struct lay_journal journal;
	uint64_t at = h.ext_sectors;
	if (!lay_is_fenced(&h))
		return;
	if (debug_unfence(image, path, &h, &journal) < 0) {
		console_warn("%s", pl_error());
		pl_error_clear();
		return;
	}
	struct fence_row row = {h.cluster_sectors, h.flags, at, journal.area_bytes};
	out_row(out, fence_columns, &row);
}

static const struct cli_option options[] = {
	CLI_JSON(struct debug_args, json),
	CLI_END,
};

static const char *marker_text(uint32_t marker)
{
	switch (marker) {
	case LAY_IN_USE:
		return "in use";
	case LAY_CLOSED_V20:
		return "closed";
	case LAY_CLOSED_V21:
		return "closed, with extension";
	default:
		return "unknown";
	}
}

static int run(void *p, int argc, char **argv)
{
	const struct debug_args *args = p;
	struct debug_image image;
	int r = debug_open(argv[0], &image);
	if (r < 0)
		return r;
	autofd int fd = image.fd;
	uint8_t bytes[LAY_HEADER_BYTES];
	if (pread(fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return pl_fail(-EMEDIUMTYPE, "%s has %llu bytes, too short for a header", argv[0],
			       (unsigned long long)image.file_bytes);
	struct lay_header h;
	if (lay_header_decode(bytes, &h) != LAY_OK)
		return pl_fail(-EMEDIUMTYPE, "%s does not begin with the signature of a ploop image", argv[0]);
	char signature[17] = "";
	memcpy(signature, bytes, 16);
	struct header_row row = {
		.signature = signature,
		.in_use = marker_text(h.in_use),
		.type = h.type,
		.version = h.version,
		.heads = h.heads,
		.cylinders = h.cylinders,
		.cluster_sectors = h.cluster_sectors,
		.bat_entries = h.bat_entries,
		.marker = h.in_use,
		.first_block_sectors = h.first_block_sectors,
		.flags = h.flags,
		.size_sectors = h.size_sectors,
		.ext_sectors = h.ext_sectors,
		.file_bytes = image.file_bytes,
	};
	struct out out;
	out_begin(&out, args->json);
	out_row(&out, columns, &row);
	print_fence(&image, argv[0], h, &out);
	return out_end(&out);
}

const struct cli_command debug_header = {
	.name = "header",
	.summary = "Print the header of an image",
	.synopsis = {"[--json] IMAGE"},
	.options = options,
	.args_bytes = sizeof(struct debug_args),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
