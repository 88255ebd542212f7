/* The BAT as it is on disk, neighbours joined: guest clusters [guest, guest + count) lie at file clusters [file, …). */
#include "cli/debug.h"
#include "cli/output.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "layout/header.h"

#include <string.h>

#define READ_SLOTS 16384u

struct run_row {
	uint64_t guest, file, count;
	const char *note; /* NULL: as it should be */
};

static const struct out_column columns[] = {
	OUT_U64("guest_cluster", "", 12, " ", struct run_row, guest),
	OUT_U64("file_cluster", "", 12, " ", struct run_row, file),
	OUT_U64("count", "", 12, "", struct run_row, count),
	OUT_TEXT("note", "  ", 0, "\n", struct run_row, note),
	OUT_END,
};

static const struct cli_option options[] = {
	CLI_JSON(struct debug_args, json),
	CLI_END,
};

struct walk {
	struct out out;
	struct lay_header header;
	uint64_t file_clusters;
	struct run_row run; /* count 0: none yet */
};

static const char *note_of(const struct walk *w, uint32_t slot, uint64_t guest, uint64_t file)
{
	if (guest >= lay_guest_clusters(&w->header))
		return "behind the disk";
	if (w->header.version == LAY_V1 && slot % w->header.cluster_sectors != 0)
		return "not at a cluster";
	if (file >= w->file_clusters)
		return "beyond the file";
	return file < lay_header_clusters(&w->header) ? "in the header" : NULL;
}

static void end_run(struct walk *w)
{
	if (w->run.count)
		out_row(&w->out, columns, &w->run);
	w->run.count = 0;
}

static void add_slot(struct walk *w, uint64_t guest, uint32_t slot)
{
	if (slot == 0) {
		end_run(w);
		return;
	}
	uint64_t file = lay_slot_to_cluster(&w->header, slot).n;
	const char *note = note_of(w, slot, guest, file);
	struct run_row *run = &w->run;
	if (run->count && run->note == note && run->guest + run->count == guest && run->file + run->count == file) {
		run->count++;
		return;
	}
	end_run(w);
	*run = (struct run_row){guest, file, 1, note};
}

static int walk_slots(struct walk *w, int fd, const char *path)
{
	autofree uint8_t *buffer = malloc(READ_SLOTS * LAY_BAT_SLOT_BYTES);
	if (!buffer)
		return pl_fail(-ENOMEM, "no memory for a piece of the BAT");
	uint64_t end = (uint64_t)w->header.first_block_sectors * SECTOR_BYTES;
	for (uint64_t at = LAY_HEADER_BYTES; at < end;) {
		size_t want = MIN(end - at, READ_SLOTS * LAY_BAT_SLOT_BYTES);
		ssize_t got = pread(fd, buffer, want, (off_t)at);
		if (got < 0)
			return pl_fail(-errno, "read %s at %llu: %s", path, (unsigned long long)at, strerror(errno));
		if (got < (ssize_t)LAY_BAT_SLOT_BYTES)
			return pl_fail(-EUCLEAN, "%s ends at %llu, inside its BAT, which ends at %llu", path,
				       (unsigned long long)at, (unsigned long long)end);
		uint64_t first = (at - LAY_HEADER_BYTES) / LAY_BAT_SLOT_BYTES;
		size_t slots = (size_t)got / LAY_BAT_SLOT_BYTES;
		for (size_t i = 0; i < slots; i++)
			add_slot(w, first + i, load_le32(buffer + i * LAY_BAT_SLOT_BYTES));
		at += slots * LAY_BAT_SLOT_BYTES;
	}
	end_run(w);
	return 0;
}

static int read_header(struct walk *w, const struct debug_image *image, const char *path)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	if (pread(image->fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
	    lay_header_decode(bytes, &w->header) != LAY_OK)
		return pl_fail(-EMEDIUMTYPE, "%s does not begin with the header of a ploop image", path);
	struct lay_journal journal;
	int r = lay_is_fenced(&w->header) ? debug_unfence(image, path, &w->header, &journal) : 0;
	if (r < 0)
		return r;
	if (w->header.cluster_sectors == 0)
		return pl_fail(-EUCLEAN, "%s: the cluster size is 0", path);
	w->file_clusters = image->file_bytes / lay_cluster_bytes(&w->header);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct debug_args *args = p;
	struct debug_image image;
	struct walk w = {0};
	int r = debug_open(argv[0], &image);
	if (r < 0)
		return r;
	autofd int fd = image.fd;
	r = read_header(&w, &image, argv[0]);
	if (r < 0)
		return r;
	out_begin(&w.out, args->json);
	out_text(&w.out, "       guest         file        count\n");
	out_list_begin(&w.out, "runs");
	r = walk_slots(&w, fd, argv[0]);
	out_list_end(&w.out);
	int ended = out_end(&w.out);
	return r < 0 ? r : ended;
}

const struct cli_command debug_bat = {
	.name = "bat",
	.summary = "Print the block allocation table of an image, in runs of clusters",
	.synopsis = {"[--json] IMAGE"},
	.options = options,
	.args_bytes = sizeof(struct debug_args),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
