/* Nodes under /dev/mapper by which the world knows a running disk: ploopN and ploopNp1. They are nodes with the device
 * number of the real device, not links, so that the mount table shows a source with "ploop" in its name. */
#ifndef PLOOP_DEVNODE_H
#define PLOOP_DEVNODE_H

#include <stdbool.h>
#include <stdint.h>

#define DEVNODE_DIR "/dev/mapper"

/* May a node be made at @path? Not where device-mapper has one, or anything that is no block device; a stale one of
 * ours is replaced. */
bool devnode_is_free(const char *path);

/* Make it appear at @path at once; a node that was there is replaced. */
int devnode_make(const char *path, uint64_t dev);

/* Its device number; 0: there is no such node. */
uint64_t devnode_number(const char *path);

/* Remove it if it still is @dev. */
void devnode_remove(const char *path, uint64_t dev);

#endif
