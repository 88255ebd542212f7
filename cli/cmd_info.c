/* ploop info: usage of the file system, geometry, device. Works on a disk in use: it only looks. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/finish_disk.h"
#include "cli/guest_usage.h"
#include "cli/live.h"
#include "cli/output.h"
#include "cli/resolve.h"
#include "cli/with_disk.h"
#include "ploop-serve.h"

#include <errno.h>


struct info_args {
	bool spec, device, bat, json;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_FLAG('s', "spec", struct info_args, spec, "print size, cluster size and format version"),
	CLI_FLAG('d', "device", struct info_args, device, "print device and partition, empty when not mounted"),
	CLI_FLAG('b', "bat", struct info_args, bat, "accepted and ignored: see ploop debug bat"),
	CLI_OUTSIDE(struct info_args, outside),
	CLI_JSON(struct info_args, json),
	CLI_END,
};

struct usage_row {
	uint64_t blocks_kib, used_kib, inodes, inodes_used;
};

static const struct out_column usage_columns[] = {
	OUT_U64("blocks_kib", "  1k-blocks ", 14, " ", struct usage_row, blocks_kib),
	OUT_U64("used_kib", "", 14, "\n", struct usage_row, used_kib),
	OUT_U64("inodes", "     inodes ", 14, " ", struct usage_row, inodes),
	OUT_U64("inodes_used", "", 14, "\n", struct usage_row, inodes_used),
	OUT_END,
};

struct spec_row {
	uint64_t size_sectors;
	uint32_t cluster_sectors, version;
};

static const struct out_column spec_columns[] = {
	OUT_U64("size", "size:\t\t", 0, "\n", struct spec_row, size_sectors),
	OUT_U32("blocksize", "blocksize:\t", 0, "\n", struct spec_row, cluster_sectors),
	OUT_U32("fmt_version", "fmt_version:\t", 0, "\n", struct spec_row, version),
	OUT_END,
};

struct device_row {
	const char *device, *partition;
};

static const struct out_column device_columns[] = {
	OUT_TEXT("device", "device:\t\t", 0, "\n", struct device_row, device),
	OUT_TEXT("partition", "partition:\t", 0, "\n", struct device_row, partition),
	OUT_END,
};

/* Of the top image; a raw disk has its numbers in the descriptor only, and deltas above it would be version 2. */
static int print_spec(const struct disk *disk, struct out *out)
{
	const struct pl_image_ref *top = &disk->chain.images[disk->chain.count - 1];
	struct spec_row row = {disk->chain.size_sectors, disk->chain.cluster_sectors, 2};
	if (top->format == PL_FORMAT_PLOOP) {
		struct pl_image_info info;
		int r = pl_image_info(top, &info);
		if (r < 0)
			return cli_exit_code(r, CLI_AT_OPEN);
		row = (struct spec_row){info.size_sectors, info.cluster_sectors, info.version};
	}
	out_row(out, spec_columns, &row);
	return 0;
}

/* Mounted: what the kernel says; else what the last umount said; else what the superblock says. */
static int find_usage(const struct disk *disk, const struct pl_device *device, struct guest_usage *u)
{
	if (device && guest_usage_from_mount(device, u) == 0)
		return 0;
	if (!device && guest_usage_from_statfs(disk->chain.images[0].path, u) == 0)
		return 0;
	return guest_usage_from_disk(&disk->chain, u);
}

static int print_usage(const struct disk *disk, const struct pl_device *device, struct out *out)
{
	struct guest_usage u;
	int r = find_usage(disk, device, &u);
	if (r < 0)
		return cli_exit_code(pl_wrap(r, "usage of %s", pl_bundle_path(disk->bundle)), CLI_AT_OPEN);
	struct usage_row row = {
		.blocks_kib = u.blocks * (u.block_bytes / 512) / 2,
		.used_kib = (u.blocks - MIN(u.blocks, u.blocks_free)) * (u.block_bytes / 512) / 2,
		.inodes = u.inodes,
		.inodes_used = u.inodes - MIN(u.inodes, u.inodes_free),
	};
	out_text(out, "   resource           Size           Used\n");
	out_row(out, usage_columns, &row);
	return 0;
}

struct unfinished_row {
	bool unfinished;
	uint64_t clusters;
};

static const struct out_column unfinished_columns[] = {
	OUT_BOOL("unfinished", NULL, 0, NULL, struct unfinished_row, unfinished),
	OUT_U64("unfinished_clusters", "unfinished:\t", 0, " clusters, see ploop finish\n", struct unfinished_row,
		clusters),
	OUT_END,
};

static int count_partial(struct pl_disk *disk, void *arg)
{
	struct pl_disk_info info;
	pl_disk_get_info(disk, &info);
	*(uint64_t *)arg = info.partial_clusters;
	return 0;
}

/* The server knows; of a stopped disk the image does. */
static uint64_t unfinished_clusters(const struct disk *disk)
{
	struct pl_live *live = NULL;
	struct pl_disk_info info = {0};
	if (live_find(disk->bundle, &live) == 0 && live)
		live->ops->info(live, &info);
	else
		with_disk(&disk->chain, WITH_DISK_PEEK, count_partial, &info.partial_clusters);
	pl_live_close(live);
	return info.partial_clusters;
}

/* The lines of the stock tool come first, and alone when there is nothing to tell. */
static void print_unfinished(const struct disk *disk, struct out *out)
{
	struct unfinished_row row = {.unfinished = chain_is_unfinished(&disk->chain)};
	if (row.unfinished)
		row.clusters = unfinished_clusters(disk);
	if (row.unfinished || out->json)
		out_row(out, unfinished_columns, &row);
}

static void print_device(const struct pl_device *device, struct out *out)
{
	struct device_row row = {device ? device->node : "", device ? device->partition : ""};
	out_row(out, device_columns, &row);
}

static int print_parts(const struct info_args *args, const struct disk *disk, const struct pl_device *device,
		       struct out *out)
{
	int r = 0;
	if (args->spec)
		r = print_spec(disk, out);
	if (r == 0 && args->device)
		print_device(device, out);
	if (r == 0 && !args->spec && !args->device)
		r = print_usage(disk, device, out);
	if (r == 0 && (args->spec || !args->device))
		print_unfinished(disk, out);
	return r;
}

static int run(void *p, int argc, char **argv)
{
	struct info_args *args = p;
	struct disk disk;
	if (!disk_word_is_descriptor(argv[0]))
		return cli_misuse("%s is neither a DiskDescriptor.xml nor the folder of one", argv[0]);
	int r = disk_resolve(1, argv, &(struct disk_options){.outside = &args->outside}, &disk);
	if (r != 0)
		return r;
	struct pl_device *device = NULL;
	r = pl_device_find(pl_bundle_path(disk.bundle), NULL, &device);
	if (r < 0 && r != -ENOENT)
		console_warn("%s", pl_error());
	struct out out;
	out_begin(&out, args->json);
	r = print_parts(args, &disk, device, &out);
	int ended = out_end(&out);
	if (device)
		pl_device_free(device);
	disk_close(&disk);
	return r ? r : ended;
}

const struct cli_command cmd_info = {
	.name = "info",
	.summary = "Show how full a disk is, its geometry, its device",
	.synopsis = {"[-s] [-d] [--json] DD"},
	.options = options,
	.examples = {
		{"ploop info -s /vz/test/DiskDescriptor.xml", "Size in sectors, cluster size, version"},
		{"ploop info --json /vz/test", "Usage for a program"},
	},
	.args_bytes = sizeof(struct info_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.parsed_output = true,
	.run = run,
};
