/* A new top: pl_disk_push(), pl_disk_switch(), pl_disk_abandon().
 *
 *   push      the image is opened, locked, marked in use, its holder started; requests notice nothing
 *   switch    requests are held for a moment (quiesce.c) -> from there on first writes go to the new top, what the old
 *             one has lies below -> requests go on -> the old top is sealed behind their back (seal.c)
 *   abandon   the image is closed again */
#ifndef PLOOP_SWITCH_H
#define PLOOP_SWITCH_H

#include "ploop/disk.h"

/* pl_disk_push() with a store that is open already and belongs to @d afterwards, whatever happens. */
int disk_push_store(struct pl_disk *d, struct store *store);

#endif
