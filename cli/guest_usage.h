/* How full the file system inside a disk is. */
#ifndef PLOOP_CLI_GUEST_USAGE_H
#define PLOOP_CLI_GUEST_USAGE_H

#include "ploop-serve.h"

struct guest_usage {
	uint64_t block_bytes, blocks, blocks_free;
	uint64_t inodes, inodes_free;
};

/* From the kernel, when the file system is mounted here. -ENOENT: it is not. */
int guest_usage_from_mount(const struct pl_device *device, struct guest_usage *out);

/* From @base_image's folder. -ENOENT: there is no such file; -EUCLEAN: it is not 40 bytes. */
int guest_usage_from_statfs(const char *base_image, struct guest_usage *out);

/* Write that file for the file system mounted at @mount_point; remove it. */
int guest_usage_to_statfs(const char *mount_point, const char *base_image);
void guest_usage_forget(const char *base_image);

/* From the superblock of partition 1, or of the whole disk: what statfs() would have said at the last unmount. Takes no
 * lock and changes nothing. -EMEDIUMTYPE: neither ext2/3/4 nor xfs. */
int guest_usage_from_disk(const struct pl_chain_spec *chain, struct guest_usage *out);

#endif
