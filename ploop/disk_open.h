/* Opening a disk on stores of one's own: for tests on memory, fault and crash stores. */
#ifndef PLOOP_DISK_OPEN_H
#define PLOOP_DISK_OPEN_H

#include "ploop.h"
#include "ploop/store.h"

/* pl_disk_open() on @stores, base first, which belong to the disk from now on, whatever happens. No locks are taken. */
int disk_open_stores(struct pl_loop *loop, struct store *const *stores, const struct pl_chain_spec *chain,
		     const struct pl_open_options *options, struct pl_disk **out);

#endif
