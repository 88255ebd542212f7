/* Changes of the chain: one at a time, told to whoever asked. */
#ifndef PLOOP_CHANGE_H
#define PLOOP_CHANGE_H

#include "ploop/disk.h"

/* @change is d->change from now on. -EBUSY: another one is; @change is done with that, from the loop. */
int change_begin(struct pl_disk *d, struct pl_change *change);
/* May images that stay in the chain change? -EROFS it is open for reading only · -EIO a sync failed · -EBUSY an image
 * is pushed. */
int change_judge_images(const struct pl_disk *d);
/* d->change is over: its done() runs from the loop with @res, and the sentence of now when that is an error. */
void change_done(struct pl_disk *d, int res);
/* Tell how far it is. */
void change_progress(struct pl_disk *d, uint64_t done_bytes, uint64_t total_bytes);

#endif
