/* Loop devices: a file as a block device, with a partition.
 *
 * One loop device is on the whole disk, and the kernel is told where partition 1 lies (BLKPG): it becomes a block
 * device above the same queue. LO_FLAGS_PARTSCAN is not used: kernels may lack the parser for GPT, and those that have
 * it would parse a table that the owner of the disk wrote. A second loop on the partition would be a second way to the
 * same bytes. Neither partprobe nor udev is needed; device numbers come from sysfs. With LO_FLAGS_DIRECT_IO nothing is
 * cached twice, and a flush of the block device is an fsync of the file. */
#ifndef PLOOP_LOOPDEV_H
#define PLOOP_LOOPDEV_H

#include "ploop.h"

/* Is there a loop driver, and may we use it? -ENOENT, -EACCES. */
int loopdev_probe(void);

/* Attach @file to a free loop device; *@dev is its device number. */
int loopdev_attach(const char *file, bool readonly, uint64_t *number, uint64_t *dev);

/* Make partition 1; *@dev is its device number. Offset and length are multiples of 512. */
int loopdev_add_partition(uint64_t number, uint64_t offset_bytes, uint64_t length_bytes, uint64_t *dev);

/* Detach loop @number if @file is what it is attached to, and wait until nothing uses it any more.
 * -EBUSY: it or its partition is still open at @deadline_ns. */
int loopdev_detach(uint64_t number, const char *file, uint64_t deadline_ns);

/* The loop device that @file is attached to: -ENOENT. */
int loopdev_find(const char *file, uint64_t *number);

#endif
