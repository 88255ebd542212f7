/* Device-mapper, through its library: the names ploopN and ploopNp1 as linear maps.
 *
 *	ploop1000p1   linear, offset of the partition ---> ploop1000
 *	ploop1000     linear, the whole disk          ---> the transport's block device
 *
 * With udev the library waits until its rules are through; without, it makes the nodes itself. Rules that look into a
 * device are told to leave these alone: what is inside belongs to the owner of the disk.
 *
 * A device is ours by its uuid, "PLOOP-" and the name: what others have under such a name is never touched, but for
 * partitions ploopNp1, p2… that partprobe or kpartx put above ours: they go with it. */
#ifndef PLOOP_DM_H
#define PLOOP_DM_H

#include <stdbool.h>
#include <stdint.h>

struct dmt_map {
	uint64_t below;  /* device number */
	uint64_t offset_bytes, length_bytes;
	bool readonly;
};

/* Does the kernel have it, and may we use it? Loads the module. */
int dmt_probe(void);

/* Has anybody a device of that name? */
bool dmt_exists(const char *name);

/* The number of a device of ours. False: there is none. */
bool dmt_find(const char *name, uint64_t *dev);

/* Make it; *@dev is its number. -EBUSY: the name is taken. */
int dmt_create(const char *name, const struct dmt_map *map, uint64_t *dev);

/* Exchange what it maps while it is in use: requests wait for that moment. */
int dmt_switch(const char *name, const struct dmt_map *map);

/* Remove it and what stands above it by our names. Not an error: it is not there, or not ours. -EBUSY: still open at
 * @deadline_ns. */
int dmt_remove(const char *name, uint64_t deadline_ns);

#endif
