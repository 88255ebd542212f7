/* What all operations on a bundle begin and end with, and the pieces that several of them share.
 *
 * lock -> read the descriptor again -> finish what an operation that died left -> checks -> work -> sweep -> unlock
 *
 * Order of locks: the bundle's folder, then images, the top first. */
#ifndef SNAPSHOT_OP_H
#define SNAPSHOT_OP_H

#include "ploop/engine.h"
#include "snapshot/points.h"
#include "snapshot/unlink_list.h"

#include <string.h>

struct snap_op {
	struct pl_bundle *bundle; /* the caller's, read again after each store */
	struct pl_live *live;	  /* NULL: the disk is stopped */
	int lock_fd;		  /* the folder, locked; -1 before */
	char *told;		  /* what was found and repaired, sentences; NULL: nothing */
};

/* On success the descriptor is fresh, and in agreement with @live. -EBUSY another operation runs · -ESTALE the running
 * chain is another one · -EOPNOTSUPP not a bundle that can be changed. */
int snap_begin(struct snap_op *op, struct pl_bundle *bundle, struct pl_live *live);
void snap_end(struct snap_op *op);
#define autoop __attribute__((cleanup(snap_end)))
#define SNAP_OP_NONE                                                                                                   \
	{                                                                                                              \
		.lock_fd = -1                                                                                          \
	}

/* Log it, and remember it for pl_bundle_recover(). */
void snap_tell(struct snap_op *op, const char *fmt, ...) PL_PRINTF(2, 3);

/* ---- the descriptor */

/* An editable copy. */
int snap_edit(const struct snap_op *op, struct lay_desc *out);
/* D6: put @desc in place, durably, and read it back into the bundle: pointers to nodes and images are void. */
int snap_store(struct snap_op *op, struct lay_desc *desc);

int snap_set_state(struct snap_op *op, const struct lay_guid *guid, enum lay_desc_state state);
/* Put @desc in place, which does not name @gone any more, and remove that file, the two as one step. @also (may be
 * NULL) is a file that is on the unlink list too: one that @desc names only now, or does not any more either. */
int snap_store_without(struct snap_op *op, struct lay_desc *desc, const struct pl_image_ref *gone, const char *also);

/* The node of @guid as an operator types it. -EINVAL no UUID · -ENOENT. */
int snap_find(const struct snap_op *op, const char *guid, struct lay_desc_node **out);
/* An id that no node has, from @guid or, if that is NULL, a random one. -EINVAL · -EEXIST. */
int snap_new_guid(const struct snap_op *op, const char *guid, struct lay_guid *out);

static inline struct lay_desc_node *snap_node(const struct snap_op *op, const struct lay_guid *guid)
{
	return lay_desc_find(&op->bundle->desc, guid);
}
static inline const struct pl_image_ref *snap_image(const struct snap_op *op, const struct lay_desc_node *node)
{
	return &op->bundle->images[node - op->bundle->desc.nodes];
}
static inline bool snap_is_base(const struct lay_desc_node *node)
{
	return lay_guid_eq(&node->parent, &lay_guid_none);
}
static inline bool snap_is_top(const struct snap_op *op, const struct lay_desc_node *node)
{
	return lay_guid_eq(&node->guid, &op->bundle->desc.top);
}
/* Its place in the chain of the top, base 0; -1: in another branch. */
int snap_place_in_chain(const struct snap_op *op, const struct lay_guid *guid);

/* ---- files */

/* The name of an image that lies in the folder itself, by which it can be listed; NULL: it lies elsewhere. */
static inline const char *snap_plain_name(const struct pl_image_ref *image)
{
	return image->dir_fd >= 0 && !strchr(image->name, '/') ? image->name : NULL;
}
/* List files that are to go unless the descriptor names them; NULLs are left out. */
int snap_list_garbage(struct snap_op *op, const char *a, const char *b);
/* Remove what was listed and is not named, and the list. */
int snap_sweep(struct snap_op *op);
/* The same at the end of an operation, well or ill: the sentence is kept, and what cannot be removed is left to whoever
 * comes next. */
void snap_sweep_quietly(struct snap_op *op);

/* A name in the folder for a new image: that of the first image, without its ".{GUID}" if @stripped, and a random
 * ".{GUID}". malloc'ed. */
int snap_new_file_name(const struct snap_op *op, bool stripped, char **out);
/* An empty delta @name in the folder, as may lie above the image @below. Durable. */
int snap_create_delta(const struct snap_op *op, const char *name, const struct pl_image_ref *below);
/* May its content be changed? -EMLINK other bundles share it · -EROFS it is sealed. */
int snap_check_own(const struct pl_image_ref *image);

/* Keep everybody else from the image until *@fd is closed, or find out that somebody has it: -EBUSY. What a dead server
 * left is brought in first. */
int snap_lock_image(const struct pl_image_ref *image, int *fd);
/* The same, but what other bundles share, or what is sealed, is left unlocked: they only read it, and so shall we. */
int snap_lock_own(const struct pl_image_ref *image, int *fd);
/* And let go again: fold_images() takes the locks itself. */
int snap_check_unused(const struct pl_image_ref *image);

/* ---- parts of operations */

/* Open the stopped disk here, to be changed like a running one; pl_live_close() ends it, without a word on failure. */
int snap_live_local(struct pl_bundle *bundle, struct pl_live **out);
/* The same, with the failure of closing. */
int snap_live_local_close(struct pl_live *live);

/* @child and the one below it become one, with the id of @child and the name of the lower file (disk-descriptor 6.6).
 */
int snap_merge_pair(struct snap_op *op, const struct lay_guid *child, const struct pl_progress *progress);
/* The same into the new file @path in the folder of the bundle. */
int snap_merge_into_new(struct snap_op *op, const struct lay_guid *child, const char *path,
			const struct pl_progress *progress);
/* Copy an image that nobody uses to the new file @name of @dir_fd, holes as holes. Its content is durable. */
int snap_copy_image(const struct pl_image_ref *from, int dir_fd, const char *name, const struct pl_progress *progress);
/* Can the two become one? -EINVAL. */
int snap_judge_pair(const struct snap_op *op, const struct lay_desc_node *child);
/* The last step of a merge: the data is together in one of the files. */
int snap_commit_merge(struct snap_op *op, const struct lay_guid *child, enum lay_desc_keep keep);
/* Forget the node @leaf, on which nothing stands, and its file. -EBUSY it is in use. */
int snap_remove_leaf(struct snap_op *op, const struct lay_guid *leaf);
/* Remove temporary snapshots that are done with: nothing stands on them and nobody has them, or one image does. In a
 * running chain only @freed, which may be NULL. Those that cannot go yet stay, and the log says why. */
void snap_finish_temporary(struct snap_op *op, const struct lay_guid *freed, const struct pl_progress *progress);

#endif
