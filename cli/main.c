/* ploop: find the command, parse by its table, run it, print the sentence of its failure once. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/help.h"
#include "cli/mount_helper.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct cli_command *find_command(const char *name)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++) {
		if (strcmp((*c)->name, name) == 0)
			return *c;
		if ((*c)->alias && strcmp((*c)->alias, name) == 0) {
			console_warn("ploop %s is deprecated, use ploop %s", name, (*c)->name);
			return *c;
		}
	}
	return NULL;
}

static const struct cli_command *find_child(const struct cli_command *group, const char *name)
{
	for (size_t i = 0; i < CLI_CHILDREN && group->children[i]; i++)
		if (strcmp(group->children[i]->name, name) == 0)
			return group->children[i];
	return NULL;
}

static int misuse_code(const struct cli_command *command)
{
	if (command->failure_code)
		return command->failure_code;
	return command->stock ? EXIT_PARAM : 2;
}

/* New commands have three codes: done, failed, misuse. */
static int final_code(const struct cli_command *command, int r)
{
	if (r == CLI_DONE)
		return 0;
	if (r == CLI_MISUSE)
		return misuse_code(command);
	if (command->failure_code && r != 0)
		return command->failure_code;
	if (command->stock || r == 0)
		return cli_exit_code(r, CLI_AT_OTHER);
	return 1;
}

static int run_command(const struct cli_command *command, const char *path, int argc, char **argv)
{
	int words = 0;
	char **rest = NULL;
	autofree void *args = calloc(1, command->args_bytes + 1);
	if (!args)
		return EXIT_MALLOC;
	int r = cli_parse(command, path, argc, argv, args, &words, &rest);
	if (r == 0)
		r = command->run(args, words, rest);
	console_progress_end();
	if (fflush(stdout) != 0 && r == 0)
		r = pl_fail(-EIO, "standard output: %s", strerror(errno));
	if (r < 0 && !pl_error()[0])
		pl_fail(r, "%s", strerror(-r));
	if (r != 0 && r != CLI_DONE && pl_error()[0])
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, pl_error());
	if (r == CLI_MISUSE)
		help_print_usage(stderr, command, path);
	return final_code(command, r);
}

static int run_group(const struct cli_command *group, const char *path, int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	const struct cli_command *child = find_child(group, word);
	if (child) {
		char child_path[192];
		snprintf(child_path, sizeof(child_path), "%s %s", path, child->name);
		return run_command(child, child_path, argc - 1, argv + 1);
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		help_print_command(stdout, group, path);
		return 0;
	}
	if (strcmp(word, "--long-options") == 0 || strcmp(word, "--short-options") == 0) {
		for (size_t i = 0; i < CLI_CHILDREN && group->children[i]; i++)
			printf("%s\n", group->children[i]->name);
		return 0;
	}
	fprintf(stderr, "ploop: %s: %s%s\n", group->name, *word ? "unknown command " : "a command is missing", word);
	help_print_usage(stderr, group, path);
	return misuse_code(group);
}

static int run_help(int argc, char **argv)
{
	const struct cli_command *command = argc > 1 ? find_command(argv[1]) : NULL;
	if (argc > 1 && !command) {
		fprintf(stderr, "ploop: there is no command %s\n", argv[1]);
		return EXIT_PARAM;
	}
	if (!command) {
		help_print_overview(stdout);
		return 0;
	}
	char path[128];
	snprintf(path, sizeof(path), "ploop %s", command->name);
	help_print_command(stdout, command, path);
	return 0;
}

/* --man ploop commands, --man COMMAND SECTION: what the manual takes from the tables. */
static int print_for_manual(const char *name, const char *section)
{
	if (strcmp(name, "ploop") == 0) {
		help_print_pod_commands();
		return 0;
	}
	const struct cli_command *command = mount_helper_find(name);
	char path[128];
	snprintf(path, sizeof(path), "%s%s", command ? "" : "ploop ", name);
	if (!command)
		command = find_command(name);
	return command && help_print_pod(command, path, section) ? 0 : EXIT_PARAM;
}

/* Questions that build and completion ask. -1: the word is none of them. */
static int answer_tool(int argc, char **argv)
{
	if (strcmp(argv[0], "--commands") == 0) {
		help_print_command_names();
		return 0;
	}
	if (strcmp(argv[0], "--man") == 0 && argc == 3)
		return print_for_manual(argv[1], argv[2]);
	return -1;
}

/* A command of somebody else: ploop-NAME in PATH. Returns only when there is none. */
static void run_external(char **argv)
{
	char program[256];
	if (argv[0][0] == '-' || strchr(argv[0], '/'))
		return;
	int n = snprintf(program, sizeof(program), "ploop-%s", argv[0]);
	if (n > 0 && (size_t)n < sizeof(program))
		execvp(program, argv);
}

static int overview_for_misuse(const char *problem, const char *word)
{
	if (problem)
		fprintf(stderr, "ploop: %s %s\n", problem, word);
	help_print_overview(stderr);
	return EXIT_PARAM;
}

/* -v, -vv, -v5: more, or that much. False: not such an option. */
static bool take_verbosity(const char *word, int *verbosity)
{
	if (word[0] != '-' || word[1] != 'v')
		return false;
	if (isdigit((unsigned char)word[2])) {
		char *end;
		*verbosity = (int)strtol(word + 2, &end, 10);
		return *end == '\0';
	}
	size_t count = strspn(word + 1, "v");
	*verbosity += (int)count;
	return word[1 + count] == '\0';
}

static int dispatch(int argc, char **argv, int verbosity)
{
	console_init(verbosity, false);
	const struct cli_command *command = find_command(argv[0]);
	if (!command) {
		run_external(argv);
		return overview_for_misuse("there is no command", argv[0]);
	}
	console_init(verbosity, command->parsed_output);
	char path[128];
	snprintf(path, sizeof(path), "ploop %s", command->name);
	if (command->children[0])
		return run_group(command, path, argc, argv);
	return run_command(command, path, argc, argv);
}

int main(int argc, char **argv)
{
	int verbosity = CONSOLE_DEFAULT_VERBOSITY;
	int at = 1;
	const struct cli_command *helper = mount_helper_find(argv[0]);
	if (helper)
		return run_command(helper, helper->name, argc, argv);
	while (at < argc && take_verbosity(argv[at], &verbosity))
		at++;
	if (at == argc)
		return overview_for_misuse(NULL, NULL);
	if (strcmp(argv[at], "--version") == 0) {
		help_print_version();
		return 0;
	}
	if (strcmp(argv[at], "help") == 0)
		return run_help(argc - at, argv + at);
	if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
		help_print_overview(stdout);
		return 0;
	}
	int r = answer_tool(argc - at, argv + at);
	if (r >= 0)
		return r;
	if (argv[at][0] == '-')
		return overview_for_misuse("Bad option", argv[at]);
	return dispatch(argc - at, argv + at, verbosity);
}
