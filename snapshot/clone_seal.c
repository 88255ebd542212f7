/* Templates: bundles whose images nobody may write.
 *
 *   step                                 on disk                        a crash here leaves    repair
 *   open the disk, close it              a clean, closed disk           the same               -
 *   images below the top: chmod, fsync   the same disk, still writable  the same               seal it again
 *   the top: chmod, fsync                a template                     either                 - */
#include "snapshot/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define WRITE_BITS (S_IWUSR | S_IWGRP | S_IWOTH)

static int seal_file(int fd, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) || ((st.st_mode & WRITE_BITS) && fchmod(fd, st.st_mode & 07777 & ~(mode_t)WRITE_BITS)))
		return pl_fail(-errno, "%s: take its write permission away: %s", path, strerror(errno));
	return file_sync(fd, path);
}

static int seal_image(const struct pl_image_ref *image)
{
	autofd int fd = pl_image_open_fd(image, O_RDONLY);
	return fd < 0 ? fd : seal_file(fd, image->path);
}

/* What crashed servers left is finished, and the marker cleared. */
static int settle_disk(const struct pl_chain_spec *chain)
{
	struct pl_loop *loop;
	struct pl_disk *disk;
	int r = pl_loop_new(&(struct pl_loop_options){.size = sizeof(struct pl_loop_options)}, &loop);
	if (r < 0)
		return r;
	r = pl_disk_open(loop, chain, &(struct pl_open_options){.size = sizeof(struct pl_open_options)}, &disk);
	if (r == 0)
		r = pl_disk_close(disk);
	pl_loop_free(loop);
	return r;
}

/* Nobody may open it between its last close and its seal. */
static int seal_top(const struct pl_image_ref *top)
{
	autofd int fd = pl_image_open_fd(top, O_RDWR);
	if (fd < 0)
		return fd;
	int r = lock_image(fd, LOCK_WRITER, 0, top->path);
	return r < 0 ? r : seal_file(fd, top->path);
}

int pl_bundle_seal(struct pl_bundle *bundle)
{
	autosource struct clone_source s = CLONE_SOURCE_NONE;
	int r = pl_bundle_recover(bundle, NULL, NULL);
	if (r == 0)
		r = clone_source_open(bundle, NULL, CLONE_LOCK_ALONE, &s);
	if (r < 0)
		return r;
	const struct pl_image_ref *top = &s.chain.images[s.chain.count - 1];
	int sealed = clone_is_sealed(top);
	if (sealed < 0)
		return sealed;
	if (!sealed)
		r = settle_disk(&s.chain);
	for (size_t i = 0; r == 0 && i < s.bundle->desc.count; i++)
		if (strcmp(s.bundle->images[i].guid, top->guid) != 0)
			r = seal_image(&s.bundle->images[i]);
	if (r == 0 && !sealed)
		r = seal_top(top);
	return r;
}
