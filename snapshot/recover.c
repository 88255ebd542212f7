/* The beginning of every operation: the lock, the fresh descriptor, and what an operation that died has left.
 *
 *   files on the unlink list        removed unless the descriptor names them
 *   a stopped disk whose image below the top is marked in use: its server died in a snapshot; opened alone and closed
 *   a running disk, compared with the chain that the descriptor names:
 *     the same images               nothing to do
 *     one of two is missing that    it died between the end of a merge and its store: store now
 *     are being merged
 *     the top is missing            it died between the store and the switch of a snapshot: switch now
 *     one is another file           of another name: it died before a replacement was stored: back to the old one
 *     anything else                 -ESTALE: not our doing
 *
 * Other markers (Temporary, TemporaryZero…) ask for long work and are left to those who merge anyway. */
#include "snapshot/op.h"

#include <time.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- comparing the chains */

struct match {
	struct pl_chain_spec chain; /* the descriptor's */
	struct stat *files;	    /* of its images */
	struct pl_member *members;  /* of the running disk */
	size_t count;
};

static void match_fini(struct match *m)
{
	free(m->files);
	free(m->members);
}
#define automatch __attribute__((cleanup(match_fini)))

static int match_init(struct snap_op *op, struct match *m)
{
	int r = pl_bundle_chain(op->bundle, NULL, &m->chain);
	if (!r)
		r = op->live->ops->members(op->live, &m->members, &m->count);
	if (r)
		return r;
	m->files = calloc(m->chain.count, sizeof(*m->files));
	if (!m->files)
		return pl_fail(-ENOMEM, "%s: no memory for %zu images", op->bundle->path, m->chain.count);
	for (size_t i = 0; !r && i < m->chain.count; i++)
		r = image_look(&m->chain.images[i], &m->files[i]);
	return r;
}

static bool is_same(const struct match *m, size_t image, size_t member)
{
	const struct stat *st = &m->files[image];
	return st->st_dev == m->members[member].dev && st->st_ino == m->members[member].ino;
}

/* The chains are the same but for image *@missing of the descriptor's; chain.count: none is missing. */
static bool differ_by_one(const struct match *m, size_t *missing)
{
	size_t i = 0, skip = 0;
	while (i < m->count && i < m->chain.count && is_same(m, i, i))
		i++;
	*missing = i;
	skip = i < m->chain.count;
	for (; i + skip < m->chain.count && i < m->count; i++)
		if (!is_same(m, i + skip, i))
			return false;
	return i == m->count && i + skip == m->chain.count;
}

/* The chains are as long and the same but for *@place, below the top, where the running disk opened a file of another
 * name. One of the same name was exchanged behind our back. */
static bool differ_by_name(const struct match *m, size_t *place)
{
	size_t differ = 0;
	for (size_t i = 0; m->count == m->chain.count && i < m->count; i++) {
		if (is_same(m, i, i))
			continue;
		*place = i;
		differ++;
	}
	return differ == 1 && *place + 1 < m->count &&
	       strcmp(basename(m->members[*place].path), basename(m->chain.images[*place].path)) != 0;
}

/* ---- agreeing again */

static int switch_now(struct snap_op *op, const struct pl_image_ref *top)
{
	struct pl_switch_options options = {.size = sizeof(options)};
	struct pl_live *live = op->live;
	uint64_t pause_ns;
	if (top->dir_fd < 0)
		return pl_fail(-ESTALE, "%s lies outside the folder of the disk", top->path);
	int r = live->ops->push(live, top->name);
	if (!r) {
		r = live->ops->switch_top(live, &options, &pause_ns);
		if (r) {
			char why[512];
			snprintf(why, sizeof(why), "%s", pl_error());
			live->ops->abandon(live);
			pl_fail(r, "%s", why);
		}
	}
	if (r)
		return pl_wrap(r, "%s: bring the running disk to the new top of an interrupted snapshot",
			       op->bundle->path);
	snap_tell(op, "an interrupted snapshot is finished: the running disk writes to %s now", top->name);
	return 0;
}

/* The place in the chain of the image that is being merged with the one below it; 0: there is none. */
static size_t merging_child(const struct snap_op *op, const struct match *m)
{
	size_t i = m->chain.count - 1;
	while (i > 0 && strcmp(m->chain.images[i].guid, op->bundle->desc.merging.text))
		i--;
	return i;
}

static int commit_now(struct snap_op *op, enum lay_desc_keep keep)
{
	struct lay_guid child = op->bundle->desc.merging;
	int r = snap_commit_merge(op, &child, keep);
	if (!r)
		snap_tell(op, "an interrupted merge into image %s is finished", child.text);
	return r;
}

/* Both files read the same. */
static int replace_back(struct snap_op *op, size_t place, const struct pl_image_ref *image)
{
	const char *name = snap_plain_name(image);
	if (!name)
		return pl_fail(-ESTALE, "%s lies outside the folder of the disk", image->path);
	int r = op->live->ops->replace(op->live, (uint32_t)place, name);
	if (r)
		return pl_wrap(r, "%s: bring the running disk back to the image of an interrupted replacement",
			       op->bundle->path);
	snap_tell(op, "an interrupted replacement is undone: the running disk reads %s again", name);
	return 0;
}

static int agree(struct snap_op *op)
{
	automatch struct match m = {0};
	size_t missing, place;
	int r = match_init(op, &m);
	if (r)
		return r;
	if (differ_by_one(&m, &missing)) {
		size_t child = merging_child(op, &m);
		if (missing == m.chain.count)
			return 0;
		if (child > 0 && missing == child)
			return commit_now(op, LAY_KEEP_PARENTS_FILE);
		if (child > 0 && missing == child - 1)
			return commit_now(op, LAY_KEEP_CHILDS_FILE);
		if (missing == m.chain.count - 1)
			return switch_now(op, &m.chain.images[missing]);
	}
	if (differ_by_name(&m, &place))
		return replace_back(op, place, &m.chain.images[place]);
	return pl_fail(-ESTALE,
		       "%s: the running disk has %zu images and the descriptor names %zu: they are not the same chain",
		       op->bundle->path, m.count, m.chain.count);
}

/* ---- a stopped disk */

/* The descriptor names a new top already, and the old one was not sealed: what was written to it last may still be in
 * the memory that outlives servers (D2). */
static int seal_below_top(struct snap_op *op)
{
	struct pl_chain_spec chain;
	struct pl_image_info info;
	int r = pl_bundle_chain(op->bundle, NULL, &chain);
	if (r || chain.count == 1)
		return r;
	chain.count--;
	const struct pl_image_ref *below = &chain.images[chain.count - 1];
	if (below->format != PL_FORMAT_PLOOP || pl_image_info(below, &info) || info.in_use != LAY_IN_USE)
		return 0;
	r = settle_below(&chain);
	if (r > 0)
		snap_tell(op, "%s was not closed when a snapshot was interrupted, and is now", below->path);
	return MIN(r, 0);
}

/* ---- the beginning */

static int sweep_and_tell(struct snap_op *op)
{
	struct unlink_report report = {0};
	int r = unlink_list_sweep(op->bundle, op->lock_fd, &report);
	autofree char *text = report.text;
	if (text)
		snap_tell(op, "%s", text);
	return r;
}

static int judge_bundle(const struct pl_bundle *b)
{
	if (strcmp(strrchr(b->path, '/') + 1, LAY_DESC_NAME))
		return pl_fail(-EOPNOTSUPP, "%s: a descriptor that is to be changed must be called " LAY_DESC_NAME,
			       b->path);
	if (b->desc.volume)
		return pl_fail(-EOPNOTSUPP, "%s: a volume: its snapshots are made by tools for volumes", b->path);
	return 0;
}

/* The top is called TOPDELTA by all who change a descriptor; those of old disks become so by their first operation. */
static int settle_top(struct snap_op *op)
{
	autodesc struct lay_desc d = {0};
	if (lay_guid_eq(&op->bundle->desc.top, &lay_guid_top))
		return 0;
	int r = snap_edit(op, &d);
	return r ? r : snap_store(op, &d);
}

/* An operation on a stopped disk works on plain images. */
static int finish_top(struct snap_op *op)
{
	struct pl_chain_spec chain;
	struct pl_image_info info;
	int r = pl_bundle_chain(op->bundle, NULL, &chain);
	if (r)
		return r;
	const struct pl_image_ref *top = &chain.images[chain.count - 1];
	if (top->format != PL_FORMAT_PLOOP || pl_image_info(top, &info) || !info.unfinished)
		return 0;
	return MIN(settle_chain(&chain), 0);
}

static int begin(struct snap_op *op, struct pl_bundle *bundle, struct pl_live *live)
{
	*op = (struct snap_op){.bundle = bundle, .live = live, .lock_fd = -1};
	op->lock_fd = bundle_lock(bundle->folder_fd, bundle->folder);
	if (op->lock_fd < 0)
		return op->lock_fd;
	int r = sweep_and_tell(op);
	if (!r)
		r = live ? agree(op) : seal_below_top(op);
	return r;
}

int snap_begin(struct snap_op *op, struct pl_bundle *bundle, struct pl_live *live)
{
	int r = judge_bundle(bundle);
	if (!r)
		r = begin(op, bundle, live);
	if (!r)
		r = judge_bundle(bundle); /* which was read again */
	if (!r && !live)
		r = finish_top(op);
	return r ? r : settle_top(op);
}

int pl_bundle_recover(struct pl_bundle *bundle, struct pl_live *live, char **what)
{
	autoop struct snap_op op = SNAP_OP_NONE;
	int r = begin(&op, bundle, live);
	if (!r && what)
		*what = mem_steal(&op.told);
	return r;
}

/* Who else opens or changes the bundle is soon done, in most cases. */
#define HOLD_WAIT_NS (5 * NS_PER_S)
#define HOLD_RETRY_NS (20 * NS_PER_MS)

static int hold_once(struct pl_bundle *bundle, int *lock_fd)
{
	autoop struct snap_op op = SNAP_OP_NONE;
	int r = begin(&op, bundle, NULL);
	if (!r) {
		*lock_fd = op.lock_fd;
		op.lock_fd = -1;
	}
	return r == -EBUSY && op.lock_fd < 0 ? -EAGAIN : r;
}

int pl_bundle_hold(struct pl_bundle *bundle, int *lock_fd)
{
	uint64_t give_up_ns = pl_now_ns() + HOLD_WAIT_NS;
	int r;
	while ((r = hold_once(bundle, lock_fd)) == -EAGAIN && pl_now_ns() < give_up_ns)
		nanosleep(&(struct timespec){.tv_nsec = HOLD_RETRY_NS}, NULL);
	return r == -EAGAIN ? -EBUSY : r;
}
