/* The commands of `ploop server`, and the words by which a server is resumed. */
#ifndef PLOOP_CLI_SERVER_H
#define PLOOP_CLI_SERVER_H

#include "cli/command.h"
#include "cli/resolve.h"

#include <limits.h>

extern const struct cli_command server_upgrade, server_restart, server_resume;

#define RESUME_WORDS (8 + 2 * CLI_LIST_MAX)

struct resume_words { /* points into what it was made of, and into itself */
	const char *words[RESUME_WORDS];
	size_t count;
	char program[PATH_MAX];
};

/* What finds @disk again when its server has died: `ploop server resume …`. None for a list of images, whose chain does
 * not change. */
void resume_words_of(const struct disk *disk, const struct disk_options *how, struct resume_words *out);

#endif
