#include "snapshot/op.h"

#include <errno.h>

int pl_snapshot_list(const struct pl_bundle *b, struct pl_snapshot **out, size_t *count)
{
	struct pl_snapshot *list = calloc(b->desc.count, sizeof(*list));
	if (!list)
		return pl_fail(-ENOMEM, "%s: no memory for %zu images", b->path, b->desc.count);
	for (size_t i = 0; i < b->desc.count; i++) {
		const struct lay_desc_node *node = &b->desc.nodes[i];
		list[i] = (struct pl_snapshot){
			.guid = node->guid.text,
			.parent_guid = node->parent.text,
			.path = b->images[i].path,
			.is_top = lay_guid_eq(&node->guid, &b->desc.top),
			.is_temporary = node->state != LAY_SHOT_PLAIN,
		};
	}
	*out = list;
	*count = b->desc.count;
	return 0;
}
