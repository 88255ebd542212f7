/* Images with one known defect each: one generator per row of layout/findings.def. A generator proves the sound value
 * before it puts the wrong one, and reads the wrong one back; it aborts when it cannot. */
#ifndef PLOOP_TESTS_DAMAGE_H
#define PLOOP_TESTS_DAMAGE_H

#include "layout/header.h"

#define DAMAGE_CLUSTER_SECTORS 64u /* of every image, except for the defect that is about it */
#define DAMAGE_CLUSTER_BYTES   (DAMAGE_CLUSTER_SECTORS * SECTOR_BYTES)
#define DAMAGE_DISK_SECTORS    6400u

struct damage {
	enum lay_finding_id id;
	const char *name; /* of the row */
	void (*make)(const char *path);
};
extern const struct damage damages[LAY_FINDING_COUNT - 1];

/* A sound image: guest clusters 0 to 3 at file clusters 1 to 4, filled with their number. */
void damage_none(const char *path, enum lay_version version);
/* The same, closed with a dirty bitmap: its one cluster is file cluster 5, the extension is cluster 6. */
void damage_none_with_bitmap(const char *path);

/* Sign the extension of such an image again. */
void damage_sign(const char *path);

/* Replace the 4 bytes at @offset, which must be @was, by @now. */
void damage_poke(const char *path, uint64_t offset, uint32_t was, uint32_t now);

#endif
