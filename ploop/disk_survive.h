#ifndef PLOOP_DISK_SURVIVE_H
#define PLOOP_DISK_SURVIVE_H

#include "ploop/disk.h"

/* Give @d its pending table, with what a dead server left in it applied to the map. -EUCLEAN: that cannot be. */
int attach_pending(struct pl_disk *d, const struct pl_open_options *options);

/* Replace the holder when it dies. Until drained, @d has an operation on the loop. */
void watch_holder(struct pl_disk *d);

#endif
