/* Loop devices: a file as a block device.
 *
 * One loop device is on the whole disk; a second one on the partition would be a second way to the same bytes (for
 * partitions see front.h). LO_FLAGS_PARTSCAN is not used. With LO_FLAGS_DIRECT_IO nothing is cached twice, and a flush
 * of the block device is an fsync of the file. */
#ifndef PLOOP_LOOPDEV_H
#define PLOOP_LOOPDEV_H

#include "ploop.h"

/* Is there a loop driver, and may we use it? Loads the module. -ENOENT, -EACCES. */
int loopdev_probe(void);

/* Attach @file to a free loop device; *@dev is its device number. */
int loopdev_attach(const char *file, bool readonly, uint64_t *number, uint64_t *dev);

/* Detach loop @number if @file is what it is attached to, and wait until nothing uses it any more.
 * -EBUSY: it is still open at @deadline_ns. */
int loopdev_detach(uint64_t number, const char *file, uint64_t deadline_ns);

/* The loop device that @file is attached to: -ENOENT. */
int loopdev_find(const char *file, uint64_t *number);

#endif
