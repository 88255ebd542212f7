/* Every text about a command is made from its table. */
#include "cli/help.h"

#include "cli/filesystem.h"

#include <ctype.h>
#include <string.h>

void help_print_version(void)
{
	printf("ploop %s\n", PLOOP_VERSION);
	printf("image formats: ploop v1 v2, raw\n");
	printf("file systems:");
	filesystem_print_available(stdout);
	printf("\n");
}

void help_print_overview(FILE *out)
{
	fprintf(out, "Usage: ploop [-v…] COMMAND [options] [arguments]\n"
		     "       ploop help [COMMAND]\n"
		     "       ploop --version\n\n"
		     "Commands:\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		fprintf(out, "  %-20s %s\n", (*c)->name, (*c)->summary);
	fprintf(out, "\n-v before the command says more, -vN sets how much (default 3).\n"
		     "An unknown COMMAND is looked up in PATH as ploop-COMMAND.\n");
}

void help_print_usage(FILE *out, const struct cli_command *command, const char *path)
{
	const char *lead = "Usage:";
	for (size_t i = 0; i < CLI_SYNOPSES && command->synopsis[i]; i++, lead = "      ")
		fprintf(out, "%s %s %s\n", lead, path, command->synopsis[i]);
	for (size_t i = 0; i < CLI_CHILDREN && command->children[i]; i++) {
		char child_path[128];
		snprintf(child_path, sizeof(child_path), "%s %s", path, command->children[i]->name);
		for (size_t k = 0; k < CLI_SYNOPSES && command->children[i]->synopsis[k]; k++, lead = "      ")
			fprintf(out, "%s %s %s\n", lead, child_path, command->children[i]->synopsis[k]);
	}
}

/* "-s, --size SIZE" */
static void option_label(const struct cli_option *o, char *out, size_t out_bytes)
{
	char letter[8] = "    ";
	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c%s", o->letter, o->name ? ", " : "");
	const char *value = o->value ? o->value : "";
	snprintf(out, out_bytes, "%s%s%s%s%s", letter, o->name ? "--" : "", o->name ? o->name : "",
		 value[0] && value[0] != '[' ? " " : "", value);
}

static void print_options(FILE *out, const struct cli_option *options)
{
	if (!options || !options->help)
		return;
	fprintf(out, "\nOptions:\n");
	for (const struct cli_option *o = options; o->help; o++) {
		char label[64];
		option_label(o, label, sizeof(label));
		if (strlen(label) > 24)
			fprintf(out, "  %s\n  %-25s%s\n", label, "", o->help);
		else
			fprintf(out, "  %-25s%s\n", label, o->help);
	}
}

static void print_examples(FILE *out, const struct cli_command *command)
{
	if (!command->examples[0].line)
		return;
	fprintf(out, "\nExamples:\n");
	for (size_t i = 0; i < CLI_EXAMPLES && command->examples[i].line; i++)
		fprintf(out, "  # %s\n  %s\n", command->examples[i].text, command->examples[i].line);
}

void help_print_command(FILE *out, const struct cli_command *command, const char *path)
{
	help_print_usage(out, command, path);
	fprintf(out, "\n%s.\n", command->summary);
	for (size_t i = 0; i < CLI_CHILDREN && command->children[i]; i++)
		fprintf(out, "%s  %-12s %s\n", i == 0 ? "\n" : "", command->children[i]->name,
			command->children[i]->summary);
	print_options(out, command->options);
	print_examples(out, command);
}

void help_print_long_options(const struct cli_command *command)
{
	for (const struct cli_option *o = command->options; o && o->help; o++)
		if (o->name)
			printf("--%s\n", o->name);
	printf("--help\n");
}

void help_print_short_options(const struct cli_command *command)
{
	for (const struct cli_option *o = command->options; o && o->help; o++)
		if (o->letter)
			printf("-%c\n", o->letter);
}

void help_print_command_names(void)
{
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		printf("%s\n", (*c)->name);
}

static void print_pod_options(const struct cli_option *options)
{
	printf("=over 4\n\n");
	for (const struct cli_option *o = options; o && o->help; o++) {
		printf("=item ");
		if (o->letter)
			printf("B<-%c>%s", o->letter, o->name ? ", " : "");
		if (o->name)
			printf("B<--%s>", o->name);
		if (o->value)
			printf(" I<%s>", o->value);
		printf("\n\n%c%s.\n\n", toupper((unsigned char)o->help[0]), o->help + 1);
	}
	printf("=item B<--help>\n\nPrint the usage and exit.\n\n=back\n\n");
}

static void print_pod_synopsis(const struct cli_command *command, const char *path)
{
	for (size_t i = 0; i < CLI_SYNOPSES && command->synopsis[i]; i++)
		printf("B<%s> %s\n\n", path, command->synopsis[i]);
}

static void print_pod_examples(const struct cli_command *command)
{
	for (size_t i = 0; i < CLI_EXAMPLES && command->examples[i].line; i++)
		printf("%s:\n\n    %s\n\n", command->examples[i].text, command->examples[i].line);
}

static void print_pod_children(const struct cli_command *command, const char *path)
{
	for (size_t i = 0; i < CLI_CHILDREN && command->children[i]; i++) {
		const struct cli_command *child = command->children[i];
		char child_path[192];
		snprintf(child_path, sizeof(child_path), "%s %s", path, child->name);
		printf("=head2 %s\n\n", child->name);
		print_pod_synopsis(child, child_path);
		printf("%s.\n\n", child->summary);
		print_pod_options(child->options);
	}
}

void help_print_pod_commands(void)
{
	printf("=over 4\n\n");
	for (const struct cli_command *const *c = cli_commands; *c; c++)
		printf("=item B<ploop-%s>(8)\n\n%s.\n\n", (*c)->name, (*c)->summary);
	printf("=back\n\n");
}

bool help_print_pod(const struct cli_command *command, const char *path, const char *section)
{
	if (strcmp(section, "synopsis") == 0)
		print_pod_synopsis(command, path);
	else if (strcmp(section, "options") == 0)
		print_pod_options(command->options);
	else if (strcmp(section, "commands") == 0)
		print_pod_children(command, path);
	else if (strcmp(section, "examples") == 0)
		print_pod_examples(command);
	else
		return false;
	return true;
}
