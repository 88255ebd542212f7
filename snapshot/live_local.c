/* A stopped disk, opened in this process for the length of an operation, behind the same table as a running one. */
#include "snapshot/op.h"

#include "base/invariant.h"

#include <errno.h>
#include <string.h>

struct local {
	struct pl_live live;
	const struct pl_bundle *bundle;
	struct pl_loop *loop;
	struct pl_disk *disk;
};

static struct local *of(struct pl_live *live)
{
	return container_of(live, struct local, live);
}

static int local_members(struct pl_live *live, struct pl_member **out, size_t *count)
{
	struct pl_member *members = calloc(PL_MAX_CHAIN, sizeof(*members));
	if (!members)
		return pl_fail(-ENOMEM, "no memory for a chain of images");
	*count = pl_disk_members(of(live)->disk, members, PL_MAX_CHAIN);
	*out = members;
	return 0;
}

static int local_push(struct pl_live *live, const char *name)
{
	const struct pl_bundle *b = of(live)->bundle;
	struct pl_image_ref ref = {.path = name, .name = name, .dir_fd = b->folder_fd};
	return pl_disk_push(of(live)->disk, &ref);
}

static int local_abandon(struct pl_live *live)
{
	pl_disk_abandon(of(live)->disk);
	return 0;
}

static void change_done(struct pl_change *change)
{
	*(bool *)change->owner = true;
}

static int local_switch(struct pl_live *live, const struct pl_switch_options *options, uint64_t *pause_ns)
{
	bool done = false;
	struct pl_change change = {.done = change_done, .owner = &done};
	pl_disk_switch(of(live)->disk, options, &change);
	while (!done) {
		int r = pl_loop_step(of(live)->loop, true);
		invariant(r >= 0); /* the change uses the memory above */
	}
	*pause_ns = change.pause_ns;
	return change.res ? pl_fail(change.res, "%s", change.error) : 0;
}

/* What a stopped disk merges needs no disk: fold_images(). */
static int local_merge(struct pl_live *live, uint32_t child, enum pl_merge_into into,
		       const struct pl_progress *progress)
{
	return pl_fail(-EOPNOTSUPP, "a stopped disk's images are merged as files");
}

int snap_live_local_close(struct pl_live *live)
{
	struct local *l = of(live);
	int r = pl_disk_close(l->disk);
	pl_loop_free(l->loop);
	free(l);
	return r;
}

static int local_replace(struct pl_live *live, uint32_t place, const char *name)
{
	return pl_fail(-EOPNOTSUPP, "a stopped disk's images are replaced as files");
}

static void local_close(struct pl_live *live)
{
	snap_live_local_close(live);
}

static const struct pl_live_ops local_ops = {
	.members = local_members,
	.push = local_push,
	.abandon = local_abandon,
	.switch_top = local_switch,
	.merge = local_merge,
	.replace = local_replace,
	.close = local_close,
};

int snap_live_local(struct pl_bundle *bundle, struct pl_live **out)
{
	struct pl_loop_options loop_options = {.size = sizeof(loop_options)};
	struct pl_open_options open_options = {.size = sizeof(open_options)};
	struct pl_chain_spec chain;
	autofree struct local *l = calloc(1, sizeof(*l));
	if (!l)
		return pl_fail(-ENOMEM, "%s: no memory to open it", bundle->path);
	l->live.ops = &local_ops;
	l->bundle = bundle;
	int r = pl_bundle_chain(bundle, NULL, &chain);
	if (!r)
		r = pl_loop_new(&loop_options, &l->loop);
	if (r)
		return r;
	r = pl_disk_open(l->loop, &chain, &open_options, &l->disk);
	if (r) {
		pl_loop_free(l->loop);
		return r;
	}
	*out = &mem_steal(&l)->live;
	return 0;
}
