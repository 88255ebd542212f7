#include "cli/merge_images.h"

#include "cli/command.h"
#include "cli/console.h"
#include "cli/progress.h"

#include <errno.h>

/* The engine takes any file without a header for a raw one. */
static int check_base(const char *path, bool raw)
{
	struct pl_image_ref ref = {.path = path, .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_image_info info;
	int r = pl_image_info(&ref, &info);
	if (r == 0 && raw)
		return pl_fail(-EINVAL, "%s is an image with a header, not a raw one", path);
	return raw && r == -EMEDIUMTYPE ? 0 : r;
}

int merge_images(int count, char **words, const char *into, bool raw_base)
{
	if (count < 2)
		return cli_misuse("two images at least, the base last");
	int r = check_base(words[count - 1], raw_base);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_OPEN);
	struct pl_progress progress = progress_begin("Merging");
	r = pl_images_merge((const char *const *)words, (size_t)count, into, &progress);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_OPEN);
	console_say("Merged %d images into %s", count, into ? into : words[count - 1]);
	return 0;
}
