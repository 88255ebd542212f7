/* All commands, in the order of commands.def. */
#include "cli/command.h"

const struct cli_command *const cli_commands[] = {
#define COMMAND(name) &cmd_##name,
#include "cli/commands.def"
#undef COMMAND
	NULL,
};
