/* Clones, which become bundles of the set. */
#include "ops.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct clone_words {
	const char *target, *guid;
	bool full, keep_identity;
};

static int clone_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	const struct clone_words *o = arg;
	struct pl_clone_options options = {
		.size = sizeof(options), .guid = o->guid, .full = o->full, .keep_identity = o->keep_identity};
	struct pl_clone_result result;
	return pl_clone(b, live, o->target, &options, &result);
}

/* The images of @source up to @ground, base first. */
static size_t chain_of(struct tree *source, const char *ground, struct node **out)
{
	struct node *up[MAX_NODES + 2];
	size_t count = 0;
	for (struct node *n = tree_find(source, ground); n; n = tree_find(source, n->parent))
		up[count++] = n;
	for (size_t i = 0; i < count; i++)
		out[i] = up[count - 1 - i];
	return count;
}

/* Was it copied while the source ran? Then as of a snapshot that is gone again. */
static bool is_of_running(const struct bundle *source, const struct clone_words *o)
{
	return o->full && source->running && !o->guid;
}

static const char *ground_of(const struct bundle *source, const struct clone_words *o)
{
	if (is_of_running(source, o))
		return "?";
	if (o->guid && strcmp(o->guid, TOP_GUID))
		return o->guid;
	return o->full || source->sealed ? TOP_GUID : tree_find((struct tree *)&source->tree, TOP_GUID)->parent;
}

/* The tree that the source had when the clone was made of it. */
static struct tree *tree_of(struct world *w, struct bundle *source, const struct clone_words *o)
{
	struct tree *t = &source->tree;
	for (size_t i = 0; is_of_running(source, o) && i < w->story.count; i++)
		if (tree_find(&w->story.step[i], "?"))
			t = &w->story.step[i];
	return t;
}

/* @b appeared: it has the images of the chain, and reads as its last one. */
static void adopt_clone(struct world *w, struct bundle *source, struct bundle *b, const struct clone_words *o)
{
	struct node *chain[MAX_NODES + 2];
	size_t count = chain_of(tree_of(w, source, o), ground_of(source, o), chain);
	char why[400];
	b->used = true;
	bundle_observe(w, b, &b->tree);
	if (b->tree.count != count + !o->full)
		world_wrong(w, "%s: %zu images of %zu", b->folder, b->tree.count, count);
	for (size_t i = 0; i < b->tree.count; i++) {
		struct node *n = &b->tree.at[i], *from = chain[i < count ? i : count - 1];
		if (i + 1 < count && strcmp(n->guid, from->guid))
			world_wrong(w, "%s: image %s is called %s", b->folder, from->guid, n->guid);
		if (i + 1 < count && n->temporary != from->temporary)
			world_wrong(w, "%s: image %s has another mark than its source", b->folder, n->guid);
		if (strcmp(n->parent, i ? b->tree.at[i - 1].guid : NO_GUID))
			world_wrong(w, "%s: image %s stands on %s", b->folder, n->guid, n->parent);
		memcpy(n->image, from->image, sizeof(n->image));
		n->raw = i < count && from->raw;
		n->unknown = from->unknown;
	}
	if (!is_of_running(source, o))
		return;
	struct node *top = tree_top(&b->tree);
	bundle_read(w, b, NULL, top->image);
	if (!guest_log_judge(&w->log, top->image, why, sizeof(why)))
		world_wrong(w, "%s: a clone: %s", b->folder, why);
}

static bool clone_once(struct world *w, struct bundle *source, struct clone_words *o, bool *died)
{
	foretell(w, source);
	int err = foretell_clone(&w->story, o->guid, o->full);
	return perform(w, source, clone_call, o, err, false, died);
}

void clone_operate(struct world *w, struct bundle *source)
{
	char guid[40];
	struct bundle *b = world_free_place(w);
	struct clone_words o = {
		.full = prng_percent(&w->random, 40),
		.keep_identity = prng_percent(&w->random, 50),
	};
	bool died;
	if (!b || source->tree.count >= MAX_NODES - 1)
		return;
	memset(b, 0, sizeof(*b));
	world_name(w, b);
	o.target = b->folder;
	if (prng_percent(&w->random, 40)) {
		snprintf(guid, sizeof(guid), "%s", choose_node(w, source));
		o.guid = source->running && !strcmp(guid, TOP_GUID) ? NULL : guid;
	}
	world_note(w, "%s: %s clone %s of %s", source->folder, o.full ? "full" : "linked", o.target,
		   o.guid ? o.guid : "the present");
	bool made = clone_once(w, source, &o, &died);
	if (died) { /* who makes it again removes what was left of it */
		uint32_t deaths = w->deaths_percent;
		w->deaths_percent = 0;
		made = access(o.target, F_OK) == 0 || clone_once(w, source, &o, &died);
		w->deaths_percent = deaths;
	}
	if (made)
		adopt_clone(w, source, b, &o);
}
