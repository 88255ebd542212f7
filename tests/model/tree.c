#include "tree.h"

#include "base/invariant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
	return !strcmp(a, b);
}

struct node *tree_find(struct tree *t, const char *guid)
{
	for (size_t i = 0; i < t->count; i++)
		if (same(t->at[i].guid, guid))
			return &t->at[i];
	return NULL;
}

struct node *tree_top(struct tree *t)
{
	struct node *top = tree_find(t, TOP_GUID);
	invariant(top);
	return top;
}

size_t tree_children(const struct tree *t, const char *guid, size_t *last)
{
	size_t count = 0;
	for (size_t i = 0; i < t->count; i++) {
		if (!same(t->at[i].parent, guid))
			continue;
		count++;
		if (last)
			*last = i;
	}
	return count;
}

/* ---- changes */

static void drop(struct tree *t, struct node *n)
{
	size_t i = (size_t)(n - t->at);
	memmove(n, n + 1, (t->count - i - 1) * sizeof(*n));
	t->count--;
}

static void rename_node(struct tree *t, const char *from, const char *to)
{
	for (size_t i = 0; i < t->count; i++) {
		if (same(t->at[i].guid, from))
			snprintf(t->at[i].guid, sizeof(t->at[i].guid), "%s", to);
		if (same(t->at[i].parent, from))
			snprintf(t->at[i].parent, sizeof(t->at[i].parent), "%s", to);
	}
}

/* An empty top on @parent: it reads as that does. */
static void add_top(struct tree *t, const char *parent)
{
	struct node *n = &t->at[t->count++];
	invariant(t->count <= MAX_NODES + 2);
	*n = *tree_find(t, parent);
	snprintf(n->parent, sizeof(n->parent), "%s", parent);
	snprintf(n->guid, sizeof(n->guid), "%s", TOP_GUID);
	n->file[0] = '\0';
	n->own = 0;
	n->raw = n->temporary = n->fresh = false;
}

/* ---- the story */

static void record(struct story *s)
{
	invariant(s->count < MAX_STEPS);
	s->step[s->count++] = s->now;
}

void story_begin(struct story *s, const struct tree *before, bool live)
{
	s->count = 0;
	s->now = *before;
	s->live = live;
	record(s);
}

int story_place(const struct story *s, const char *guid)
{
	struct tree *t = (struct tree *)&s->now;
	int above = 0, place = -1;
	for (struct node *n = tree_top(t); n; n = tree_find(t, n->parent), above++)
		if (same(n->guid, guid))
			place = above;
	return place < 0 ? -1 : above - 1 - place;
}

static int judge_pair(struct tree *t, const struct node *child)
{
	const struct node *parent = tree_find(t, child->parent);
	if (!parent || tree_children(t, parent->guid, NULL) > 1 || same(parent->guid, TOP_GUID))
		return -EINVAL;
	return 0;
}

/* @child takes what its parent has; the file that is left gets the name of the lower one. */
static void join(struct story *s, const char *child, bool into_child, const char *new_file)
{
	struct node *c = tree_find(&s->now, child), *p = tree_find(&s->now, c->parent);
	char file[sizeof(p->file)];
	snprintf(file, sizeof(file), "%s", new_file ? new_file : p->file);
	snprintf(c->parent, sizeof(c->parent), "%s", p->parent);
	c->raw = p->raw;
	c->own = 0;
	if (into_child && !new_file) { /* for a moment it has its own name, or the other: both files are there */
		drop(&s->now, p);
		record(s);
		c = tree_find(&s->now, child);
	} else {
		drop(&s->now, p);
		c = tree_find(&s->now, child);
	}
	snprintf(c->file, sizeof(c->file), "%s", file);
	record(s);
}

static int merge_pair(struct story *s, const char *child)
{
	struct node *c = tree_find(&s->now, child), *p = tree_find(&s->now, c->parent);
	int r = judge_pair(&s->now, c);
	if (r)
		return r;
	bool live_pair = s->live && story_place(s, child) > 0;
	if (p->own && p->raw)
		return p->own;
	if (p->own && c->own)
		return c->own;
	if (!p->temporary) {
		p->temporary = true;
		record(s);
	}
	join(s, child, p->own || (live_pair && !p->raw), NULL);
	return 0;
}

static void remove_node(struct story *s, const char *guid)
{
	drop(&s->now, tree_find(&s->now, guid));
	record(s);
}

/* Temporary ones on which nothing stands, or one image. */
static void finish_temporary(struct story *s, const char *freed)
{
	char guids[MAX_NODES + 2][40];
	size_t count = s->now.count;
	for (size_t i = 0; i < count; i++)
		memcpy(guids[i], s->now.at[i].guid, sizeof(guids[i]));
	for (size_t i = 0; i < count; i++) {
		size_t child = 0;
		const struct node *n = tree_find(&s->now, guids[i]);
		if (!n || !n->temporary)
			continue;
		size_t children = tree_children(&s->now, guids[i], &child);
		bool may = !s->live || story_place(s, guids[i]) < 0 || (freed && same(guids[i], freed));
		if (children == 0)
			remove_node(s, guids[i]);
		else if (children == 1 && may) {
			char name[40];
			memcpy(name, s->now.at[child].guid, sizeof(name));
			merge_pair(s, name);
		}
	}
}

static int judge_new_guid(struct tree *t, const char *guid)
{
	if (same(guid, NO_GUID) || same(guid, TOP_GUID))
		return -EINVAL;
	return tree_find(t, guid) ? -EEXIST : 0;
}

int foretell_create(struct story *s, const char *guid, bool temporary)
{
	finish_temporary(s, NULL);
	int r = judge_new_guid(&s->now, guid);
	if (!r)
		r = tree_top(&s->now)->own;
	if (r)
		return r;
	rename_node(&s->now, TOP_GUID, guid);
	add_top(&s->now, guid);
	struct node *n = tree_find(&s->now, guid);
	n->temporary = temporary;
	n->fresh = s->live;
	record(s);
	return 0;
}

static int drop_top(struct story *s)
{
	struct node *top = tree_top(&s->now), *below = tree_find(&s->now, top->parent);
	if (s->live || !below || below->temporary || tree_children(&s->now, below->guid, NULL) > 1)
		return -EINVAL;
	if (below->own)
		return below->own;
	char name[40];
	memcpy(name, below->guid, sizeof(name));
	drop(&s->now, top);
	rename_node(&s->now, name, TOP_GUID);
	record(s);
	return 0;
}

int foretell_delete(struct story *s, const char *guid)
{
	char below[40], name[40];
	size_t child = 0;
	int r = 0;
	struct node *n = tree_find(&s->now, guid);
	if (!n)
		return -ENOENT;
	memcpy(below, n->parent, sizeof(below));
	size_t children = tree_children(&s->now, guid, &child);
	if (same(guid, TOP_GUID))
		r = drop_top(s);
	else if (children == 0)
		remove_node(s, guid);
	else if (children > 1) {
		n->temporary = true;
		record(s);
	} else {
		memcpy(name, s->now.at[child].guid, sizeof(name));
		r = merge_pair(s, name);
	}
	if (!r)
		finish_temporary(s, below);
	return r;
}

int foretell_merge(struct story *s, const char *guid)
{
	if (!tree_find(&s->now, guid))
		return -ENOENT;
	int r = merge_pair(s, guid);
	if (!r)
		finish_temporary(s, NULL);
	return r;
}

int foretell_merge_all(struct story *s)
{
	char below[MAX_NODES + 2][40], name[40];
	size_t count = 0, child = 0;
	int r = 0;
	for (struct node *n = tree_find(&s->now, tree_top(&s->now)->parent); n; n = tree_find(&s->now, n->parent))
		memcpy(below[count++], n->guid, sizeof(below[0]));
	if (!count)
		return -EINVAL;
	for (size_t i = 0; i < count; i++) {
		size_t children = tree_children(&s->now, below[i], &child);
		memcpy(name, s->now.at[child].guid, sizeof(name));
		r = merge_pair(s, name);
		if (r && children == 1)
			return r;
	}
	if (!r)
		finish_temporary(s, NULL);
	return r;
}

int foretell_merge_new(struct story *s, const char *guid, const char *file, bool exists)
{
	struct node *n = tree_find(&s->now, guid);
	if (!n)
		return -ENOENT;
	if (s->live)
		return -EBUSY;
	int r = judge_pair(&s->now, n);
	if (!r && exists)
		r = -EEXIST;
	if (r)
		return r;
	join(s, guid, false, file);
	finish_temporary(s, NULL);
	return 0;
}

int foretell_switch(struct story *s, const char *guid, const char *keep)
{
	struct node *n = tree_find(&s->now, guid);
	if (!n)
		return -ENOENT;
	if (same(guid, TOP_GUID) || n->temporary)
		return -EINVAL;
	int r = keep ? judge_new_guid(&s->now, keep) : 0;
	if (!r && s->live && !keep)
		r = -EBUSY;
	if (r)
		return r;
	if (keep)
		rename_node(&s->now, TOP_GUID, keep);
	else
		drop(&s->now, tree_top(&s->now));
	add_top(&s->now, guid);
	record(s);
	return 0;
}

static bool chain_has_temporary(struct tree *t, const char *guid)
{
	for (struct node *n = tree_find(t, guid); n; n = tree_find(t, n->parent))
		if (n->temporary)
			return true;
	return false;
}

static int clone_full(struct story *s, const char *guid)
{
	if (guid)
		return chain_has_temporary(&s->now, guid) ? -EBUSY : 0;
	if (!s->live)
		return 0;
	int r = foretell_create(s, "?", true);
	if (!r)
		foretell_delete(s, "?");
	return r;
}

int foretell_clone(struct story *s, const char *guid, bool full)
{
	if (guid && !tree_find(&s->now, guid))
		return -ENOENT;
	if (full)
		return clone_full(s, guid);
	bool still = (guid && !same(guid, TOP_GUID)) || tree_top(&s->now)->own;
	if (still)
		return chain_has_temporary(&s->now, guid ? guid : TOP_GUID) ? -EBUSY : 0;
	int r = foretell_create(s, "?", false);
	if (r || !chain_has_temporary(&s->now, "?"))
		return r;
	foretell_delete(s, "?");
	return -EBUSY;
}
