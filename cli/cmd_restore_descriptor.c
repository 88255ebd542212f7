/* ploop restore-descriptor: a new descriptor for a single image whose own was lost. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/resolve.h"

#include "base/cleanup.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define RAW_MIN_CLUSTER_SECTORS (32 * KIB / SECTOR_BYTES)
#define RAW_MAX_CLUSTER_SECTORS (MIB / SECTOR_BYTES)

struct restore_args {
	struct cli_format format;
	uint64_t cluster_sectors;
};

static const struct cli_option options[] = {
	CLI_FORMAT('f', "format", struct restore_args, format, "what the image is: ploop1 (default) or raw"),
	CLI_NUMBER('b', "cluster", "SECTORS", struct restore_args, cluster_sectors,
		   "cluster size for a raw image; by default the largest one up to 1 MiB that divides it"),
	CLI_END,
};

struct geometry {
	uint32_t cluster_sectors;
	uint64_t size_sectors;
};

/* The name of @image below @dir, both canonical; NULL when it lies elsewhere. */
static const char *name_below(const char *dir, const char *image)
{
	size_t n = strlen(dir);
	if (strcmp(dir, "/") == 0)
		return image + 1;
	return strncmp(dir, image, n) == 0 && image[n] == '/' ? image + n + 1 : NULL;
}

static int raw_geometry(const char *image, uint64_t wanted_cluster, struct geometry *out)
{
	struct stat st;
	if (stat(image, &st) < 0)
		return pl_fail(-errno, "%s: %s", image, strerror(errno));
	uint64_t bytes = (uint64_t)st.st_size;
	uint64_t cluster = wanted_cluster ? wanted_cluster : RAW_MAX_CLUSTER_SECTORS;
	if (!is_pow2(cluster) || cluster < RAW_MIN_CLUSTER_SECTORS || cluster > UINT32_MAX)
		return pl_fail(-EINVAL, "cluster size %llu is not a power of two of at least %llu sectors",
			       (unsigned long long)cluster, (unsigned long long)RAW_MIN_CLUSTER_SECTORS);
	while (!wanted_cluster && cluster > RAW_MIN_CLUSTER_SECTORS && bytes % (cluster * SECTOR_BYTES) != 0)
		cluster /= 2;
	if (bytes == 0 || bytes % (cluster * SECTOR_BYTES) != 0)
		return pl_fail(-EINVAL, "%s has %llu bytes, not a multiple of its cluster of %llu bytes", image,
			       (unsigned long long)bytes, (unsigned long long)(cluster * SECTOR_BYTES));
	*out = (struct geometry){(uint32_t)cluster, bytes / SECTOR_BYTES};
	return 0;
}

static int ploop_geometry(const char *image, struct geometry *out)
{
	struct pl_image_ref ref = {.path = image, .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_image_info info;
	int r = pl_image_info(&ref, &info);
	if (r < 0)
		return r;
	*out = (struct geometry){info.cluster_sectors, info.size_sectors};
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct restore_args *args = p;
	if (args->format.given && args->format.mode == PL_MODE_PREALLOCATED)
		return cli_misuse("Incorrect format: raw or ploop1");
	autofree char *dir = realpath(argv[0], NULL);
	if (!dir)
		return cli_exit_code(pl_fail(-errno, "%s: %s", argv[0], strerror(errno)), CLI_AT_OPEN);
	autofree char *image = realpath(argv[1], NULL);
	if (!image)
		return cli_exit_code(pl_fail(-errno, "%s: %s", argv[1], strerror(errno)), CLI_AT_OPEN);
	const char *name = name_below(dir, image);
	if (!name)
		return cli_exit_code(pl_fail(-EINVAL, "%s is not in %s: a disk's images lie beside its descriptor",
					     image, dir),
				     CLI_AT_OTHER);

	struct geometry g = {0};
	enum pl_image_mode mode = args->format.mode;
	int r = mode == PL_MODE_RAW ? raw_geometry(image, args->cluster_sectors, &g) : ploop_geometry(image, &g);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_OPEN);
	console_say("Storing %s/" DESCRIPTOR_NAME, dir);
	return cli_exit_code(pl_bundle_create(dir, name, mode, g.cluster_sectors, g.size_sectors),
			     CLI_AT_DESCRIPTOR_WRITE);
}

const struct cli_command cmd_restore_descriptor = {
	.name = "restore-descriptor",
	.summary = "Write the descriptor of a disk that consists of one image",
	.synopsis = {"[-f raw|ploop1] [-b SECTORS] DIR BASE_IMAGE"},
	.options = options,
	.examples = {{"ploop restore-descriptor /vz/test /vz/test/root.hds", "Make /vz/test/DiskDescriptor.xml anew"}},
	.args_bytes = sizeof(struct restore_args),
	.min_words = 2,
	.max_words = 2,
	.stock = true,
	.run = run,
};
