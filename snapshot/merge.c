/* Merging by the name of the upper one, or all of a chain. */
#include "snapshot/op.h"

#include <errno.h>

/* From the one below the top down to the first, each takes what stands on it. One that cannot, for others stand on it,
 * is passed over. The result is that of the last. */
static int merge_all(struct snap_op *op, const struct pl_progress *progress)
{
	const struct lay_desc *d = &op->bundle->desc;
	struct lay_guid below[PL_MAX_CHAIN]; /* the nodes change */
	size_t count = 0;
	int r = 0;
	for (const struct lay_desc_node *n = lay_desc_find(d, &lay_desc_find(d, &d->top)->parent);
	     n && count < ARRAY_LEN(below); n = lay_desc_find(d, &n->parent))
		below[count++] = n->guid;
	if (!count)
		return pl_fail(-EINVAL, "%s: there are no snapshots to merge", op->bundle->path);
	for (size_t i = 0; i < count; i++) {
		struct lay_desc_node *child = NULL;
		size_t children = lay_desc_children(&op->bundle->desc, &below[i], &child);
		if (!child)
			return pl_fail(-ESTALE, "%s: snapshot %s is gone", op->bundle->path, below[i].text);
		const struct lay_guid guid = child->guid;
		r = snap_merge_pair(op, &guid, progress);
		if (r && children == 1)
			return r;
	}
	return r;
}

static int merge_one(struct snap_op *op, const struct pl_snapshot_merge_options *o)
{
	struct lay_desc_node *node = snap_node(op, &op->bundle->desc.top);
	int r = o->guid ? snap_find(op, o->guid, &node) : 0;
	if (r)
		return r;
	const struct lay_guid child = node->guid; /* of the node, which moves */
	return o->new_delta ? snap_merge_into_new(op, &child, o->new_delta, o->progress)
			    : snap_merge_pair(op, &child, o->progress);
}

int pl_snapshot_merge(struct pl_bundle *bundle, struct pl_live *live, const struct pl_snapshot_merge_options *options)
{
	struct pl_snapshot_merge_options o = {0};
	autoop struct snap_op op = SNAP_OP_NONE;
	memcpy(&o, options, MIN(options->size, sizeof(o)));
	if (o.all && (o.guid || o.new_delta))
		return pl_fail(-EINVAL, "to merge all snapshots goes neither with one of them nor with a new image");
	int r = snap_begin(&op, bundle, live);
	if (!r)
		r = o.all ? merge_all(&op, o.progress) : merge_one(&op, &o);
	if (!r)
		snap_finish_temporary(&op, NULL, o.progress);
	return r;
}
