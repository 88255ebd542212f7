#include "ops.h"

#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- foretold, done, judged */

void foretell(struct world *w, struct bundle *b)
{
	bundle_look_at_files(w, b);
	story_begin(&w->story, &b->tree, b->running);
}

const char *choose_node(struct world *w, struct bundle *b)
{
	static char nobody[40];
	if (prng_percent(&w->random, 4)) {
		world_random_guid(w, nobody);
		return nobody;
	}
	return b->tree.at[prng_below(&w->random, (uint32_t)b->tree.count)].guid;
}

static int recover_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	return pl_bundle_recover(b, live, NULL);
}

static size_t known_files(const struct tree *told, const struct tree *seen)
{
	size_t n = 0;
	for (size_t i = 0; i < told->count; i++)
		n += !strcmp(told->at[i].file, seen->at[i].file);
	return n;
}

/* The tree of the story that is there; the last of them, but for one whose files are there that it names. */
static const struct tree *find_step(const struct story *s, const struct tree *seen, bool only_last)
{
	const struct tree *found = NULL;
	for (size_t i = s->count; i-- > 0 && (!only_last || i == s->count - 1);) {
		const struct tree *t = &s->step[i];
		if (tree_is(t, seen) && (!found || known_files(t, seen) > known_files(found, seen)))
			found = t;
	}
	return found;
}

/* What was taken from the running disk is compared with what the disk was meanwhile. */
static void settle_fresh(struct world *w, struct bundle *b)
{
	char why[400];
	for (size_t i = 0; i < b->tree.count; i++) {
		struct node *n = &b->tree.at[i];
		if (!n->fresh)
			continue;
		bundle_read(w, b, n->guid, n->image);
		if (!guest_log_judge(&w->log, n->image, why, sizeof(why)))
			world_wrong(w, "%s: snapshot %s: %s", b->folder, n->guid, why);
		n->fresh = false;
	}
}

static void adopt(struct world *w, struct bundle *b, const struct tree *told, const struct tree *seen, bool interrupted)
{
	b->tree = *told;
	for (size_t i = 0; i < seen->count; i++) {
		struct node *n = &b->tree.at[i];
		memcpy(n->guid, seen->at[i].guid, sizeof(n->guid));
		memcpy(n->parent, seen->at[i].parent, sizeof(n->parent));
		memcpy(n->file, seen->at[i].file, sizeof(n->file));
		n->unknown |= interrupted && n->temporary;
	}
	if (b->running)
		memcpy(tree_top(&b->tree)->image, b->guest.image, sizeof(b->guest.image));
	settle_fresh(w, b);
}

static void tell_tree(const char *what, const struct tree *t)
{
	fprintf(stderr, "%s:\n", what);
	for (size_t i = 0; i < t->count; i++)
		fprintf(stderr, "  %s on %s%s %s\n", t->at[i].guid, t->at[i].parent,
			t->at[i].temporary ? " temporary" : "", t->at[i].file);
}

static void judge(struct world *w, struct bundle *b, const struct remote_result *r, int err, bool cancel)
{
	static struct tree seen;
	bool loosely = r->died || cancel;
	if (!r->died && r->res != err && !(cancel && r->res == -ECANCELED))
		world_wrong(w, "%s: %d (%s) instead of %d", b->folder, r->res, r->text, err);
	if (b->running && b->guest.why[0])
		world_wrong(w, "%s: %s", b->folder, b->guest.why);
	bundle_observe(w, b, &seen);
	const struct tree *told = find_step(&w->story, &seen, !loosely);
	if (!told) {
		tell_tree("before", &w->story.step[0]);
		tell_tree("foretold", &w->story.step[w->story.count - 1]);
		tell_tree("seen", &seen);
		world_wrong(w, "%s: nothing like this was to be seen after %d %s", b->folder, r->res, r->text);
	}
	b->interrupted |= r->died && !b->running;
	adopt(w, b, told, &seen, loosely);
	if (!r->died)
		*(r->res == 0 ? &w->done : r->res == -ECANCELED ? &w->cancelled : &w->refused) += 1;
}

bool perform(struct world *w, struct bundle *b, bundle_call *call, void *arg, int err, bool may_cancel, bool *died)
{
	struct guest *g = b->running ? &b->guest : NULL;
	bool dies = prng_percent(&w->random, w->deaths_percent) && !b->spared;
	bool cancel = may_cancel && !dies && g && prng_percent(&w->random, 25);
	int stop_after = dies ? (int)prng_below(&w->random, prng_percent(&w->random, 60) ? 3 : 8) : -1;
	if (g)
		guest_log_begin(g, &w->log);
	struct remote_result r =
		remote_call(b->folder, g, call, arg, stop_after, cancel ? 1 + prng_below(&w->random, 40) : 0);
	if (r.died) {
		w->died++;
		struct remote_result again = remote_call(b->folder, g, recover_call, NULL, -1, 0);
		if (again.res)
			world_wrong(w, "%s: recover after %s: %d %s", b->folder, r.text, again.res, again.text);
	}
	if (g)
		guest_log_end(g);
	judge(w, b, &r, err, cancel);
	if (died)
		*died = r.died;
	return !r.died && r.res == 0;
}

/* ---- snapshots */

struct words {
	const char *guid, *keep, *path;
	bool temporary, all;
};

static int create_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	const struct words *o = arg;
	struct pl_snapshot_options options = {.size = sizeof(options), .guid = o->guid, .temporary = o->temporary};
	struct pl_snapshot_result result;
	return pl_snapshot_create(b, live, &options, &result);
}

static int delete_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	const struct words *o = arg;
	enum pl_snapshot_end end;
	return pl_snapshot_delete(b, live, o->guid, NULL, &end);
}

static int merge_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	const struct words *o = arg;
	struct pl_snapshot_merge_options options = {
		.size = sizeof(options), .guid = o->guid, .all = o->all, .new_delta = o->path};
	return pl_snapshot_merge(b, live, &options);
}

static int switch_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	const struct words *o = arg;
	return pl_snapshot_switch(b, live, o->guid, o->keep);
}

static void op_create(struct world *w, struct bundle *b)
{
	char guid[40];
	struct words o = {.guid = guid, .temporary = prng_percent(&w->random, 15)};
	if (b->tree.count >= MAX_NODES)
		return;
	world_random_guid(w, guid);
	if (prng_percent(&w->random, 5))
		snprintf(guid, sizeof(guid), "%s", choose_node(w, b));
	world_note(w, "%s: snapshot %s%s", b->folder, guid, o.temporary ? " temporary" : "");
	foretell(w, b);
	perform(w, b, create_call, &o, foretell_create(&w->story, guid, o.temporary), false, NULL);
}

static void op_delete(struct world *w, struct bundle *b)
{
	char guid[40];
	struct words o = {.guid = guid};
	snprintf(guid, sizeof(guid), "%s", choose_node(w, b));
	world_note(w, "%s: delete %s", b->folder, guid);
	foretell(w, b);
	perform(w, b, delete_call, &o, foretell_delete(&w->story, guid), true, NULL);
}

static void op_merge(struct world *w, struct bundle *b)
{
	char guid[40];
	struct words o = {.guid = guid};
	snprintf(guid, sizeof(guid), "%s", prng_percent(&w->random, 40) ? TOP_GUID : choose_node(w, b));
	world_note(w, "%s: merge %s", b->folder, guid);
	foretell(w, b);
	perform(w, b, merge_call, &o, foretell_merge(&w->story, guid), true, NULL);
}

static void op_merge_all(struct world *w, struct bundle *b)
{
	struct words o = {.all = true};
	world_note(w, "%s: merge all", b->folder);
	foretell(w, b);
	perform(w, b, merge_call, &o, foretell_merge_all(&w->story), false, NULL);
}

static bool has_file(const struct tree *t, const char *name)
{
	for (size_t i = 0; i < t->count; i++)
		if (!strcmp(t->at[i].file, name))
			return true;
	return false;
}

/* What others run on is locked by them, so that it depends on them whether it can be copied. */
static bool stands_on_shared(struct tree *t, const char *guid)
{
	const struct node *n = tree_find(t, guid), *parent = n ? tree_find(t, n->parent) : NULL;
	return parent && parent->own;
}

static void op_merge_new(struct world *w, struct bundle *b)
{
	char path[128], guid[40], id[40];
	bool exists = prng_percent(&w->random, 10);
	struct words o = {.guid = guid, .path = path};
	if (b->sealed)
		return;
	snprintf(guid, sizeof(guid), "%s", choose_node(w, b));
	world_random_guid(w, id); /* under another name than an image's the files that are left would be kept */
	snprintf(path, sizeof(path), "%s/root.hds.%s", b->folder, id);
	if (exists)
		snprintf(path, sizeof(path), "%s/%s", b->folder, b->tree.at[0].file);
	world_note(w, "%s: merge %s into %s", b->folder, guid, path);
	foretell(w, b);
	if (stands_on_shared(&b->tree, guid))
		return;
	int err = foretell_merge_new(&w->story, guid, strchr(path, '/') + 1, exists);
	perform(w, b, merge_call, &o, err, false, NULL);
	if (!exists && !has_file(&b->tree, strchr(path, '/') + 1))
		unlink(path); /* its name was the operator's, who has to remove it */
}

/* The running disk stays on the top that was kept: no operation takes it for the bundle's any more. */
static void end_on_kept_top(struct world *w, struct bundle *b, const char *keep)
{
	char guid[40];
	struct words o = {.guid = guid};
	struct guest *g = &b->guest;
	uint32_t target[BLOCKS];
	memcpy(target, tree_find(&b->tree, tree_top(&b->tree)->parent)->image, sizeof(target));
	guest_work(g, 10);
	world_random_guid(w, guid);
	struct remote_result r = remote_call(b->folder, g, create_call, &o, -1, 0);
	if (r.res != -ESTALE)
		world_wrong(w, "%s: snapshot of a disk on another top: %d %s", b->folder, r.res, r.text);
	bundle_stop(w, b);
	memcpy(tree_find(&b->tree, keep)->image, g->image, sizeof(g->image));
	memcpy(tree_top(&b->tree)->image, target, sizeof(target));
}

static void op_switch(struct world *w, struct bundle *b)
{
	char keep[40], guid[40];
	bool keeps = prng_percent(&w->random, 50);
	struct words o = {.guid = guid, .keep = keeps ? keep : NULL};
	if (b->sealed || b->tree.count >= MAX_NODES)
		return;
	world_random_guid(w, keep);
	snprintf(guid, sizeof(guid), "%s", choose_node(w, b));
	world_note(w, "%s: switch to %s%s%s", b->folder, guid, keeps ? ", keep " : "", keeps ? keep : "");
	foretell(w, b);
	int err = foretell_switch(&w->story, guid, o.keep);
	b->spared = b->running && keeps; /* the disk is left behind: there is no chain to recover */
	perform(w, b, switch_call, &o, err, false, NULL);
	b->spared = false;
	if (b->running && keeps && tree_find(&b->tree, keep))
		end_on_kept_top(w, b, keep);
}

/* ---- the rest */

static void op_work(struct world *w, struct bundle *b)
{
	bool was_running = b->running;
	if (b->sealed)
		return;
	uint32_t requests = 5 + prng_below(&w->random, 60);
	world_note(w, "%s: %u requests", b->folder, requests);
	if (!was_running)
		bundle_start(w, b);
	guest_work(&b->guest, requests);
	if (b->guest.why[0])
		world_wrong(w, "%s: %s", b->folder, b->guest.why);
	if (!was_running)
		bundle_stop(w, b);
}

static void op_start_or_stop(struct world *w, struct bundle *b)
{
	if (b->sealed || !w->running || (b->running && prng_percent(&w->random, 60)))
		return;
	world_note(w, "%s: %s", b->folder, b->running ? "stop" : "start");
	if (b->running)
		bundle_stop(w, b);
	else
		bundle_start(w, b);
}

static int seal_call(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	return pl_bundle_seal(b);
}

static void op_seal(struct world *w, struct bundle *b)
{
	if (b->running || !prng_percent(&w->random, 15))
		return;
	world_note(w, "%s: seal", b->folder);
	foretell(w, b);
	b->sealed = perform(w, b, seal_call, NULL, 0, false, NULL) || b->sealed;
}

static void op_remove(struct world *w, struct bundle *b)
{
	if (world_free_place(w) || (!b->sealed && prng_percent(&w->random, 70)))
		return;
	world_remove(w, b);
}

void world_operate(struct world *w)
{
	static const struct {
		uint32_t weight;
		void (*run)(struct world *w, struct bundle *b);
	} ops[] = {
		{30, op_work},	   {22, op_create},   {14, op_delete},	      {12, op_merge},
		{2, op_merge_all}, {3, op_merge_new}, {8, op_switch},	      {8, clone_operate},
		{3, op_seal},	   {6, op_remove},    {10, op_start_or_stop},
	};
	uint32_t total = 0, i = 0;
	w->ops++;
	struct bundle *b = &w->at[prng_below(&w->random, MAX_BUNDLES)];
	world_note(w, "-");
	if (!b->used) {
		if (prng_percent(&w->random, 20))
			world_new_bundle(w);
		return;
	}
	for (uint32_t k = 0; k < ARRAY_LEN(ops); k++)
		total += ops[k].weight;
	uint32_t n = prng_below(&w->random, total);
	for (; n >= ops[i].weight; i++)
		n -= ops[i].weight;
	ops[i].run(w, b);
}
