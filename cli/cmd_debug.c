#include "cli/debug.h"

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
