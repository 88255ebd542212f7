/* Put a partition table and a file system into a fresh image, without a kernel device and without root: the file
 * system is made in a sparse temporary file beside the image, and what mkfs wrote there is copied in. */
#ifndef PLOOP_CLI_INIT_FILL_H
#define PLOOP_CLI_INIT_FILL_H

#include "cli/filesystem.h"
#include "ploop.h"

struct fill_options {
	uint64_t size_sectors;    /* of the disk */
	uint32_t cluster_sectors;
	bool partition;           /* GPT with one partition; else the file system has the whole disk */
	struct filesystem_options filesystem;
};

/* Is there room for a partition at all? 0, or -EINVAL with a sentence. */
int fill_check(const struct fill_options *options);

/* @chain: the one fresh image, which reads as zeros. Durable on return. 0; -EINTR; -errno. */
int fill_disk(const struct pl_chain_spec *chain, const struct fill_options *options);

#endif
