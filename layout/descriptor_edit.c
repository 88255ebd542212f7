/* What the steps of operations change in a descriptor: nodes come, go and get other names. */
#include "layout/descriptor.h"

#include "base/invariant.h"

#include <string.h>

/* By way of the text, so that no field can be forgotten. */
int lay_desc_copy(const struct lay_desc *desc, struct lay_desc *out)
{
	autofree char *xml = NULL;
	struct lay_desc_why why;
	size_t n = 0;
	int r = lay_desc_write(desc, &xml, &n);
	return r ? r : lay_desc_parse(xml, n, out, &why);
}

size_t lay_desc_children(const struct lay_desc *desc, const struct lay_guid *guid, struct lay_desc_node **last)
{
	size_t count = 0;
	for (size_t i = 0; i < desc->count; i++) {
		if (!lay_guid_eq(&desc->nodes[i].parent, guid))
			continue;
		count++;
		if (last)
			*last = &desc->nodes[i];
	}
	return count;
}

void lay_desc_rename(struct lay_desc *desc, const struct lay_guid *guid, const struct lay_guid *new_guid)
{
	struct lay_guid old = *guid; /* may be the name of the node itself */
	invariant(!lay_desc_find(desc, new_guid));
	for (size_t i = 0; i < desc->count; i++) {
		if (lay_guid_eq(&desc->nodes[i].guid, &old))
			desc->nodes[i].guid = *new_guid;
		if (lay_guid_eq(&desc->nodes[i].parent, &old))
			desc->nodes[i].parent = *new_guid;
	}
	if (lay_guid_eq(&desc->top, &old))
		desc->top = *new_guid;
	if (lay_guid_eq(&desc->merging, &old))
		desc->merging = *new_guid;
}

static int append_top(struct lay_desc *desc, const struct lay_guid *parent, const char *file)
{
	autofree char *copy = strdup(file);
	struct lay_desc_node *nodes = copy ? realloc(desc->nodes, (desc->count + 1) * sizeof(*nodes)) : NULL;
	if (!nodes)
		return -ENOMEM;
	desc->nodes = nodes;
	desc->nodes[desc->count++] = (struct lay_desc_node){
		.guid = lay_guid_top,
		.parent = *parent,
		.file = mem_steal(&copy),
	};
	desc->top = lay_guid_top;
	return 0;
}

static void drop(struct lay_desc *desc, struct lay_desc_node *node)
{
	if (lay_guid_eq(&desc->merging, &node->guid))
		desc->merging.text[0] = '\0';
	size_t after = desc->count - (size_t)(node - desc->nodes) - 1;
	free(node->file);
	memmove(node, node + 1, after * sizeof(*node));
	desc->count--;
}

int lay_desc_snapshot(struct lay_desc *desc, const struct lay_guid *guid, const char *file, bool temporary)
{
	invariant(lay_guid_eq(&desc->top, &lay_guid_top));
	lay_desc_rename(desc, &lay_guid_top, guid);
	int r = append_top(desc, guid, file);
	if (r)
		lay_desc_rename(desc, guid, &lay_guid_top);
	else
		lay_desc_find(desc, guid)->state = temporary ? LAY_SHOT_TEMPORARY : LAY_SHOT_PLAIN;
	return r;
}

void lay_desc_remove(struct lay_desc *desc, const struct lay_guid *leaf)
{
	struct lay_desc_node *node = lay_desc_find(desc, leaf);
	invariant(node && lay_desc_children(desc, leaf, NULL) == 0 && !lay_guid_eq(leaf, &desc->top));
	drop(desc, node);
}

void lay_desc_drop_top(struct lay_desc *desc)
{
	struct lay_desc_node *top = lay_desc_find(desc, &desc->top);
	struct lay_guid below = top->parent;
	invariant(lay_desc_children(desc, &below, NULL) == 1);
	drop(desc, top);
	lay_desc_rename(desc, &below, &lay_guid_top);
	desc->top = lay_guid_top;
}

void lay_desc_merge(struct lay_desc *desc, const struct lay_guid *child, enum lay_desc_keep keep)
{
	struct lay_desc_node *c = lay_desc_find(desc, child), *p = c ? lay_desc_find(desc, &c->parent) : NULL;
	invariant(p && lay_desc_children(desc, &p->guid, NULL) == 1);
	if (keep == LAY_KEEP_PARENTS_FILE) {
		char *files = c->file;
		c->file = p->file;
		p->file = files;
	}
	c->parent = p->parent;
	if (lay_guid_eq(&desc->merging, child))
		desc->merging.text[0] = '\0';
	drop(desc, p);
}

int lay_desc_switch(struct lay_desc *desc, const struct lay_guid *guid, const char *file, const struct lay_guid *kept)
{
	struct lay_guid parent = *guid;
	invariant(lay_guid_eq(&desc->top, &lay_guid_top) && lay_desc_find(desc, guid));
	if (kept)
		lay_desc_rename(desc, &lay_guid_top, kept);
	int r = append_top(desc, &parent, file);
	if (r && kept)
		lay_desc_rename(desc, kept, &lay_guid_top);
	else if (!r && !kept)
		drop(desc, lay_desc_find(desc, &lay_guid_top)); /* the first: the new one is last */
	return r;
}

int lay_desc_set_file(struct lay_desc_node *node, const char *file)
{
	char *copy = strdup(file);
	if (!copy)
		return -ENOMEM;
	free(node->file);
	node->file = copy;
	return 0;
}
