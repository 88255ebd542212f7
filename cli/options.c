/* Parse a command line by the command's table. */
#include "cli/command.h"
#include "cli/help.h"

#include "base/invariant.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_OPTIONS 40

/* What getopt returns: a letter, LONG_BASE + index for an option, or one of these. */
enum { SERVE_HELP = 1000, SERVE_LONG_OPTIONS, SERVE_SHORT_OPTIONS, LONG_BASE };

struct tables {
	char letters[2 * MAX_OPTIONS + 4];
	struct option names[MAX_OPTIONS + 4];
	size_t option_count;
	bool has_own_h;
};

int cli_misuse(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return pl_fail(CLI_MISUSE, "%s", text);
}

static void tables_init(struct tables *t, const struct cli_option *options)
{
	*t = (struct tables){.letters = ":"};
	size_t letter_at = 1, name_at = 0;
	for (const struct cli_option *o = options; o && o->help; o++) {
		invariant(t->option_count < MAX_OPTIONS);
		bool may_lack = o->value && o->value[0] == '[';
		int value = may_lack ? optional_argument : o->value ? required_argument : no_argument;
		if (o->letter) {
			t->letters[letter_at++] = o->letter;
			if (o->value)
				t->letters[letter_at++] = ':';
		}
		if (o->name)
			t->names[name_at++] = (struct option){o->name, value, NULL, LONG_BASE + (int)t->option_count};
		t->has_own_h |= o->letter == 'h';
		t->option_count++;
	}
	if (!t->has_own_h)
		t->letters[letter_at++] = 'h';
	t->names[name_at++] = (struct option){"help", no_argument, NULL, SERVE_HELP};
	t->names[name_at++] = (struct option){"long-options", no_argument, NULL, SERVE_LONG_OPTIONS};
	t->names[name_at++] = (struct option){"short-options", no_argument, NULL, SERVE_SHORT_OPTIONS};
}

static const struct cli_option *find_option(const struct cli_command *command, int seen)
{
	if (seen >= LONG_BASE)
		return &command->options[seen - LONG_BASE];
	for (const struct cli_option *o = command->options; o && o->help; o++)
		if (o->letter == seen)
			return o;
	return NULL;
}

static int list_add(struct cli_list *list, const char *item)
{
	if (list->count == CLI_LIST_MAX)
		return pl_fail(-EINVAL, "more than %d values", CLI_LIST_MAX);
	list->items[list->count++] = item;
	return 0;
}

static int store_value(const struct cli_option *option, const char *text, void *args)
{
	void *field = (char *)args + option->offset;
	switch (option->kind) {
	case CLI_KIND_FLAG:
		*(bool *)field = true;
		return 0;
	case CLI_KIND_TEXT:
		*(const char **)field = text ? text : "";
		return 0;
	case CLI_KIND_LIST:
		return list_add(field, text);
	case CLI_KIND_SIZE:
		return cli_parse_size(text, field);
	case CLI_KIND_NUMBER:
		return cli_parse_number(text, field);
	case CLI_KIND_UUID:
		return cli_parse_uuid(text, field);
	case CLI_KIND_FORMAT:
		return cli_parse_format(text, field);
	}
	invariant(!"option kind");
	return 0;
}

static int store_option(const struct cli_option *option, const char *text, void *args)
{
	if (store_value(option, text, args) == 0)
		return 0;
	if (option->letter)
		pl_wrap(-EINVAL, "option -%c", option->letter);
	else
		pl_wrap(-EINVAL, "option --%s", option->name);
	return CLI_MISUSE;
}

int cli_parse_long(const struct cli_command *command, const char *name, const char *value, void *args)
{
	for (const struct cli_option *o = command->options; o && o->help; o++) {
		if (!o->name || strcmp(o->name, name) != 0)
			continue;
		if (!value != !o->value && !(o->value && o->value[0] == '['))
			return cli_misuse("option %s %s", name, value ? "takes no value" : "needs a value");
		return store_option(o, value, args);
	}
	return cli_misuse("ploop %s has no option --%s", command->name, name);
}

static int serve(int what, const struct cli_command *command, const char *path)
{
	switch (what) {
	case SERVE_LONG_OPTIONS:
		help_print_long_options(command);
		break;
	case SERVE_SHORT_OPTIONS:
		help_print_short_options(command);
		break;
	default:
		help_print_command(stdout, command, path);
	}
	return CLI_DONE;
}

static int check_word_count(const struct cli_command *command, int words)
{
	if (words < command->min_words)
		return cli_misuse("%s is missing", command->min_words - words > 1 ? "more than one argument"
										    : "an argument");
	if (command->max_words >= 0 && words > command->max_words)
		return cli_misuse("too many arguments");
	return 0;
}

int cli_parse(const struct cli_command *command, const char *path, int argc, char **argv, void *args, int *words,
	      char ***rest)
{
	struct tables tables;
	tables_init(&tables, command->options);
	optind = 0; /* GNU: start anew */
	opterr = 0;
	int seen;
	while ((seen = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
		if (seen == 'h' && !tables.has_own_h)
			seen = SERVE_HELP;
		if (seen >= SERVE_HELP && seen < LONG_BASE)
			return serve(seen, command, path);
		if (seen == ':')
			return cli_misuse("option %s needs a value", argv[optind - 1]);
		if (seen == '?' && optopt)
			return optopt >= LONG_BASE ? cli_misuse("option %s takes no value", argv[optind - 1])
						   : cli_misuse("Bad option -%c", optopt);
		if (seen == '?')
			return cli_misuse("Bad option %s", argv[optind - 1]);
		int r = store_option(find_option(command, seen), optarg, args);
		if (r != 0)
			return r;
	}
	*words = argc - optind;
	*rest = argv + optind;
	return check_word_count(command, *words);
}
