/* Deleting a snapshot: what that means depends on what stands on it (disk-descriptor 6.3). */
#include "snapshot/op.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The image below, which becomes the top and is written from then on. */
static int judge_new_top(const struct snap_op *op, const struct lay_desc_node *below)
{
	const char *path = op->bundle->path;
	if (below->state != LAY_SHOT_PLAIN)
		return pl_fail(-EINVAL, "%s: the top stands on snapshot %s, which is temporary", path,
			       below->guid.text);
	size_t n = lay_desc_children(&op->bundle->desc, &below->guid, NULL);
	if (n > 1)
		return pl_fail(-EINVAL, "%s: %zu images stand on snapshot %s: it cannot become the top", path, n,
			       below->guid.text);
	return snap_check_own(snap_image(op, below));
}

static int judge_top(const struct snap_op *op, const struct lay_desc_node *top)
{
	const char *path = op->bundle->path;
	if (op->live)
		return pl_fail(-EINVAL, "%s: %s is the top of a running disk", path, top->guid.text);
	if (snap_is_base(top))
		return pl_fail(-EINVAL, "%s: %s is the only image of its chain", path, top->guid.text);
	if (lay_desc_children(&op->bundle->desc, &top->guid, NULL))
		return pl_fail(-EINVAL, "%s: images stand on the top", path);
	return judge_new_top(op, snap_node(op, &top->parent));
}

/* The data since the last snapshot is lost, as was asked. */
static int drop_top(struct snap_op *op)
{
	const struct lay_desc_node *top = snap_node(op, &op->bundle->desc.top);
	const struct pl_image_ref *image = snap_image(op, top);
	autodesc struct lay_desc d = {0};
	autofd int lock = -1, below = -1;
	int r = judge_top(op, top);
	if (!r)
		r = snap_lock_image(image, &lock);
	if (!r || r == -ENOENT) /* a top that is gone can be dropped, too */
		r = snap_lock_image(snap_image(op, snap_node(op, &top->parent)), &below);
	if (!r)
		r = snap_edit(op, &d);
	if (r)
		return r;
	lay_desc_drop_top(&d);
	return snap_store_without(op, &d, image, NULL);
}

static int delete (struct snap_op *op, const struct lay_desc_node *node, const struct pl_progress *progress,
		   enum pl_snapshot_end *end)
{
	const struct lay_guid guid = node->guid;
	struct lay_desc_node *child = NULL;
	if (snap_is_top(op, node)) {
		*end = PL_SNAPSHOT_REMOVED;
		return drop_top(op);
	}
	switch (lay_desc_children(&op->bundle->desc, &guid, &child)) {
	case 0:
		*end = PL_SNAPSHOT_REMOVED;
		return snap_remove_leaf(op, &guid);
	case 1:
		*end = PL_SNAPSHOT_MERGED;
		return snap_merge_pair(op, &child->guid, progress);
	default:
		*end = PL_SNAPSHOT_DEFERRED;
		return snap_set_state(op, &guid, LAY_SHOT_TEMPORARY);
	}
}

int pl_snapshot_delete(struct pl_bundle *bundle, struct pl_live *live, const char *guid,
		       const struct pl_progress *progress, enum pl_snapshot_end *end)
{
	autoop struct snap_op op = SNAP_OP_NONE;
	enum pl_snapshot_end how = PL_SNAPSHOT_REMOVED;
	struct lay_desc_node *node = NULL;
	int r = snap_begin(&op, bundle, live);
	if (!r)
		r = snap_find(&op, guid, &node);
	if (r)
		return r;
	const struct lay_guid below = node->parent;
	r = delete (&op, node, progress, &how);
	if (r)
		return r;
	snap_finish_temporary(&op, &below, progress);
	if (end)
		*end = how;
	return 0;
}
