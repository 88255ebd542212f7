/* Merging image files that no descriptor names, or that the operator knows better than it. */
#include "snapshot/op.h"

#include <errno.h>
#include <fcntl.h>

/* What is no image of ours must be raw, of which only a base may be. */
static int look(const char *path, struct pl_image_ref *ref, struct pl_image_info *info)
{
	*ref = (struct pl_image_ref){.path = path, .name = path, .dir_fd = -1};
	return pl_image_info(ref, info);
}

static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	autofree char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	autofd int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return fd < 0 || fsync(fd) ? pl_fail(-errno, "sync the folder of %s: %s", path, strerror(errno)) : 0;
}

/* The lowest first: all go into the base, and each wins over those below it. */
static int fold_all(const char *const *paths, size_t count, const struct pl_image_ref *base,
		    const struct pl_progress *progress)
{
	for (size_t i = count - 1; i-- > 0;) {
		struct pl_image_ref child;
		struct pl_image_info info;
		int r = look(paths[i], &child, &info);
		if (!r)
			r = fold_images(&child, base, PL_INTO_PARENT, info.cluster_sectors, progress);
		if (r)
			return r;
	}
	return 0;
}

int pl_images_merge(const char *const *paths, size_t count, const char *into, const struct pl_progress *progress)
{
	struct pl_image_ref base;
	struct pl_image_info info;
	if (count < 2)
		return pl_fail(-EINVAL, "to merge takes at least two images");
	int r = look(paths[count - 1], &base, &info);
	if (r == -EMEDIUMTYPE) {
		base.format = PL_FORMAT_RAW;
		r = 0;
	}
	if (!r && into)
		r = snap_copy_image(&base, AT_FDCWD, into, progress);
	if (r)
		return r;
	if (into)
		base.path = base.name = into;
	r = fold_all(paths, count, &base, progress);
	if (!r && into)
		r = sync_folder(into);
	if (r && into)
		unlink(into);
	return r;
}
