/* The superblock of ext2, ext3 and ext4, as far as giving a copied file system a UUID of its own needs it. Pure over
 * buffers.
 *
 * The UUID is the seed of the checksums of an ext4's metadata. When it changes, the superblock keeps the old seed in a
 * field of its own (feature metadata_csum_seed, Linux 4.4), so that nothing else need be rewritten. Backups of the
 * superblock keep the old UUID: as one they agree with themselves, and e2fsck brings them up to date. */
#ifndef PLOOP_LAYOUT_EXTFS_H
#define PLOOP_LAYOUT_EXTFS_H

#include "base/units.h"

#define LAY_EXTFS_AT_BYTES   1024u /* from the start of the file system */
#define LAY_EXTFS_BYTES	     1024u
#define LAY_EXTFS_UUID_BYTES 16u

enum lay_extfs_status {
	LAY_EXTFS_OK,
	LAY_EXTFS_ABSENT,	/* no such superblock */
	LAY_EXTFS_BAD_CHECKSUM, /* its own checksum is wrong */
	LAY_EXTFS_TIED,		/* more depends on the UUID: group checksums of the old kind, or encrypted files */
};

/* Is it a superblock whose UUID can be changed? */
enum lay_extfs_status lay_extfs_check(const uint8_t sb[LAY_EXTFS_BYTES]);

/* Change the UUID of a superblock that is LAY_EXTFS_OK. */
void lay_extfs_set_uuid(uint8_t sb[LAY_EXTFS_BYTES], const uint8_t uuid[LAY_EXTFS_UUID_BYTES]);

/* The journal has not been replayed: it may hold a copy of the superblock that comes back at the next mount. */
bool lay_extfs_needs_recovery(const uint8_t sb[LAY_EXTFS_BYTES]);

/* CRC-32C without the last inversion, as ext4 chains it: begin with UINT32_MAX. */
uint32_t lay_crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
