#ifndef PLOOP_DISK_SURVIVE_H
#define PLOOP_DISK_SURVIVE_H

#include "ploop/disk.h"

/* Give @w its pending table, with what a dead server left in it applied to the map. -EUCLEAN: that cannot be ·
 * -EAGAIN: the image must be settled alone first (settle.h), the table uncovers images below it.
 * @holder_program: see pl_open_options. */
int attach_pending(struct writer *w, const char *holder_program);

/* Replace the holder when it dies. Until drained, @w has an operation on the loop. */
void watch_holder(struct writer *w);

#endif
