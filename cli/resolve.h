/* What disk do the words on the command line mean? Decided here, once, for every command. */
#ifndef PLOOP_CLI_RESOLVE_H
#define PLOOP_CLI_RESOLVE_H

#include "cli/command.h"

#define DESCRIPTOR_NAME "DiskDescriptor.xml"

enum disk_kind { DISK_BUNDLE, DISK_IMAGES };

struct disk {
	enum disk_kind kind;
	struct pl_bundle *bundle;      /* DISK_BUNDLE */
	struct pl_chain_spec chain;    /* points into the bundle, or at @images */
	struct pl_image_ref *images;   /* DISK_IMAGES */
	int lock_fd;                   /* of the bundle, when it is opened for writing; else 0 */
};

struct disk_options {
	const struct cli_list *outside; /* --outside, or NULL */
	const struct cli_uuid *uuid;    /* NULL or "": the top */
	uint64_t cluster_sectors;       /* -b: of a raw base */
	struct cli_format base_format;  /* -f: of the first image of a list */
	bool for_writing;               /* first finish what an operation that died left in the bundle, and lock it */
};

/* Is it a descriptor by its form: *.xml, or a folder? */
bool disk_word_is_descriptor(const char *word);
bool disk_word_is_device(const char *word); /* a block device */

/* One word that is a descriptor, or a list of image files, base first. On success the disk is released with
 * disk_close(). Returns 0, CLI_MISUSE, or the *exit code* of the stock tool for what went wrong. */
int disk_resolve(int count, char **words, const struct disk_options *options, struct disk *out);
void disk_close(struct disk *disk);
/* Its server is ready: others may operate on the bundle. */
void disk_unlock(struct disk *disk);

/* A snapshot below the top is the base of others: it is never written. */
bool disk_is_below_top(const struct disk *disk);

/* Where the server of the disk listens for operations on its bundle, in @out; NULL, with a warning where that is one:
 * there is nothing to operate on, or no such place. */
const char *disk_control(const struct disk *disk, bool readonly, char *out, size_t out_bytes);

/* Whose pl_settings_load() the server shall follow; NULL: a list of images has none. */
const char *disk_settings(const struct disk *disk);

/* Only the bundle of @word. 0 or negative errno. */
int disk_open_bundle(const char *word, const struct cli_list *outside, struct pl_bundle **out);

#endif
