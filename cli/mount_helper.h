/* mount.ploop and umount.ploop: what mount(8) and umount(8) run for the type ploop. They are this program under other
 * names, with the options of every mount helper. */
#ifndef PLOOP_CLI_MOUNT_HELPER_H
#define PLOOP_CLI_MOUNT_HELPER_H

#include "cli/command.h"

/* The helper that this program is when it is called by the path or name @word; NULL: it is ploop. */
const struct cli_command *mount_helper_find(const char *word);

#endif
