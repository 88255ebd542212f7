/* The disk whose chain a command changes: its bundle, and the server that has it open. */
#ifndef PLOOP_CLI_LIVE_H
#define PLOOP_CLI_LIVE_H

#include "cli/command.h"

struct live_disk {
	struct pl_bundle *bundle;
	struct pl_live *live; /* NULL: the disk is stopped */
};

/* Open the bundle of @word and find its server. On success live_disk_close() releases both. Returns 0 or an exit
 * code. */
int live_disk_open(const char *word, const struct cli_list *outside, struct live_disk *out);
void live_disk_close(struct live_disk *disk);

/* Only the server: NULL when the disk is stopped. -EACCES it is somebody else's · -EPROTO. */
int live_find(const struct pl_bundle *bundle, struct pl_live **out);

/* The exit code of an operation on the snapshot @guid (NULL: the top) that failed with @err at @step: a file that is
 * missing is told from a snapshot that is, for managers take the latter for success. */
int live_exit_code(const struct live_disk *disk, const char *guid, int err, enum cli_step step);

#endif
