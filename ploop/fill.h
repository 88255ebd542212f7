/* Filling partial clusters with what lies below, until they are whole: in the background, or all of an image at once.
 *
 *   background  the fullest of those that were not written for a while, a small step at a time while the guest is at
 *               work
 *   at once     before an image is sealed, drained or closed: as many clusters at a time as there are slots
 *
 * A step holds the gate of its cluster, so that it may be alone among writers; an image that is being sealed has no
 * other writers, and needs none. What a step fills is valid from then on. */
#ifndef PLOOP_FILL_H
#define PLOOP_FILL_H

#include "ploop/disk.h"

struct fill;

/* NULL: no memory. */
struct fill *fill_new(struct pl_disk *d);
void fill_free(struct fill *fill);

/* There is something to fill, some time. */
void fill_schedule(struct pl_disk *d);
/* No more in the background: the disk closes. */
void fill_stop(struct pl_disk *d);

/* Fill all that @w has; @done when no cluster of it has anything missing, or it failed or was cancelled. In an image
 * that requests still write the clusters become whole; in one that is being sealed they stay in the table, all units
 * valid. One at a time; requests may go on. @done may be called inside, if there is nothing to do. @progress may be
 * NULL. */
void fill_all(struct writer *w, void (*done)(struct pl_disk *d, int res),
	      void (*progress)(struct pl_disk *d, uint32_t done, uint32_t total));
/* The same, but fill_all_cancel() ends it: @done gets -ECANCELED. */
void fill_all_cancellable(struct writer *w, void (*done)(struct pl_disk *d, int res),
			  void (*progress)(struct pl_disk *d, uint32_t done, uint32_t total));
void fill_all_cancel(struct pl_disk *d);
/* Does fill_all() run on @w? Then no cluster of it becomes partial. */
bool fill_runs(const struct pl_disk *d, const struct writer *w);

/* A fragment of our own, its gate not taken: fill the partial cluster f->g of @w and finish. */
void fill_cluster(struct frag *f, struct writer *w);

#endif
