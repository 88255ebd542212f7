/* What an image or a dead server says of partial clusters, taken over when a disk is opened. */
#ifndef PLOOP_JOURNAL_REPLAY_H
#define PLOOP_JOURNAL_REPLAY_H

#include "ploop/disk.h"

/* Give @w its table of partial clusters. The map and the pending changes of a dead server are loaded: what they say
 * of a cluster counts. A dead server's table, if @w has inherited one, is newer than the journal. Reads only; a disk
 * that is only read keeps a copy in memory.
 * -EUCLEAN: that cannot be, or no image below has the rest of a cluster · -ENOMEM. */
int partials_load(struct writer *w);

/* The journal head that the fenced header @h of the image in @store points to; makes @h true. For an image that is not
 * fenced there is nothing to do. -EUCLEAN */
int fence_read(struct store *store, struct lay_header *h, struct image_fence *out);

#endif
