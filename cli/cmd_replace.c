/* ploop replace: another file, a copy of an image, takes its place in a disk. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/live.h"
#include "cli/resolve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct replace_args {
	bool keep_name, read_write;
	const char *level, *current, *new_image;
	struct cli_uuid uuid;
	struct cli_format format;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct replace_args, uuid, "the image with this id"),
	CLI_TEXT('l', "level", "LEVEL", struct replace_args, level, "the image so far from the base, which is 0"),
	CLI_TEXT('o', "image", "CUR_IMAGE", struct replace_args, current, "the image that is this file"),
	CLI_TEXT('i', "new-image", "NEW_IMAGE", struct replace_args, new_image, "the file that takes its place"),
	CLI_FLAG('k', "keep-name", struct replace_args, keep_name, "give NEW_IMAGE the name of the old file"),
	CLI_FORMAT('f', "format", struct replace_args, format, "accepted and ignored: it is that of the old file"),
	CLI_FLAG('w', "read-write", struct replace_args, read_write, "accepted and ignored"),
	CLI_OUTSIDE(struct replace_args, outside),
	CLI_END,
};

/* The image at @level of the top's chain, or the one that is @file. */
static int find_image(const struct replace_args *a, struct pl_bundle *bundle, struct cli_uuid *out)
{
	struct pl_chain_spec chain;
	struct stat wanted, st;
	uint64_t level = 0;
	int r = pl_bundle_chain(bundle, NULL, &chain);
	if (r == 0 && a->level)
		r = cli_parse_number(a->level, &level);
	if (r < 0)
		return r;
	if (a->level && level >= chain.count)
		return pl_fail(-EINVAL, "there is no level %llu: the disk has %zu images", (unsigned long long)level,
			       chain.count);
	if (a->current && stat(a->current, &wanted) < 0)
		return pl_fail(-EINVAL, "%s: %s", a->current, strerror(errno));
	for (size_t i = 0; i < chain.count; i++) {
		bool found = a->level ? i == level
				      : stat(chain.images[i].path, &st) == 0 && st.st_dev == wanted.st_dev &&
						st.st_ino == wanted.st_ino;
		if (found)
			return cli_parse_uuid(chain.images[i].guid, out);
	}
	return pl_fail(-EINVAL, "%s is no image of this disk", a->current);
}

static int replace(const struct replace_args *a, const struct live_disk *disk)
{
	struct cli_uuid guid = a->uuid;
	int r = 0;
	if (!guid.text[0])
		r = find_image(a, disk->bundle, &guid);
	if (r == 0)
		r = pl_bundle_replace(disk->bundle, disk->live, guid.text, a->new_image, a->keep_name);
	if (r < 0)
		return live_exit_code(disk, guid.text[0] ? guid.text : NULL, r, CLI_AT_CHAIN);
	console_say("Image %s is replaced by %s", guid.text, a->new_image);
	return 0;
}

static int check_args(const struct replace_args *a, int argc)
{
	if (!a->new_image)
		return cli_misuse("by what? -i NEW_IMAGE");
	if ((a->uuid.text[0] != '\0') + (a->level != NULL) + (a->current != NULL) != 1)
		return cli_misuse("which image? One of -u UUID, -l LEVEL, -o CUR_IMAGE");
	if (argc == 0 && !a->current)
		return cli_misuse("a descriptor is missing");
	return 0;
}

/* The word, or the folder of the current image. */
static char *descriptor_of(const struct replace_args *a, int argc, char **argv)
{
	if (argc)
		return strdup(argv[0]);
	const char *slash = strrchr(a->current, '/');
	char *out = NULL;
	int bytes = slash ? (int)(slash - a->current) : 0;
	return asprintf(&out, "%.*s%s" DESCRIPTOR_NAME, bytes, a->current, slash ? "/" : "") < 0 ? NULL : out;
}

static int run(void *p, int argc, char **argv)
{
	const struct replace_args *a = p;
	struct live_disk disk;
	int r = check_args(a, argc);
	if (r != 0)
		return r;
	autofree char *descriptor = descriptor_of(a, argc, argv);
	if (!descriptor)
		return pl_fail(-ENOMEM, "no memory for a path");
	r = live_disk_open(descriptor, &a->outside, &disk);
	if (r != 0)
		return r;
	r = replace(a, &disk);
	live_disk_close(&disk);
	return r;
}

const struct cli_command cmd_replace = {
	.name = "replace",
	.summary = "Replace an image of a disk by a copy of it",
	.synopsis = {
		"-u UUID|-l LEVEL [-k] -i NEW_IMAGE DD",
		"-o CUR_IMAGE [-k] -i NEW_IMAGE [DD]",
	},
	.options = options,
	.examples = {{"ploop replace -l 0 -i /vz/test/copy.hds /vz/test", "Take copy.hds for the base from now on"}},
	.args_bytes = sizeof(struct replace_args),
	.max_words = 1,
	.stock = true,
	.run = run,
};
