/* Merging two neighbours of a stopped disk into a new file: a copy of the lower one, which takes what the upper one
 * has. The copy is made under a name of the bundle's own, and gets the wanted one when it is whole. */
#include "snapshot/clone.h"
#include "snapshot/op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* The name in the folder that @path, as the operator gave it, means. */
static int judge_path(const struct snap_op *op, const char *path, char **out)
{
	const char *folder = op->bundle->folder, *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	autofree char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	autofree char *real = parent ? realpath(parent, NULL) : NULL;
	struct stat st;
	if (!real)
		return pl_fail(-errno, "open the folder of %s: %s", path, strerror(errno));
	if (strcmp(real, folder) || !*name)
		return pl_fail(-EINVAL, "%s: the new image must be a file in the folder of the disk, %s", path, folder);
	if (!fstatat(op->lock_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return pl_fail(-EEXIST, "%s exists", path);
	*out = strdup(name);
	return *out ? 0 : pl_fail(-ENOMEM, "%s: no memory", path);
}

int snap_copy_image(const struct pl_image_ref *from, int dir_fd, const char *name, const struct pl_progress *to)
{
	struct clone_progress progress = {.to = to};
	uint64_t length;
	autofd int lock = -1;
	autofd int source = pl_image_open_fd(from, O_RDONLY);
	int r = source < 0 ? source : snap_lock_own(from, &lock);
	if (!r)
		r = file_length(source, &length, &progress.total_bytes, from->path);
	if (r)
		return r;
	autofd int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return pl_fail(-errno, "create %s: %s", name, strerror(errno));
	r = clone_copy_file(source, fd, from->path, &progress);
	if (r)
		unlinkat(dir_fd, name, 0);
	return r;
}

static int make_file(const struct snap_op *op, const struct lay_desc_node *child, const char *name,
		     const struct pl_progress *progress)
{
	const struct pl_image_ref *parent = snap_image(op, snap_node(op, &child->parent));
	struct pl_image_ref merged = {
		.path = name,
		.name = name,
		.dir_fd = op->bundle->folder_fd,
		.format = parent->format,
	};
	int r = snap_copy_image(parent, op->lock_fd, name, progress);
	snap_point("new delta: copied");
	if (!r)
		r = fold_images(snap_image(op, child), &merged, PL_INTO_PARENT, op->bundle->desc.cluster_sectors,
				progress);
	snap_point("new delta: folded");
	return r;
}

/* @part becomes @name, the descriptor names that, and the two old files go. */
static int commit(struct snap_op *op, const struct lay_guid *child, const char *part, const char *name)
{
	const struct lay_desc_node *node = snap_node(op, child);
	const struct pl_image_ref *upper = snap_image(op, node), *lower = snap_image(op, snap_node(op, &node->parent));
	autodesc struct lay_desc d = {0};
	int r = snap_edit(op, &d);
	if (r)
		return r;
	lay_desc_merge(&d, child, LAY_KEEP_PARENTS_FILE);
	if (lay_desc_set_file(lay_desc_find(&d, child), name))
		return pl_fail(-ENOMEM, "%s: no memory to change it", op->bundle->path);
	if (renameat2(op->lock_fd, part, op->lock_fd, name, RENAME_NOREPLACE) || fsync(op->lock_fd))
		return pl_fail(-errno, "%s: rename %s to %s: %s", op->bundle->folder, part, name, strerror(errno));
	snap_point("new delta: renamed");
	r = snap_store_without(op, &d, upper, snap_plain_name(lower));
	if (r)
		return pl_wrap(r, "the merged image is %s/%s", op->bundle->folder, name);
	return 0;
}

int snap_merge_into_new(struct snap_op *op, const struct lay_guid *child, const char *path,
			const struct pl_progress *progress)
{
	const struct lay_desc_node *node = snap_node(op, child);
	autofree char *name = NULL, *part = NULL;
	if (op->live)
		return pl_fail(-EBUSY, "%s: a running disk is not merged into a new image", op->bundle->path);
	int r = snap_judge_pair(op, node);
	if (!r)
		r = judge_path(op, path, &name);
	if (!r)
		r = snap_check_unused(snap_image(op, node));
	if (!r)
		r = snap_new_file_name(op, true, &part);
	if (!r)
		r = snap_list_garbage(op, part, NULL);
	if (r)
		return r;
	snap_point("new delta: listed");
	r = make_file(op, node, part, progress);
	if (!r)
		r = commit(op, child, part, name);
	snap_sweep_quietly(op);
	return r;
}
