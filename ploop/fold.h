/* Folding: moving the clusters of an image into its neighbour in the chain, the work of a merge.
 *
 *   into the parent   every cluster that the child has is copied over the parent's, or to a free or new cluster of it
 *   into the child    every cluster that the parent has and the child lacks is copied to a new cluster of the child
 *
 * The source is not changed, so that folding again after an interruption gives the same. Both images are below the top,
 * or the disk is stopped: nobody writes either. The destination is marked in use first and closed last; its entries
 * follow their data (D3): data -> fdatasync -> BAT pages -> fdatasync. What was a hole in a cluster's file space stays
 * one where the destination is fresh. Runs on a loop, never blocks it for long. */
#ifndef PLOOP_FOLD_H
#define PLOOP_FOLD_H

#include "base/units.h"
#include "layout/header.h"
#include "ploop.h"
#include "ploop/store.h"

struct fold;

struct fold_options {
	struct pl_loop *loop;
	struct store *child, *parent; /* open, the destination for writing; the caller's, as are their locks */
	enum pl_format parent_format; /* a raw parent: into the parent only */
	enum pl_merge_into into;
	uint32_t cluster_sectors;     /* of the chain; for a raw parent */
	uint32_t depth;               /* copies of up to 1 MiB in flight; 0: 4 */
	/* How long to wait before the next copy: the pace that the guest leaves. NULL: none. */
	uint64_t (*delay_ns)(void *arg);
	/* The most that the next copy moves. Less than 1 MiB: one copy at a time, too. NULL: 1 MiB. */
	uint32_t (*step_bytes)(void *arg);
	void (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes); /* NULL: not wanted */
	/* Once, from the loop. 0: durable and closed · -ECANCELED · -errno with sentence. */
	void (*done)(void *arg, int res);
	void *arg;
};

/* Read both BATs, turning the loop, check them and that the images fit (-EINVAL, -EUCLEAN), begin. -ENOTSUP: the parent
 * is smaller than the child and @options->into is the parent, which then must grow: only fold_images() does; or the
 * child's extension has a feature that is unknown and must not be lost. */
int fold_start(const struct fold_options *options, struct fold **out);
/* End early: done() gets -ECANCELED, or 0 when all was copied already. What was copied is durable or forgotten; the
 * destination is closed. The same after an error in copying, such as -ENOSPC; only when the tables of the destination
 * cannot be written or synced it stays marked in use. */
void fold_cancel(struct fold *f);
/* In or after done(). */
void fold_free(struct fold *f);

/* After done() with 0: where the destination has @g; n = 0: nowhere, but in a raw one, which has all in order. */
struct fclu fold_place(const struct fold *f, struct gclu g);

/* The same for a stopped disk, waiting: opens the files, takes the locks of both (the writer's), settles what crashed
 * servers left in them, grows the parent if it must (ploop-format: offline grow), folds, closes. The extension (change
 * bitmap) of the child goes to the destination. -EMLINK: another bundle shares the destination; a source may be shared,
 * and be read by others meanwhile. */
int fold_images(const struct pl_image_ref *child, const struct pl_image_ref *parent, enum pl_merge_into into,
		uint32_t cluster_sectors, const struct pl_progress *progress);

#endif
