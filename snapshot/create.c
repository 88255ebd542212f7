/* Making a snapshot: the top becomes it, and an empty top is put on it. The table of its steps is in README.md. */
#include "snapshot/op.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MOST_IMAGES 126 /* as many as libploop accepts */

struct create {
	struct snap_op *op;
	struct pl_live *live; /* the running disk, or the stopped one opened here */
	const struct pl_snapshot_options *options;
	char *name;	     /* of the new top's file */
	struct lay_desc old; /* to go back to */
	uint64_t pause_ns;
};

static int check_length(const struct snap_op *op)
{
	int count = snap_place_in_chain(op, &op->bundle->desc.top) + 1;
	if (count > MOST_IMAGES)
		return pl_fail(-E2BIG, "%s: the maximum number of snapshots (%d) has been reached", op->bundle->path,
			       count - 1);
	return 0;
}

/* The file is made, durable, and opened by the disk. Nothing names it but the unlink list. */
static int prepare(struct create *c)
{
	struct snap_op *op = c->op;
	const struct lay_desc_node *top = snap_node(op, &op->bundle->desc.top);
	int r = snap_new_file_name(op, true, &c->name);
	if (!r)
		r = snap_list_garbage(op, c->name, NULL);
	if (r)
		return r;
	snap_point("create: listed");
	r = snap_create_delta(op, c->name, snap_image(op, top));
	if (r)
		return r;
	snap_point("create: delta made");
	r = c->live->ops->push(c->live, c->name);
	snap_point("create: pushed");
	return r;
}

static int store_new(struct create *c, const struct lay_guid *guid)
{
	autodesc struct lay_desc d = {0};
	int r = snap_edit(c->op, &d);
	if (!r)
		r = snap_edit(c->op, &c->old);
	if (r)
		return r;
	if (lay_desc_snapshot(&d, guid, c->name, c->options->temporary))
		return pl_fail(-ENOMEM, "%s: no memory to change it", c->op->bundle->path);
	r = snap_store(c->op, &d);
	snap_point("create: stored");
	return r;
}

static int switch_top(struct create *c)
{
	const struct pl_snapshot_options *o = c->options;
	struct pl_switch_options how = {
		.size = sizeof(how),
		.keep_bitmap_below = !c->op->live,
		.cbt_uuid = o->cbt_uuid,
	};
	int r = o->freeze ? o->freeze(o->freeze_arg, true) : 0;
	if (r)
		return r;
	char why[512] = "";
	r = c->live->ops->switch_top(c->live, &how, &c->pause_ns);
	if (r)
		snprintf(why, sizeof(why), "%s", pl_error());
	int thawed = o->freeze ? o->freeze(o->freeze_arg, false) : 0;
	snap_point("create: switched");
	return r ? pl_fail(r, "%s", why) : thawed;
}

static int top_is_new(const struct create *c, bool *out)
{
	const struct lay_desc_node *top = snap_node(c->op, &c->op->bundle->desc.top);
	autofree struct pl_member *members = NULL;
	struct stat st;
	size_t count;
	int r = image_look(snap_image(c->op, top), &st);
	if (!r)
		r = c->live->ops->members(c->live, &members, &count);
	if (!r)
		*out = count && members[count - 1].dev == st.st_dev && members[count - 1].ino == st.st_ino;
	return r;
}

/* The switch failed with @err, so that the descriptor may go back; unless nobody can tell whether it happened: then it
 * stays, since the chain that it names reads right either way, and the next operation looks again. */
static int take_back(struct create *c, int err)
{
	char why[512];
	bool is_new = false;
	snprintf(why, sizeof(why), "%s", pl_error());
	int r = top_is_new(c, &is_new);
	if (r)
		return pl_fail(err, "%s; the snapshot may have been made: ploop snapshot-list tells", why);
	if (is_new)
		return pl_fail(err, "the snapshot is made, but: %s", why);
	r = snap_store(c->op, &c->old);
	c->live->ops->abandon(c->live);
	return r ? pl_fail(err, "%s; and the descriptor keeps naming the snapshot: %s", why, pl_error())
		 : pl_fail(err, "%s", why);
}

static int create_on(struct create *c, const struct lay_guid *guid)
{
	int r = prepare(c);
	if (!r) {
		r = store_new(c, guid);
		if (r)
			c->live->ops->abandon(c->live);
	}
	if (!r) {
		r = switch_top(c);
		if (r)
			r = take_back(c, r);
	}
	return r;
}

static int create(struct snap_op *op, const struct pl_snapshot_options *o, struct pl_snapshot_result *out)
{
	struct lay_guid guid;
	struct create c = {.op = op, .live = op->live, .options = o};
	int r = check_length(op);
	if (!r)
		r = snap_new_guid(op, o->guid, &guid);
	if (!r && !op->live)
		r = snap_live_local(op->bundle, &c.live);
	if (r)
		return r;
	r = create_on(&c, &guid);
	snap_sweep_quietly(op);
	if (!op->live) {
		int closed = snap_live_local_close(c.live);
		r = r ? r : closed;
	}
	if (!r)
		*out = (struct pl_snapshot_result){.pause_ns = c.pause_ns};
	if (!r)
		memcpy(out->guid, guid.text, sizeof(out->guid));
	free(c.name);
	lay_desc_fini(&c.old);
	return r;
}

int pl_snapshot_create(struct pl_bundle *bundle, struct pl_live *live, const struct pl_snapshot_options *options,
		       struct pl_snapshot_result *out)
{
	struct pl_snapshot_options o = {0};
	autoop struct snap_op op = SNAP_OP_NONE;
	memcpy(&o, options, MIN(options->size, sizeof(o)));
	int r = snap_begin(&op, bundle, live);
	if (r)
		return r;
	snap_finish_temporary(&op, NULL, NULL);
	return create(&op, &o, out);
}
