/* Replacing and creating a descriptor (D6): the folder is locked, and folder_file.c puts the new one in place. */
#include "ploop/bundle.h"

#include "layout/header.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

/* What we write must be readable by us: a name that is no UTF-8 ends here rather than at the next open. */
static int serialise(const struct lay_desc *desc, const char *path, char **text, size_t *n)
{
	autodesc struct lay_desc again = {0};
	struct lay_desc_why why;
	int r = lay_desc_write(desc, text, n);
	if (r)
		return pl_fail(r, "%s: no memory to write " LAY_DESC_NAME, path);
	r = lay_desc_parse(*text, *n, &again, &why);
	return r ? pl_fail(-EINVAL, "%s: the new " LAY_DESC_NAME " would be refused: %s", path, why.text) : 0;
}

static int open_folder(int folder_fd, const char *path)
{
	int folder = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* O_PATH cannot be synced or locked */
	return folder < 0 ? pl_fail(-errno, "open %s: %s", path, strerror(errno)) : folder;
}

int bundle_lock(int folder_fd, const char *path)
{
	autofd int folder = open_folder(folder_fd, path);
	if (folder < 0)
		return folder;
	if (flock(folder, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) /* elsewhere (NFS) folders have no locks */
		return pl_fail(-EBUSY, "another operation is running on %s", path);
	return fd_steal(&folder);
}

int bundle_store(int folder_fd, const char *path, struct lay_desc *desc, enum bundle_store_how how)
{
	autofree char *text = NULL;
	struct lay_desc_why why;
	size_t n = 0;
	int r = lay_desc_settle_top(desc, &why);
	if (r)
		return pl_fail(r, "%s: %s", path, why.text);
	r = serialise(desc, path, &text, &n);
	if (r)
		return r;

	autofd int folder = how == BUNDLE_REPLACE_LOCKED ? open_folder(folder_fd, path) : bundle_lock(folder_fd, path);
	if (folder < 0)
		return folder;
	r = folder_put_file(folder, LAY_DESC_NAME, text, n, how == BUNDLE_CREATE);
	return r ? pl_fail(r, "%s: write " LAY_DESC_NAME ": %s", path, strerror(-r)) : 0;
}

static int fill_new(struct lay_desc *d, const char *dir, const char *image_name, enum pl_image_mode mode,
		    uint32_t cluster_sectors, uint64_t size_sectors)
{
	struct lay_chs chs = lay_chs_compute(size_sectors);
	d->size_sectors = size_sectors;
	d->cylinders = chs.cylinders;
	d->heads = chs.heads;
	d->cluster_sectors = cluster_sectors;
	d->mode = mode == PL_MODE_RAW		 ? LAY_DESC_RAW
		  : mode == PL_MODE_PREALLOCATED ? LAY_DESC_PREALLOCATED
						 : LAY_DESC_EXPANDED;
	d->top = lay_guid_top;
	d->nodes = calloc(1, sizeof(*d->nodes));
	if (!d->nodes)
		return pl_fail(-ENOMEM, "%s: no memory", dir);
	d->count = 1;
	d->nodes[0].guid = lay_guid_top;
	d->nodes[0].parent = lay_guid_none;
	int r = bundle_name_below(dir, image_name, &d->nodes[0].file);
	if (r == -EXDEV)
		return pl_fail(-EINVAL, "%s: the image %s lies outside the folder of the disk", dir, image_name);
	return r;
}

int pl_bundle_create(const char *dir, const char *image_name, enum pl_image_mode mode, uint32_t cluster_sectors,
		     uint64_t size_sectors)
{
	autodesc struct lay_desc d = {0};
	autofree char *real = realpath(dir, NULL);
	if (!real)
		return pl_fail(-errno, "open %s: %s", dir, strerror(errno));
	autofd int folder = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return pl_fail(-errno, "open %s: %s", real, strerror(errno));
	int r = fill_new(&d, real, image_name, mode, cluster_sectors, size_sectors);
	return r ? r : bundle_store(folder, real, &d, BUNDLE_CREATE);
}
