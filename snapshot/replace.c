/* Replacing an image file by a copy of it that was made elsewhere.
 *
 *   step                              on disk                   a crash here leaves     repair
 *   both locked and compared, sync    the old file, named       the same                -
 *   (running) the disk takes the new  the old file, named       a disk with the new     recover.c: it takes the old
 *   [keep the name] rename over it    the new file, that name   either                  -
 *     (running) opened by that name   the same                  the same                -
 *   [else] store the descriptor       the new file, named       either, and the other   its owner's
 *
 * Only headers are compared: that the content is the same is the caller's word. */
#include "snapshot/op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* An image of this bundle cannot stand in for another one. */
static int refuse_own(const struct pl_bundle *b, const struct pl_image_ref *new)
{
	struct stat st, own;
	int r = image_look(new, &st);
	if (r < 0)
		return r;
	for (size_t i = 0; i < b->desc.count; i++)
		if (image_look(&b->images[i], &own) == 0 && is_same_file(&st, &own))
			return pl_fail(-EINVAL, "%s is image %s of this disk", new->path, b->images[i].guid);
	return 0;
}

static int compare(const struct pl_image_ref *old, const struct pl_image_ref *new)
{
	struct pl_image_info x, y;
	int r = pl_image_info(old, &x);
	if (r == 0)
		r = pl_image_info(new, &y);
	if (r < 0)
		return r;
	const struct {
		const char *what;
		uint64_t old, new;
	} fields[] = {
		{"version", x.version, y.version},
		{"cluster size in sectors", x.cluster_sectors, y.cluster_sectors},
		{"size in sectors", x.size_sectors, y.size_sectors},
	};
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (fields[i].old != fields[i].new)
			return pl_fail(-EINVAL, "%s is no copy of %s: its %s is %llu, not %llu", new->path, old->path,
				       fields[i].what, (unsigned long long)fields[i].new,
				       (unsigned long long)fields[i].old);
	if (y.in_use)
		return pl_fail(-EBUSY, "%s is marked in use: check it first", new->path);
	return 0;
}

/* What the descriptor will call the file at the canonical @path. */
static int name_of(const struct pl_bundle *b, const char *path, char **out)
{
	int r = bundle_name_below(b->folder, path, out);
	if (r != -EXDEV)
		return r;
	for (char **allowed = b->outside; allowed && *allowed; allowed++) {
		autofree char *real = realpath(*allowed, NULL);
		if (real && strcmp(real, path) == 0)
			return (*out = strdup(path)) ? 0 : pl_fail(-ENOMEM, "no memory for a path");
	}
	return pl_fail(-EXDEV, "%s lies outside the folder of the disk: allow it with --outside, or keep the name",
		       path);
}

static int rename_over(const struct snap_op *op, const struct pl_image_ref *old, const char *path)
{
	autofd int folder = openat(op->bundle->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return pl_fail(-errno, "open %s: %s", op->bundle->folder, strerror(errno));
	int r = old->dir_fd < 0 ? rename(path, old->path) : renameat(AT_FDCWD, path, old->dir_fd, old->name);
	if (r < 0)
		return pl_fail(-errno, "rename %s to %s: %s", path, old->path, strerror(errno));
	snap_point("replace: renamed");
	return file_sync(folder, op->bundle->folder);
}

static int store_name(struct snap_op *op, const struct lay_guid *guid, const char *path)
{
	autodesc struct lay_desc d = {0};
	autofree char *name = NULL;
	int r = name_of(op->bundle, path, &name);
	if (r == 0)
		r = snap_edit(op, &d);
	if (r == 0)
		r = lay_desc_set_file(lay_desc_find(&d, guid), name);
	return r < 0 ? r : snap_store(op, &d);
}

/* A running disk opens files of its folder. *@name: that of @path. */
static int judge_running(const struct snap_op *op, const struct lay_desc_node *node, const char *path, char **name)
{
	const struct pl_bundle *b = op->bundle;
	const struct pl_image_ref *old = snap_image(op, node);
	if (snap_is_top(op, node))
		return pl_fail(-EINVAL, "%s is running: its top, %s, is written and cannot be replaced", b->path,
			       node->guid.text);
	int r = bundle_name_below(b->folder, path, name);
	if (r == -EXDEV || (r == 0 && strchr(*name, '/')) || !snap_plain_name(old))
		return pl_fail(-EXDEV, "%s is running: both %s and %s must lie in its folder", b->path, path,
			       old->path);
	return r;
}

/* Both are what they should be, and the new one durable. A running disk keeps others from the old one itself. */
static int prepare(const struct pl_image_ref *old, const struct pl_image_ref *new, bool runs, int *old_fd)
{
	autofd int new_fd = -1;
	int r = runs ? 0 : snap_lock_image(old, old_fd);
	if (r == 0)
		r = snap_lock_image(new, &new_fd);
	if (r == 0)
		r = compare(old, new);
	return r < 0 ? r : file_sync(new_fd, new->path);
}

int pl_bundle_replace(struct pl_bundle *bundle, struct pl_live *live, const char *guid, const char *path,
		      bool keep_name)
{
	autoop struct snap_op op = SNAP_OP_NONE;
	autofd int old_fd = -1;
	struct lay_desc_node *node;
	autofree char *real = realpath(path, NULL), *name = NULL;
	if (!real)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	int r = snap_begin(&op, bundle, live);
	if (r == 0)
		r = snap_find(&op, guid, &node);
	if (r < 0)
		return r;
	struct lay_guid id = node->guid;
	const struct pl_image_ref *old = snap_image(&op, node);
	struct pl_image_ref new = {.path = real, .dir_fd = -1, .format = old->format};
	int place = live ? snap_place_in_chain(&op, &id) : -1;
	r = refuse_own(bundle, &new);
	if (r == 0 && place >= 0)
		r = judge_running(&op, node, real, &name);
	if (r == 0)
		r = prepare(old, &new, place >= 0, &old_fd);
	if (r < 0)
		return r;
	snap_point("replace: compared");
	if (place >= 0)
		r = live->ops->replace(live, (uint32_t)place, name);
	if (r < 0)
		return r;
	snap_point("replace: the disk has it");
	if (!keep_name)
		return store_name(&op, &id, real);
	r = rename_over(&op, old, real);
	return r == 0 && place >= 0 ? live->ops->replace(live, (uint32_t)place, old->name) : r;
}
