/* Growing an image that no disk has open. A longer BAT needs the clusters behind it: their data moves away. */
#ifndef PLOOP_GROW_H
#define PLOOP_GROW_H

#include "ploop/store.h"

/* Make the ploop image in @store, open for writing and locked by the caller, @size_sectors large. Waits; durable and
 * closed on return. A change bitmap is dropped: it is one of the old size. Whatever interrupts it leaves the image with
 * its old size and all its data, or with the new one; growing again goes on. 0 as well when it has that size.
 * -EINVAL: smaller, not a multiple of the cluster, or more than the format can address · -EUCLEAN … as for a BAT. */
int grow_image(struct store *store, uint64_t size_sectors);

/* The same for a raw image: a hole behind. -EINVAL: smaller. */
int grow_raw(struct store *store, uint64_t size_sectors);

#endif
