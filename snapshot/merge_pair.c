/* Merging two neighbours, the work of deleting a snapshot. The table of the steps is in README.md.
 *
 * Which of the two files survives: the lower one when the disk is stopped, as stock tools do; it keeps its place and
 * most of the data. It cannot when other bundles have it. In a running disk it is the one that has more. Afterwards the
 * file has the lower one's name. */
#include "snapshot/op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct pair {
	struct lay_guid child, parent;
	int place; /* of the child in the chain of the running disk; -1: not in it, or the disk is stopped */
	enum pl_merge_into into;
};

static const struct pl_image_ref *image_of(const struct snap_op *op, const struct lay_guid *guid)
{
	return snap_image(op, snap_node(op, guid));
}

/* ---- which way */

int snap_judge_pair(const struct snap_op *op, const struct lay_desc_node *child)
{
	const char *path = op->bundle->path;
	if (snap_is_base(child))
		return pl_fail(-EINVAL, "%s: image %s is the base: there is nothing below to merge it into", path,
			       child->guid.text);
	const struct lay_desc_node *parent = snap_node(op, &child->parent);
	size_t n = lay_desc_children(&op->bundle->desc, &parent->guid, NULL);
	if (n > 1)
		return pl_fail(-EINVAL, "%s: %zu images stand on snapshot %s: it cannot be merged with one of them",
			       path, n, parent->guid.text);
	if (snap_is_top(op, parent))
		return pl_fail(-EINVAL, "%s: image %s stands on the top: it cannot be merged into it", path,
			       child->guid.text);
	return 0;
}

/* The parent must take what lies beyond its end, which a running disk cannot let it. */
static int parent_is_smaller(const struct snap_op *op, const struct pair *p, bool *out)
{
	struct pl_image_info child, parent;
	int r = pl_image_info(image_of(op, &p->child), &child);
	if (!r)
		r = pl_image_info(image_of(op, &p->parent), &parent);
	if (!r)
		*out = parent.size_sectors < child.size_sectors;
	return r;
}

/* The two as the running disk has them: the parent, and the child after it. */
static int ask_members(const struct snap_op *op, const struct pair *p, struct pl_member pair[2])
{
	autofree struct pl_member *members = NULL;
	size_t count;
	int r = op->live->ops->members(op->live, &members, &count);
	if (r)
		return r;
	if ((size_t)p->place >= count)
		return pl_fail(-ESTALE, "%s: the chain of the running disk changed", op->bundle->path);
	memcpy(pair, &members[p->place - 1], 2 * sizeof(*pair));
	return 0;
}

static int choose_running(const struct snap_op *op, struct pair *p)
{
	struct pl_member pair[2];
	bool smaller;
	int r = parent_is_smaller(op, p, &smaller);
	if (!r)
		r = ask_members(op, p, pair);
	if (!r && (smaller || pair[0].clusters < pair[1].clusters))
		p->into = PL_INTO_CHILD;
	return r;
}

static int choose(const struct snap_op *op, struct pair *p)
{
	const struct pl_image_ref *parent = image_of(op, &p->parent);
	p->into = PL_INTO_PARENT;
	int r = snap_check_own(parent);
	if (parent->format == PL_FORMAT_RAW)
		return r;
	if (r == -EMLINK || r == -EROFS)
		p->into = PL_INTO_CHILD;
	else if (!r && p->place > 0)
		r = choose_running(op, p);
	else
		return r;
	return p->into == PL_INTO_CHILD ? snap_check_own(image_of(op, &p->child)) : r;
}

/* What is shared with other bundles they may read, for it stays as it is. */
static int check_member(const struct pl_image_ref *image, const struct pl_member *member)
{
	return snap_check_own(image) || !member->others_read
		       ? 0
		       : pl_fail(-EBUSY, "%s is in use: others read it besides the running disk", image->path);
}

/* Nobody else may have the two: found out before anything is changed. */
static int check_unused(const struct snap_op *op, const struct pair *p)
{
	const struct pl_image_ref *child = image_of(op, &p->child), *parent = image_of(op, &p->parent);
	struct pl_member pair[2];
	int r = p->place < 0 ? snap_check_unused(child) : ask_members(op, p, pair);
	if (r)
		return r;
	if (p->place < 0)
		return snap_check_unused(parent);
	r = check_member(child, &pair[1]);
	return r ? r : check_member(parent, &pair[0]);
}

/* ---- the steps */

static int move_data(struct snap_op *op, const struct pair *p, const struct pl_progress *progress)
{
	if (p->place > 0)
		return op->live->ops->merge(op->live, (uint32_t)p->place, p->into, progress);
	return fold_images(image_of(op, &p->child), image_of(op, &p->parent), p->into, op->bundle->desc.cluster_sectors,
			   progress);
}

/* Give the file of @guid the name @name, which no image has. */
static int take_name(struct snap_op *op, const struct lay_guid *guid, const char *name)
{
	autodesc struct lay_desc d = {0};
	autofree char *old = strdup(snap_plain_name(image_of(op, guid)));
	int r = old ? snap_edit(op, &d) : -ENOMEM;
	if (!r && lay_desc_set_file(lay_desc_find(&d, guid), name))
		r = -ENOMEM;
	if (r)
		return pl_fail(r, "%s: no memory to change it", op->bundle->path);
	r = snap_list_garbage(op, name, old);
	if (r)
		return r;
	snap_point("merge: both names listed");
	if (linkat(op->lock_fd, old, op->lock_fd, name, 0) || fsync(op->lock_fd))
		return pl_fail(-errno, "%s: link %s to %s: %s", op->bundle->folder, old, name, strerror(errno));
	snap_point("merge: linked");
	r = snap_store(op, &d);
	snap_point("merge: renamed");
	return r;
}

/* Names are a matter of taste: where links are not to be had, the file keeps its own. */
static void keep_name(struct snap_op *op, const struct lay_guid *guid, const char *name)
{
	if (snap_plain_name(image_of(op, guid)) && take_name(op, guid, name))
		pl_log(PL_LOG_WARN, "snap", "%s", pl_error());
	snap_sweep_quietly(op);
}

int snap_commit_merge(struct snap_op *op, const struct lay_guid *child, enum lay_desc_keep keep)
{
	const struct lay_guid parent = snap_node(op, child)->parent;
	bool keeps_child = keep == LAY_KEEP_CHILDS_FILE;
	const struct pl_image_ref *gone = image_of(op, keeps_child ? &parent : child);
	autofree char *name = strdup(snap_plain_name(gone) ? gone->name : "");
	autodesc struct lay_desc d = {0};
	int r = name ? snap_edit(op, &d) : pl_fail(-ENOMEM, "%s: no memory to change it", op->bundle->path);
	if (r)
		return r;
	lay_desc_merge(&d, child, keep);
	r = snap_store_without(op, &d, gone, NULL);
	if (!r && keeps_child && *name)
		keep_name(op, child, name);
	return r;
}

/* The child tells the two from others that are marked, too. */
static int mark(struct snap_op *op, const struct pair *p)
{
	autodesc struct lay_desc d = {0};
	int r = snap_edit(op, &d);
	if (r)
		return r;
	struct lay_desc_node *parent = lay_desc_find(&d, &p->parent);
	if (parent->state == LAY_SHOT_PLAIN)
		parent->state = LAY_SHOT_TEMPORARY;
	d.merging = p->child;
	return snap_store(op, &d);
}

static int unmark(struct snap_op *op, const struct pair *p, enum lay_desc_state was)
{
	autodesc struct lay_desc d = {0};
	int r = snap_edit(op, &d);
	if (r)
		return r;
	lay_desc_find(&d, &p->parent)->state = was;
	d.merging.text[0] = '\0';
	return snap_store(op, &d);
}

/* The data could not be moved. A parent that was written is no snapshot any more and stays marked; so does one of which
 * a running disk, whose answer did not come, may have let go. */
static int take_back(struct snap_op *op, const struct pair *p, enum lay_desc_state was, int err)
{
	char why[512];
	bool untouched = err == -EBUSY || err == -EMLINK || err == -EINVAL ||
			 (p->into == PL_INTO_CHILD && (p->place < 0 || err == -ECANCELED));
	snprintf(why, sizeof(why), "%s", pl_error());
	if (!untouched)
		return err;
	int r = unmark(op, p, was);
	return r ? pl_fail(err, "%s; and snapshot %s stays marked for removal: %s", why, p->parent.text, pl_error())
		 : pl_fail(err, "%s", why);
}

int snap_merge_pair(struct snap_op *op, const struct lay_guid *child, const struct pl_progress *progress)
{
	struct pair p = {.child = *child, .place = op->live ? snap_place_in_chain(op, child) : -1};
	int r = snap_judge_pair(op, snap_node(op, child));
	p.parent = snap_node(op, child)->parent;
	if (!r)
		r = choose(op, &p);
	if (!r)
		r = check_unused(op, &p);
	if (r)
		return r;

	enum lay_desc_state was = snap_node(op, &p.parent)->state;
	r = mark(op, &p);
	if (r)
		return r;
	snap_point("merge: marked");
	r = move_data(op, &p, progress);
	if (r)
		return take_back(op, &p, was, r);
	snap_point("merge: data moved");
	return snap_commit_merge(op, &p.child, p.into == PL_INTO_CHILD ? LAY_KEEP_CHILDS_FILE : LAY_KEEP_PARENTS_FILE);
}
