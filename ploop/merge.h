/* Merging two neighbours of the chain of an open disk: pl_disk_merge().
 *
 *   sealed pair            fold.c moves the data, then the map changes in one moment             merge_fold.c
 *   into the top           clusters of the image below are pulled up, as a first write would     merge_live.c
 *   of the top downwards   the image below becomes the one that is written, the top is drained   merge_live.c
 */
#ifndef PLOOP_MERGE_H
#define PLOOP_MERGE_H

#include "ploop/disk.h"

struct merge;

/* End early; the change is done with -ECANCELED, or with what it has reached. */
void merge_cancel(struct merge *m);

/* May @w's next round not begin yet? It does when it may. */
bool merge_delays_round(struct merge *m, const struct writer *w);
/* A round of @w has ended; one of @w was cut. */
void merge_round_ended(struct merge *m, const struct writer *w);
void merge_round_cut(struct merge *m, const struct writer *w);

/* How much of a cluster that moves is copied at a time. */
uint32_t merge_step_bytes(struct merge *m);

/* The entries in page @page of @w's BAT that the map does not tell: what lies under a top that is drained. */
void merge_overlay_page(const struct merge *m, const struct writer *w, uint32_t page, uint8_t *out);

#endif
