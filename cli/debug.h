/* ploop debug: eyes for developers. Each looks at one image or chain and changes nothing. */
#ifndef PLOOP_CLI_DEBUG_H
#define PLOOP_CLI_DEBUG_H

#include "cli/command.h"
#include "layout/journal.h"

struct debug_args {
	bool json;
	struct cli_uuid uuid;
	struct cli_list outside;
};

extern const struct cli_command debug_header, debug_bat, debug_map, debug_holes, debug_events;

/* The image's file, read-only, and its length; a header that lets itself be decoded. */
struct debug_image {
	int fd;
	uint64_t file_bytes;
};
int debug_open(const char *path, struct debug_image *out);

/* Of a fenced image: make @h true, and tell its journal. -EUCLEAN: the header points to none. */
int debug_unfence(const struct debug_image *image, const char *path, struct lay_header *h, struct lay_journal *journal);

#endif
