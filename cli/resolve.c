/* A descriptor is told by its name or by being a folder; everything else is an image file. */
#include "cli/resolve.h"

#include "base/cleanup.h"
#include "cli/console.h"
#include "ploop-serve.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static bool has_suffix(const char *word, const char *suffix)
{
	size_t n = strlen(word), m = strlen(suffix);
	return n >= m && strcasecmp(word + n - m, suffix) == 0;
}

bool disk_word_is_descriptor(const char *word)
{
	struct stat st;
	return has_suffix(word, ".xml") || (stat(word, &st) == 0 && S_ISDIR(st.st_mode));
}

bool disk_word_is_device(const char *word)
{
	struct stat st;
	return stat(word, &st) == 0 && S_ISBLK(st.st_mode);
}

int disk_open_bundle(const char *word, const struct cli_list *outside, struct pl_bundle **out)
{
	struct pl_bundle_options options = {
		.size = sizeof(options),
		.outside = outside && outside->count ? outside->items : NULL,
	};
	return pl_bundle_open(word, &options, out);
}

static int resolve_bundle(const char *word, const struct disk_options *options, struct disk *disk)
{
	int r = disk_open_bundle(word, options->outside, &disk->bundle);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_DESCRIPTOR);
	const char *uuid = options->uuid && options->uuid->text[0] ? options->uuid->text : NULL;
	if (options->for_writing && !uuid)
		r = pl_bundle_hold(disk->bundle, &disk->lock_fd);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_OPEN);
	r = pl_bundle_chain(disk->bundle, uuid, &disk->chain);
	if (r < 0)
		return cli_exit_code(r, r == -ENOENT ? CLI_AT_SNAPSHOT : CLI_AT_DESCRIPTOR);
	return 0;
}

static int resolve_images(int count, char **words, const struct disk_options *options, struct disk *disk)
{
	if (options->uuid && options->uuid->text[0])
		return cli_misuse("-u needs a descriptor");
	if (count > PL_MAX_CHAIN)
		return cli_misuse("%d images, the limit is %d", count, PL_MAX_CHAIN);
	bool raw_base = options->base_format.given && options->base_format.mode == PL_MODE_RAW;
	if (raw_base && options->cluster_sectors == 0)
		return cli_misuse("a raw image needs -b, the cluster size in sectors");
	if (options->cluster_sectors > UINT32_MAX)
		return cli_misuse("cluster size %llu is not a size in sectors",
				  (unsigned long long)options->cluster_sectors);
	disk->images = calloc((size_t)count, sizeof(*disk->images));
	if (!disk->images)
		return cli_exit_code(pl_fail(-ENOMEM, "no memory for %d images", count), CLI_AT_OPEN);
	for (int i = 0; i < count; i++) {
		struct pl_image_ref *image = &disk->images[i];
		image->path = words[i];
		image->dir_fd = -1;
		image->format = i == 0 && raw_base ? PL_FORMAT_RAW : PL_FORMAT_PLOOP;
	}
	disk->chain = (struct pl_chain_spec){
		.size = sizeof(disk->chain),
		.images = disk->images,
		.count = (size_t)count,
		.cluster_sectors = (uint32_t)options->cluster_sectors,
	};
	return 0;
}

int disk_resolve(int count, char **words, const struct disk_options *options, struct disk *out)
{
	struct disk disk = {.kind = DISK_IMAGES};
	int r;
	if (disk_word_is_descriptor(words[0])) {
		disk.kind = DISK_BUNDLE;
		r = count == 1 ? resolve_bundle(words[0], options, &disk)
			       : cli_misuse("%s is a descriptor: it stands alone", words[0]);
	} else {
		r = resolve_images(count, words, options, &disk);
	}
	if (r != 0) {
		disk_close(&disk);
		return r;
	}
	*out = disk;
	return 0;
}

bool disk_is_below_top(const struct disk *disk)
{
	if (disk->kind != DISK_BUNDLE)
		return false;
	struct pl_bundle_info info;
	pl_bundle_get_info(disk->bundle, &info);
	return strcmp(disk->chain.images[disk->chain.count - 1].guid, info.top_guid) != 0;
}

const char *disk_control(const struct disk *disk, bool readonly, char *out, size_t out_bytes)
{
	if (readonly || disk->kind != DISK_BUNDLE)
		return NULL;
	if (pl_control_path(pl_bundle_path(disk->bundle), out, out_bytes) == 0)
		return out;
	console_warn("no snapshots of this disk while it runs: %s", pl_error());
	return NULL;
}

const char *disk_settings(const struct disk *disk)
{
	return disk->kind == DISK_BUNDLE ? pl_bundle_path(disk->bundle) : NULL;
}

void disk_unlock(struct disk *disk)
{
	if (disk->lock_fd > 0)
		close(disk->lock_fd);
	disk->lock_fd = 0;
}

void disk_close(struct disk *disk)
{
	if (disk->bundle)
		pl_bundle_close(disk->bundle);
	disk_unlock(disk);
	free(disk->images);
	*disk = (struct disk){0};
}
