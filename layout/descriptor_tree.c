/* The descriptor's tree of GUIDs: join Images with Shots, the TopGUID rules, unique names, one root, no cycle. */
#include "layout/descriptor_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct lay_guid lay_guid_top = {"{5fbaabe3-6958-40ff-92a7-860e329aab41}"};
const struct lay_guid lay_guid_none = {"{00000000-0000-0000-0000-000000000000}"};

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool lay_guid_parse(const char *text, struct lay_guid *out)
{
	struct lay_guid g = {""};
	for (size_t i = 0; i < sizeof(g.text) - 1; i++) {
		char want = lay_guid_none.text[i];
		char c = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
		if (want == '0' ? !is_lower_hex(c) : c != want)
			return false;
		g.text[i] = c;
	}
	if (text[sizeof(g.text) - 1])
		return false;
	*out = g;
	return true;
}

bool lay_guid_eq(const struct lay_guid *a, const struct lay_guid *b)
{
	return !strcmp(a->text, b->text);
}

int lay_desc_refuse(struct lay_desc_why *why, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return err;
}

struct lay_shown lay_shown(const char *value)
{
	struct lay_shown s = {""};
	size_t n = 0;
	for (; value[n] && n < sizeof(s.text) - 4; n++)
		s.text[n] = value[n] >= ' ' && value[n] < 0x7f ? value[n] : '?';
	if (value[n])
		memcpy(s.text + n, "...", sizeof("..."));
	return s;
}

struct lay_desc_node *lay_desc_find(const struct lay_desc *desc, const struct lay_guid *guid)
{
	for (size_t i = 0; i < desc->count; i++)
		if (lay_guid_eq(&desc->nodes[i].guid, guid))
			return &desc->nodes[i];
	return NULL;
}

/* The nodes sorted by GUID: lookups stay cheap however many images a descriptor claims to have. */
struct sorted {
	struct lay_desc_node **nodes;
	size_t count;
};

static int by_guid(const void *a, const void *b)
{
	struct lay_desc_node *const *x = a, *const *y = b;
	return strcmp((*x)->guid.text, (*y)->guid.text);
}

static struct lay_desc_node *sorted_find(const struct sorted *s, const struct lay_guid *guid)
{
	struct lay_desc_node key = {.guid = *guid};
	struct lay_desc_node *key_at = &key;
	struct lay_desc_node **found = bsearch(&key_at, s->nodes, s->count, sizeof(*s->nodes), by_guid);
	return found ? *found : NULL;
}

static int sort_nodes(const struct lay_desc *desc, const struct sorted *s, struct lay_desc_why *why)
{
	for (size_t i = 0; i < s->count; i++)
		s->nodes[i] = &desc->nodes[i];
	qsort(s->nodes, s->count, sizeof(*s->nodes), by_guid);
	for (size_t i = 0; i < s->count; i++) {
		const struct lay_guid *guid = &s->nodes[i]->guid;
		if (lay_guid_eq(guid, &lay_guid_none))
			return lay_desc_refuse(why, -EUCLEAN, "Image GUID is %s, which means none", guid->text);
		if (i && lay_guid_eq(guid, &s->nodes[i - 1]->guid))
			return lay_desc_refuse(why, -EUCLEAN, "Image GUID %s appears twice", guid->text);
	}
	return 0;
}

/* Give each node the parent and state of its Shot. As many shots as nodes and none twice: then none is left out. */
static int attach_shots(const struct sorted *s, const struct lay_desc_shot *shots, struct lay_desc_why *why)
{
	for (size_t i = 0; i < s->count; i++) {
		struct lay_desc_node *node = sorted_find(s, &shots[i].guid);
		if (!node)
			return lay_desc_refuse(why, -EUCLEAN, "Shot GUID %s has no Image", shots[i].guid.text);
		if (node->parent.text[0])
			return lay_desc_refuse(why, -EUCLEAN, "Shot GUID %s appears twice", shots[i].guid.text);
		node->parent = shots[i].parent;
		node->state = shots[i].state;
	}
	return 0;
}

static int check_parents(const struct sorted *s, struct lay_desc_why *why)
{
	const struct lay_desc_node *root = NULL;
	for (size_t i = 0; i < s->count; i++) {
		const struct lay_desc_node *node = s->nodes[i];
		if (!lay_guid_eq(&node->parent, &lay_guid_none)) {
			if (!sorted_find(s, &node->parent))
				return lay_desc_refuse(why, -EUCLEAN, "ParentGUID %s of Shot %s has no Image",
						       node->parent.text, node->guid.text);
			continue;
		}
		if (root)
			return lay_desc_refuse(why, -EUCLEAN,
					       "two Shots have no parent, %s and %s: one root is the limit",
					       root->guid.text, node->guid.text);
		root = node;
	}
	return 0; /* no root at all is a cycle, found next */
}

/* Walk up from each node until a node that was walked before: on this very walk, it is a cycle. Each is walked once. */
static int check_cycles(const struct lay_desc *desc, const struct sorted *s, struct lay_desc_why *why)
{
	autofree size_t *walked_by = calloc(desc->count, sizeof(*walked_by));
	if (!walked_by)
		return lay_desc_refuse(why, -ENOMEM, "no memory for %zu images", desc->count);
	for (size_t i = 0; i < desc->count; i++) {
		const struct lay_desc_node *node = &desc->nodes[i];
		while (node && !walked_by[node - desc->nodes]) {
			walked_by[node - desc->nodes] = i + 1;
			node = sorted_find(s, &node->parent);
		}
		if (node && walked_by[node - desc->nodes] == i + 1)
			return lay_desc_refuse(why, -ELOOP, "ParentGUID: Shot %s is its own ancestor", node->guid.text);
	}
	return 0;
}

static int check_top(const struct lay_desc *desc, const struct sorted *s, struct lay_desc_why *why)
{
	if (!desc->top.text[0])
		return lay_desc_refuse(why, -EUCLEAN, "TopGUID is missing and no Shot is %s", lay_guid_top.text);
	const struct lay_desc_node *top = sorted_find(s, &desc->top);
	if (!top)
		return lay_desc_refuse(why, -EUCLEAN, "TopGUID is %s, which is no Shot", desc->top.text);
	if (top->state != LAY_SHOT_PLAIN)
		return lay_desc_refuse(why, -EUCLEAN, "TopGUID is %s, which is a temporary Shot", desc->top.text);
	return 0;
}

/* What is not there, or has nothing below, is not being merged any more. */
static void check_merging(struct lay_desc *desc, const struct sorted *s)
{
	const struct lay_desc_node *node = sorted_find(s, &desc->merging);
	if (!node || lay_guid_eq(&node->parent, &lay_guid_none))
		desc->merging.text[0] = '\0';
}

int lay_desc_join(struct lay_desc *desc, struct lay_desc_shot *shots, size_t shot_count, struct lay_desc_why *why)
{
	bool top_is_shot = false;
	if (!desc->volume && shot_count != desc->count) /* as single-image disks were once written: no Shot */
		shots[shot_count++] = (struct lay_desc_shot){.guid = lay_guid_top, .parent = lay_guid_none};
	for (size_t i = 0; i < shot_count; i++)
		top_is_shot |= lay_guid_eq(&shots[i].guid, &lay_guid_top);
	if (!desc->top.text[0] && top_is_shot)
		desc->top = lay_guid_top;
	if (shot_count != desc->count)
		return lay_desc_refuse(why, -EUCLEAN, "Snapshots has %zu Shots, Storage has %zu Images", shot_count,
				       desc->count);

	autofree struct lay_desc_node **nodes = malloc(desc->count * sizeof(*nodes));
	if (!nodes)
		return lay_desc_refuse(why, -ENOMEM, "no memory for %zu images", desc->count);
	struct sorted s = {nodes, desc->count};
	int r = sort_nodes(desc, &s, why);
	if (!r)
		r = attach_shots(&s, shots, why);
	if (!r)
		r = check_parents(&s, why);
	if (!r)
		r = check_cycles(desc, &s, why);
	if (!r)
		r = check_top(desc, &s, why);
	if (!r)
		check_merging(desc, &s);
	return r;
}

int lay_desc_settle_top(struct lay_desc *desc, struct lay_desc_why *why)
{
	if (desc->volume || lay_guid_eq(&desc->top, &lay_guid_top))
		return 0;
	if (lay_desc_find(desc, &lay_guid_top))
		return lay_desc_refuse(why, -EUCLEAN, "TopGUID is %s, but another image has the name of a top, %s",
				       desc->top.text, lay_guid_top.text);
	for (size_t i = 0; i < desc->count; i++) {
		if (lay_guid_eq(&desc->nodes[i].guid, &desc->top))
			desc->nodes[i].guid = lay_guid_top;
		if (lay_guid_eq(&desc->nodes[i].parent, &desc->top))
			desc->nodes[i].parent = lay_guid_top;
	}
	if (lay_guid_eq(&desc->merging, &desc->top))
		desc->merging = lay_guid_top;
	desc->top = lay_guid_top;
	return 0;
}

void lay_desc_fini(struct lay_desc *desc)
{
	for (size_t i = 0; i < desc->count; i++)
		free(desc->nodes[i].file);
	for (size_t i = 0; i < LAY_DESC_PLACES; i++)
		free(desc->unknown[i]);
	free(desc->nodes);
	free(desc->key_id);
	free(desc->volume);
	*desc = (struct lay_desc){0};
}
