#include "cli/debug.h"

#include "base/checked.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int debug_open(const char *path, struct debug_image *out)
{
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	autofd int fd = pl_image_open_fd(&ref, O_RDONLY);
	if (fd < 0)
		return fd;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	*out = (struct debug_image){fd_steal(&fd), (uint64_t)st.st_size};
	return 0;
}

int debug_unfence(const struct debug_image *image, const char *path, struct lay_header *h, struct lay_journal *journal)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_fault fault;
	uint64_t at;
	if (!checked_mul(h->ext_sectors, SECTOR_BYTES, &at) || !range_fits(at, sizeof(block), image->file_bytes) ||
	    pread(image->fd, block, sizeof(block), (off_t)at) != (ssize_t)sizeof(block) ||
	    lay_journal_head_decode(block, image->file_bytes, h, journal, &fault) != LAY_OK)
		return pl_fail(-EUCLEAN, "%s is fenced, but has no journal at sector %llu", path,
			       (unsigned long long)h->ext_sectors);
	return 0;
}

const struct cli_command cmd_debug = {
	.name = "debug",
	.summary = "Look into images: for developers and for the curious",
	.children = {&debug_header, &debug_bat, &debug_map, &debug_holes, &debug_events},
	.examples = {
		{"ploop debug header root.hds", "All fields of the header, damaged or not"},
		{"ploop debug bat --json root.hds", "Which cluster of the disk lies where in the file"},
		{"ploop debug map /vz/test", "The same for the whole chain, merged"},
	},
};
