/* Partition 1 of a block device, told to the kernel by where it lies (BLKPG): it becomes a block device above the same
 * queue. The kernel's own look at the table is not used: it may lack the parser for GPT, and those that have it would
 * parse a table that the owner of the disk wrote. Neither partprobe nor udev is needed. */
#ifndef PLOOP_BLKPART_H
#define PLOOP_BLKPART_H

#include <stdint.h>

/* Make partition 1 of the block device @dev, in place of one that is there. Offset and length are multiples of 512. */
int blkpart_add(uint64_t dev, uint64_t offset_bytes, uint64_t length_bytes, uint64_t *partition_dev);

/* Remove all partitions, also those that the kernel found by itself. -EBUSY: one is still open at @deadline_ns. */
int blkpart_remove_all(uint64_t dev, uint64_t deadline_ns);

#endif
