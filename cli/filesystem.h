/* Make file systems with the system's mkfs programs, in a regular file or on a device, and recognise them. */
#ifndef PLOOP_CLI_FILESYSTEM_H
#define PLOOP_CLI_FILESYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define FILESYSTEM_NONE "none"
#define FILESYSTEM_DEFAULT "ext4"
#define FILESYSTEM_DEFAULT_BLOCK_BYTES 4096u

/* The empty file by which a container's resize withholds space; ext file systems get one. */
#define FILESYSTEM_BALLOON ".balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8"

struct filesystem_options {
	const char *type;     /* ext4, ext3, xfs… */
	uint64_t block_bytes; /* 0: the default */
	const char *label;    /* NULL: none */
	bool nolazy;          /* write the inode tables now */
};

/* Before anything is created: is there a mkfs for the type, and does it take these options? 0; -ENOENT; -EINVAL. */
int filesystem_check(const struct filesystem_options *options);

/* Make the file system in @path, a file or device of @bytes. 0 or negative errno; cut short by a signal: -EINTR. */
int filesystem_make(const char *path, uint64_t bytes, const struct filesystem_options *options);

/* How long the block device @path is. */
int filesystem_device_bytes(const char *path, uint64_t *bytes);

/* " ext4 xfs …": those whose mkfs is installed. */
void filesystem_print_available(FILE *out);

#endif
