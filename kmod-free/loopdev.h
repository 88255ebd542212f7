/* Loop devices: a file as a block device, with its partitions.
 *
 * One loop device on the whole disk with LO_FLAGS_PARTSCAN; the kernel then makes the partition a block device of its own
 * above the same loop. (A second loop on a file part1 would be a second page cache over the same bytes below two request
 * queues.) Neither partprobe nor udev is needed: the scan is done when LOOP_CONFIGURE returns, device numbers come from
 * sysfs. With LO_FLAGS_DIRECT_IO nothing is cached twice, and a flush of the block device is an fsync of the file. */
#ifndef PLOOP_LOOPDEV_H
#define PLOOP_LOOPDEV_H

#include "ploop.h"

/* Is there a loop driver, and may we use it? -ENOENT, -EACCES. */
int loopdev_probe(void);

/* Attach @file to a free loop device. @scan: look for partitions. */
int loopdev_attach(const char *file, bool readonly, bool scan, uint64_t *number);

/* Device numbers of the loop device and of its partition 1 (0: there is none). */
int loopdev_numbers(uint64_t number, uint64_t *dev, uint64_t *partition_dev);

/* Detach loop @number if @file is what it is attached to, and wait until nothing uses it any more.
 * -EBUSY: still open at @deadline_ns; it will go when it is closed. */
int loopdev_detach(uint64_t number, const char *file, uint64_t deadline_ns);

/* The loop device that @file is attached to: -ENOENT. */
int loopdev_find(const char *file, uint64_t *number);

#endif
