/* Sealing: the top of until now becomes an image that is only read, while requests go to the next one.
 *
 *   switch: the last round of the old top is cut, its closed header built
 *        -> round ends: data and entries are durable -> file cut, [extension written], synced
 *        -> header written, synced: closed, plain stock format -> holder sent away, lock lowered to a reader's
 *
 *   crash after…      leaves                                           the next open
 *   the cut           an old top marked in use, with its table         settles it (settle.h), then opens the chain
 *   the round         the same, its BAT complete                       same; the table is empty
 *   the header        a closed image                                   nothing
 *
 * Rounds of the new top wait for the old top's, so that entries of the new one are never durable before. */
#ifndef PLOOP_SEAL_H
#define PLOOP_SEAL_H

#include "ploop/disk.h"

/* w = d->leaving; w->extension stays in the image. Nothing is in flight. @done gets 0, or what the disk has failed
 * with; d->leaving is gone then. -ENOMEM, -EIO (the disk has failed already): nothing happened. */
int seal_begin(struct writer *w, void (*done)(struct pl_disk *d, int res));

/* Its last round has ended. */
void seal_round_done(struct writer *w, int res);

#endif
