/* By which names the world knows a running disk: /dev/mapper/ploopN, and …p1 for its first partition.
 *
 * A transport makes a block device of the kernel's, with whatever name and number that has (raw_dev). In front of it
 * stands one of these tables: device-mapper, where the kernel has it; plain nodes with the same numbers where not. With
 * device-mapper the disk below can be exchanged while the names are in use. */
#ifndef PLOOP_FRONT_H
#define PLOOP_FRONT_H

#include "ploop-serve.h"

struct front {
	const char *name;
	/* 0, or the errno and sentence of what is missing here. */
	int (*probe)(void);
	/* Does nobody else have that name? */
	bool (*is_free)(const char *name);
	/* Make the name of the disk itself; sets dev. */
	int (*make)(struct pl_device *device);
	/* Make the name of partition 1, or move it there; sets partition_dev. */
	int (*add_partition)(struct pl_device *device, uint64_t offset_bytes, uint64_t length_bytes);
	/* Has it made a name for raw_dev? Sets dev, and partition_dev where there is one. */
	bool (*recognise)(struct pl_device *device);
	/* Take all down, also what is half made. -EBUSY: it was still in use at @deadline_ns. */
	int (*remove)(const struct pl_device *device, uint64_t deadline_ns);
};

extern const struct front front_dm, front_nodes;

/* The best that works here. */
const struct front *front_choose(void);
/* Which one stands before raw_dev, with the numbers it has made; the last recognises all. */
void front_recognise(struct pl_device *device);
/* The one of a running disk. -EINVAL. */
int front_find(const char *name, const struct front **out);

#endif
