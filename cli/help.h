/* What a command's table says, for readers: people, completion, the manual. */
#ifndef PLOOP_CLI_HELP_H
#define PLOOP_CLI_HELP_H

#include "cli/command.h"

#include <stdio.h>

void help_print_version(void);
void help_print_overview(FILE *out);
/* @path: the words that lead to the command, e.g. "ploop debug bat". */
void help_print_usage(FILE *out, const struct cli_command *command, const char *path);
void help_print_command(FILE *out, const struct cli_command *command, const char *path);
void help_print_long_options(const struct cli_command *command);
void help_print_short_options(const struct cli_command *command);
void help_print_command_names(void);
/* A piece of the command's manual page as POD: synopsis, options, examples, commands (of a group). False: no such
 * piece. */
bool help_print_pod(const struct cli_command *command, const char *path, const char *section);
/* The list of all commands, for the page ploop(8). */
void help_print_pod_commands(void);

#endif
