/* Temporary snapshots: backups that are done with, deletions that had to wait, merges that died (disk-descriptor 6.4).
 */
#include "snapshot/op.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int snap_remove_leaf(struct snap_op *op, const struct lay_guid *leaf)
{
	const struct pl_image_ref *image = snap_image(op, snap_node(op, leaf));
	autodesc struct lay_desc d = {0};
	autofd int lock = -1;
	int r = snap_lock_own(image, &lock);
	if (!r || r == -ENOENT) /* what is gone already can go */
		r = snap_edit(op, &d);
	if (r)
		return r;
	lay_desc_remove(&d, leaf);
	return snap_store_without(op, &d, image, NULL);
}

/* May it be merged now? In a running chain others may read it besides the disk, which nobody can tell from here; then
 * only the one that the operation has just freed. */
static bool may_merge(const struct snap_op *op, const struct lay_guid *guid, const struct lay_guid *freed)
{
	return !op->live || snap_place_in_chain(op, guid) < 0 || (freed && lay_guid_eq(guid, freed));
}

static int finish_one(struct snap_op *op, const struct lay_guid *guid, const struct lay_guid *freed,
		      const struct pl_progress *progress)
{
	struct lay_desc_node *child = NULL, *node = snap_node(op, guid);
	if (!node || node->state == LAY_SHOT_PLAIN)
		return 0;
	size_t children = lay_desc_children(&op->bundle->desc, guid, &child);
	if (children == 0)
		return snap_remove_leaf(op, guid);
	return children == 1 && may_merge(op, guid, freed) ? snap_merge_pair(op, &child->guid, progress) : 0;
}

void snap_finish_temporary(struct snap_op *op, const struct lay_guid *freed, const struct pl_progress *progress)
{
	size_t count = op->bundle->desc.count;
	autofree struct lay_guid *guids = calloc(count, sizeof(*guids)); /* the nodes move */
	for (size_t i = 0; guids && i < count; i++)
		guids[i] = op->bundle->desc.nodes[i].guid;
	for (size_t i = 0; guids && i < count; i++)
		if (finish_one(op, &guids[i], freed, progress))
			pl_log(PL_LOG_INFO, "snap", "temporary snapshot stays: %s", pl_error());
}
