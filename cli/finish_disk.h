/* Filling what is partial in a disk, so that its top is a plain image again: with progress, until a signal comes. What
 * is filled by then stays filled. */
#ifndef PLOOP_CLI_FINISH_DISK_H
#define PLOOP_CLI_FINISH_DISK_H

#include "ploop.h"

/* Is an image of @chain unfinished? What cannot be read is not. */
bool chain_is_unfinished(const struct pl_chain_spec *chain);

/* A stopped disk: open it, fill it, close it. -ECANCELED: it stays unfinished · what opening it can say. */
int finish_stopped(const struct pl_chain_spec *chain);

/* A running one: ask its server. -ECANCELED · -EBUSY another change runs. */
int finish_running(struct pl_live *live);

#endif
