/* Going back to a snapshot: the top is dropped, or kept as a snapshot of its own, and an empty one begins on it. */
#include "snapshot/op.h"

#include <errno.h>
#include <stdio.h>

#define USAGE_NAME ".statfs" /* what the file system of the top uses, noted by stock tools */

static int judge_target(const struct snap_op *op, const struct lay_desc_node *node)
{
	const char *path = op->bundle->path;
	if (snap_is_top(op, node))
		return pl_fail(-EINVAL, "%s: %s is the top already", path, node->guid.text);
	if (node->state != LAY_SHOT_PLAIN)
		return pl_fail(-EINVAL, "%s: snapshot %s is temporary or being merged", path, node->guid.text);
	return 0;
}

/* Nobody has the top, and what a crash left in it is settled if it stays. */
static int take_top(struct snap_op *op, bool kept, int *lock)
{
	const struct lay_desc_node *top = snap_node(op, &op->bundle->desc.top);
	struct pl_live *disk = NULL;
	if (kept && op->live)
		return 0; /* it goes on as it is; only the descriptor changes */
	if (op->live)
		return pl_fail(-EBUSY, "%s: the disk is running", op->bundle->path);
	if (!kept && lay_desc_children(&op->bundle->desc, &top->guid, NULL))
		return pl_fail(-EINVAL, "%s: images stand on the top", op->bundle->path);
	int r = kept ? snap_live_local(op->bundle, &disk) : 0;
	if (!r && disk)
		r = snap_live_local_close(disk);
	return r ? r : snap_lock_image(snap_image(op, top), lock);
}

static int switch_to(struct snap_op *op, const struct lay_guid *guid, const struct lay_guid *kept)
{
	const struct lay_desc_node *top = snap_node(op, &op->bundle->desc.top);
	autodesc struct lay_desc d = {0};
	autofree char *name = NULL;
	int r = snap_new_file_name(op, false, &name);
	if (!r)
		r = snap_edit(op, &d);
	if (!r)
		r = snap_list_garbage(op, name, NULL);
	if (r)
		return r;
	snap_point("switch: listed");
	r = snap_create_delta(op, name, snap_image(op, snap_node(op, guid)));
	snap_point("switch: delta made");
	if (!r && lay_desc_switch(&d, guid, name, kept))
		r = pl_fail(-ENOMEM, "%s: no memory to change it", op->bundle->path);
	if (!r && unlinkat(op->lock_fd, USAGE_NAME, 0) && errno != ENOENT)
		r = pl_fail(-errno, "%s: remove " USAGE_NAME ": %s", op->bundle->folder, strerror(errno));
	if (!r && !kept)
		r = snap_store_without(op, &d, snap_image(op, top), name);
	else if (!r)
		r = snap_store(op, &d);
	snap_point("switch: stored");
	snap_sweep_quietly(op);
	return r;
}

int pl_snapshot_switch(struct pl_bundle *bundle, struct pl_live *live, const char *guid, const char *keep_guid)
{
	autoop struct snap_op op = SNAP_OP_NONE;
	struct lay_desc_node *node = NULL;
	struct lay_guid kept;
	autofd int lock = -1;
	int r = snap_begin(&op, bundle, live);
	if (!r)
		r = snap_find(&op, guid, &node);
	if (!r)
		r = judge_target(&op, node);
	if (!r && keep_guid)
		r = snap_new_guid(&op, keep_guid, &kept);
	if (!r)
		r = take_top(&op, keep_guid, &lock);
	if (r)
		return r;
	const struct lay_guid target = node->guid; /* of the node, which moves */
	return switch_to(&op, &target, keep_guid ? &kept : NULL);
}
