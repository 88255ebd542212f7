/* ploop init: an image, optionally with a file system, and its descriptor.
 *
 *	step                    a crash leaves                     how it is repaired
 *	create image            an image that no descriptor names  delete it, run init again
 *	fill with file system   the same
 *	write the descriptor    the same, or the finished disk
 */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/init_fill.h"
#include "cli/interrupt.h"
#include "cli/resolve.h"

#include "base/cleanup.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SIZE_SECTORS_WITH_FILESYSTEM (50 * TIB / SECTOR_BYTES)
#define DEFAULT_CLUSTER_SECTORS 2048u
#define DEFAULT_VERSION 2u
#define TOP_GUID "{5fbaabe3-6958-40ff-92a7-860e329aab41}"

struct init_args {
	uint64_t size_sectors;
	struct cli_format format;
	uint64_t version;
	const char *fstype;
	uint64_t cluster_sectors;
	uint64_t block_bytes;
	const char *label;
	bool nolazy, sparse, no_partition;
};

static const struct cli_option options[] = {
	CLI_SIZE('s', "size", "SIZE", struct init_args, size_sectors,
		 "size of the disk: sectors, or with K, M, G or T"),
	CLI_FORMAT('f', "format", struct init_args, format, "expanded (default), preallocated or raw"),
	CLI_NUMBER('v', "image-version", "1|2", struct init_args, version, "version of the image format, 2 by default"),
	CLI_TEXT('t', "fstype", "TYPE", struct init_args, fstype,
		 "file system: ext4 (default), ext3, xfs, any other mkfs that is installed, or none"),
	CLI_NUMBER('b', "cluster", "SECTORS", struct init_args, cluster_sectors,
		   "cluster size, a power of two from 64 to 131072, 2048 by default"),
	CLI_NUMBER('B', "fs-block-size", "BYTES", struct init_args, block_bytes,
		   "block size of the file system, 4096 by default"),
	CLI_TEXT('L', "label", "LABEL", struct init_args, label, "label of the file system"),
	CLI_FLAG('n', "nolazy", struct init_args, nolazy, "initialise the inode tables of ext4 now"),
	CLI_FLAG('S', "sparse", struct init_args, sparse, "make a raw image of a hole instead of zeros"),
	CLI_FLAG('P', "no-partition", struct init_args, no_partition,
		 "no partition table: the file system has the whole disk"),
	CLI_END,
};

/* What the command line comes to. */
struct plan {
	const char *image;
	char dir[PATH_MAX], name[NAME_MAX + 1];
	struct pl_create_options create;
	bool with_filesystem;
	struct fill_options fill;
};

static int plan_names(struct plan *plan, const char *delta)
{
	autofree char *for_dir = strdup(delta);
	autofree char *for_name = strdup(delta);
	if (!for_dir || !for_name)
		return pl_fail(-ENOMEM, "no memory for a file name");
	const char *name = basename(for_name);
	if (strlen(name) > NAME_MAX || name[0] == '/' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return pl_fail(-EINVAL, "%s is not the name of an image file", delta);
	plan->image = delta;
	snprintf(plan->name, sizeof(plan->name), "%s", name);
	const char *dir = dirname(for_dir);
	if (!realpath(dir, plan->dir))
		return pl_fail(-errno, "%s: %s", dir, strerror(errno));
	return 0;
}

static int check_numbers(const struct init_args *a)
{
	if (a->size_sectors == 0)
		return cli_misuse("the size of the disk is missing: -s SIZE");
	if (a->version > 2)
		return cli_misuse("Incorrect version %llu: 1 or 2", (unsigned long long)a->version);
	uint64_t cluster = a->cluster_sectors;
	if (cluster && (!is_pow2(cluster) || cluster < 64 || cluster > 131072))
		return cli_misuse("Incorrect cluster size %llu: a power of two from 64 to 131072 sectors",
				  (unsigned long long)cluster);
	return 0;
}

static int plan_filesystem(struct plan *plan, const struct init_args *a)
{
	const char *type = a->fstype ? a->fstype : FILESYSTEM_DEFAULT;
	plan->with_filesystem = strcmp(type, FILESYSTEM_NONE) != 0;
	if (!plan->with_filesystem)
		return 0;
	plan->fill = (struct fill_options){
		.size_sectors = plan->create.size_sectors,
		.cluster_sectors = plan->create.cluster_sectors,
		.partition = !a->no_partition,
		.filesystem = {
			.type = type,
			.block_bytes = a->block_bytes,
			.label = a->label,
			.nolazy = a->nolazy,
		},
	};
	if (plan->create.size_sectors > MAX_SIZE_SECTORS_WITH_FILESYSTEM)
		return pl_fail(-EINVAL, "%llu sectors are too many for a disk with a file system, the limit is %llu",
			       (unsigned long long)plan->create.size_sectors,
			       (unsigned long long)MAX_SIZE_SECTORS_WITH_FILESYSTEM);
	int r = fill_check(&plan->fill);
	if (r == 0)
		r = filesystem_check(&plan->fill.filesystem);
	return r == -ENOENT ? cli_exit_code(r, CLI_AT_MKFS) : r;
}

static int make_plan(struct plan *plan, const struct init_args *a, const char *delta)
{
	int r = check_numbers(a);
	if (r == 0)
		r = cli_exit_code(plan_names(plan, delta), CLI_AT_CREATE);
	if (r != 0)
		return r;
	uint32_t cluster = a->cluster_sectors ? (uint32_t)a->cluster_sectors : DEFAULT_CLUSTER_SECTORS;
	plan->create = (struct pl_create_options){
		.size = sizeof(plan->create),
		.size_sectors = div_up(a->size_sectors, cluster) * cluster,
		.cluster_sectors = cluster,
		.version = a->version ? (uint32_t)a->version : DEFAULT_VERSION,
		.mode = a->format.mode,
		.sparse = a->sparse,
	};
	return plan_filesystem(plan, a);
}

/* Exit code 38 for an image that is there already, 17 for a descriptor. */
static int check_absent(const struct plan *plan)
{
	struct stat st;
	char xml[PATH_MAX + sizeof("/" DESCRIPTOR_NAME)];
	snprintf(xml, sizeof(xml), "%s/" DESCRIPTOR_NAME, plan->dir);
	if (lstat(plan->image, &st) == 0)
		return cli_exit_code(pl_fail(-EEXIST, "%s exists already", plan->image), CLI_AT_CREATE);
	if (lstat(xml, &st) == 0)
		return cli_exit_code(pl_fail(-EEXIST, "%s exists already", xml), CLI_AT_DESCRIPTOR_WRITE);
	return 0;
}

static int fill(const struct plan *plan)
{
	struct pl_image_ref image = {
		.path = plan->image,
		.dir_fd = -1,
		.format = plan->create.mode == PL_MODE_RAW ? PL_FORMAT_RAW : PL_FORMAT_PLOOP,
	};
	struct pl_chain_spec chain = {
		.size = sizeof(chain),
		.images = &image,
		.count = 1,
		.cluster_sectors = plan->create.cluster_sectors,
		.size_sectors = plan->create.size_sectors,
		.preallocated = plan->create.mode == PL_MODE_PREALLOCATED,
	};
	console_say("Making a file system of type %s", plan->fill.filesystem.type);
	return cli_exit_code(fill_disk(&chain, &plan->fill), CLI_AT_MKFS);
}

static int store_descriptor(const struct plan *plan)
{
	console_say("Adding snapshot " TOP_GUID);
	console_say("Storing %s/" DESCRIPTOR_NAME, plan->dir);
	int r = pl_bundle_create(plan->dir, plan->name, plan->create.mode, plan->create.cluster_sectors,
				 plan->create.size_sectors);
	return cli_exit_code(r, CLI_AT_DESCRIPTOR_WRITE);
}

static int create_disk(const struct plan *plan)
{
	console_say("Creating delta %s bs=%u size=%llu sectors v%u", plan->image, plan->create.cluster_sectors,
		    (unsigned long long)plan->create.size_sectors, plan->create.version);
	int r = cli_exit_code(pl_image_create(plan->image, &plan->create), CLI_AT_CREATE);
	if (r != 0)
		return r;
	if (plan->with_filesystem)
		r = fill(plan);
	if (r == 0)
		r = interrupt_check() < 0 ? EXIT_SYS : store_descriptor(plan);
	if (r != 0)
		unlink(plan->image);
	return r;
}

/* A device gets its file system as it is; -s has no meaning there. */
static int init_device(const struct init_args *a, const char *device)
{
	struct filesystem_options fs = {
		.type = a->fstype ? a->fstype : FILESYSTEM_DEFAULT,
		.block_bytes = a->block_bytes,
		.label = a->label,
		.nolazy = a->nolazy,
	};
	if (!a->no_partition)
		return cli_misuse("%s is a block device: make its partitions with a tool for that, or give -P", device);
	int r = filesystem_check(&fs);
	if (r < 0)
		return cli_exit_code(r, r == -ENOENT ? CLI_AT_MKFS : CLI_AT_OTHER);
	uint64_t bytes;
	r = filesystem_device_bytes(device, &bytes);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_DEVICE);
	return cli_exit_code(filesystem_make(device, bytes, &fs), CLI_AT_MKFS);
}

static int run(void *args, int argc, char **argv)
{
	const struct init_args *a = args;
	if (disk_word_is_device(argv[0]))
		return init_device(a, argv[0]);
	struct plan plan = {0};
	int r = make_plan(&plan, a, argv[0]);
	if (r == 0)
		r = check_absent(&plan);
	if (r != 0)
		return r;
	interrupt_catch();
	return create_disk(&plan);
}

const struct cli_command cmd_init = {
	.name = "init",
	.summary = "Create a disk: image, descriptor and, unless -t none, a file system",
	.synopsis = {"-s SIZE [options] DELTA", "-P [-t TYPE] DEVICE"},
	.options = options,
	.examples = {
		{"ploop init -s 10G /vz/test/root.hds", "A disk of 10 GiB with ext4 in one partition"},
		{"ploop init -s 1G -t none -b 128 -f preallocated disk.hds", "An empty disk with small clusters"},
	},
	.args_bytes = sizeof(struct init_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
