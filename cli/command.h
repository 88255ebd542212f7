/* What a command is: one file, one table.
 *
 * cmd_NAME.c defines `const struct cli_command cmd_NAME` and is listed in commands.def. The table feeds the parser,
 * --help, the hidden --long-options and --short-options (bash completion) and the OPTIONS section of the manual.
 *
 *	struct touch_args {
 *		bool force;
 *		uint64_t size_sectors;
 *	};
 *	static const struct cli_option options[] = {
 *		CLI_FLAG('f', "force", struct touch_args, force, "even when it exists"),
 *		CLI_SIZE('s', "size", "SIZE", struct touch_args, size_sectors, "size of the disk"),
 *		CLI_END,
 *	};
 *	static int run(void *args, int argc, char **argv) { … }
 *	const struct cli_command cmd_touch = {
 *		.name = "touch", .summary = "Touch a disk", .synopsis = {"[-f] -s SIZE DELTA"}, .options = options,
 *		.args_bytes = sizeof(struct touch_args), .min_words = 1, .max_words = 1, .stock = true, .run = run,
 *		.examples = {{"ploop touch -s 10G a.hds", "Touch it."}},
 *	};
 */
#ifndef PLOOP_CLI_COMMAND_H
#define PLOOP_CLI_COMMAND_H

#include "cli/exit_code.h"
#include "base/units.h"
#include "ploop.h"

enum cli_kind {
	CLI_KIND_FLAG,   /* bool */
	CLI_KIND_TEXT,   /* const char * */
	CLI_KIND_LIST,   /* struct cli_list; the option may be repeated */
	CLI_KIND_SIZE,   /* uint64_t, sectors */
	CLI_KIND_NUMBER, /* uint64_t, a plain integer */
	CLI_KIND_UUID,   /* struct cli_uuid */
	CLI_KIND_FORMAT, /* struct cli_format */
};

#define CLI_LIST_MAX 64
struct cli_list {
	size_t count;
	const char *items[CLI_LIST_MAX + 1]; /* NULL-terminated */
};

struct cli_uuid {
	char text[PL_GUID_TEXT + 1]; /* with braces, lower case; "" when not given */
};

struct cli_format {
	bool given;
	enum pl_image_mode mode;
};

struct cli_option {
	char letter;       /* 0: long form only */
	const char *name;  /* NULL: short form only */
	const char *value; /* what its value is called; NULL for a flag; "[=NAME]": it may lack (long form, text) */
	const char *help;  /* one phrase, lower case, no full stop */
	enum cli_kind kind;
	size_t offset; /* of the field in the command's args */
};

/* The offset of a field that has the type the parser will store there. */
#define CLI_FIELD_(type, field, want)                                                                                  \
	(offsetof(type, field) +                                                                                       \
	 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((type *)0)->field), want) ? 1 : -1]))
#define CLI_VALUE_(letter, name, value, type, field, help, kind, want)                                                 \
	{letter, name, value, help, kind, CLI_FIELD_(type, field, want)}

#define CLI_FLAG(letter, name, type, field, help)                                                                      \
	CLI_VALUE_(letter, name, NULL, type, field, help, CLI_KIND_FLAG, bool)
#define CLI_TEXT(letter, name, value, type, field, help)                                                               \
	CLI_VALUE_(letter, name, value, type, field, help, CLI_KIND_TEXT, const char *)
#define CLI_LIST(letter, name, value, type, field, help)                                                               \
	CLI_VALUE_(letter, name, value, type, field, help, CLI_KIND_LIST, struct cli_list)
#define CLI_SIZE(letter, name, value, type, field, help)                                                               \
	CLI_VALUE_(letter, name, value, type, field, help, CLI_KIND_SIZE, uint64_t)
#define CLI_NUMBER(letter, name, value, type, field, help)                                                             \
	CLI_VALUE_(letter, name, value, type, field, help, CLI_KIND_NUMBER, uint64_t)
#define CLI_UUID(letter, name, type, field, help)                                                                      \
	CLI_VALUE_(letter, name, "UUID", type, field, help, CLI_KIND_UUID, struct cli_uuid)
#define CLI_FORMAT(letter, name, type, field, help)                                                                    \
	CLI_VALUE_(letter, name, "FORMAT", type, field, help, CLI_KIND_FORMAT, struct cli_format)
#define CLI_END {.help = NULL}

/* Options that mean the same in every command that has them. */
#define CLI_JSON(type, field) CLI_FLAG(0, "json", type, field, "print JSON instead of text")
#define CLI_OUTSIDE(type, field)                                                                                       \
	CLI_LIST(0, "outside", "FILE", type, field,                                                                    \
		 "allow the descriptor to name FILE, which lies outside its folder; may be repeated")

#define CLI_PARTIAL(type, field)                                                                                       \
	CLI_TEXT(0, "partial", "on|off", type, field,                                                                  \
		 "may a first write put down only its own part of a cluster? By default on")

struct cli_example {
	const char *line, *text;
};

#define CLI_SYNOPSES 5
#define CLI_EXAMPLES 6
#define CLI_CHILDREN 8

struct cli_command {
	const char *name;
	const char *alias;                   /* a deprecated second name, or NULL */
	const char *summary;                 /* one line: what it does */
	const char *synopsis[CLI_SYNOPSES];  /* what follows the command's name */
	const struct cli_option *options;    /* ends with CLI_END; may be NULL */
	struct cli_example examples[CLI_EXAMPLES];
	const struct cli_command *children[CLI_CHILDREN]; /* a group: its commands; no run, no options */
	size_t args_bytes;                   /* of the struct that the options fill; zeroed before */
	int min_words, max_words;            /* arguments that are not options; max_words < 0: any number */
	bool stock;                          /* exit codes are the stock tool's; else 0 done, 1 failed, 2 misuse */
	int failure_code;                    /* what every failure ends with, misuse too; 0: as above */
	bool parsed_output;                  /* others parse its stdout: no console lines there */

	/* Returns an exit code, or a negative errno that is mapped with CLI_AT_OTHER, or cli_misuse(). The sentence in
	 * pl_error() is printed by main() when the result is not 0. */
	int (*run)(void *args, int argc, char **argv);
};

#define COMMAND(name) extern const struct cli_command cmd_##name;
#include "cli/commands.def"
#undef COMMAND

/* NULL-terminated, in the order of commands.def. */
extern const struct cli_command *const cli_commands[];

/* The words were wrong: the sentence is set, main() prints it with the usage and returns 38 (stock) or 2. */
#define CLI_MISUSE 0x100
int cli_misuse(const char *fmt, ...) PL_PRINTF(1, 2);

/* Parse argv[1…] by the table into @args; what is left are the words, *@words of them at argv[0…] of the returned
 * vector. Returns 0, CLI_MISUSE, or CLI_DONE when a --help or the like has been served. */
#define CLI_DONE 0x101
int cli_parse(const struct cli_command *command, const char *path, int argc, char **argv, void *args, int *words,
	      char ***rest);

/* The option --@name with @value (NULL: none), as if it stood on the command line. 0 or CLI_MISUSE. */
int cli_parse_long(const struct cli_command *command, const char *name, const char *value, void *args);

/* Values as the stock tool reads them. 0 or -EINVAL/-ERANGE with a sentence. */
int cli_parse_size(const char *text, uint64_t *sectors);
int cli_parse_number(const char *text, uint64_t *number);
int cli_parse_uuid(const char *text, struct cli_uuid *uuid);
int cli_parse_format(const char *text, struct cli_format *format);
int cli_parse_on_full(const char *text, enum pl_on_full *what); /* "wait", "fail" */

/* The value of --partial; NULL is the default. 0 or CLI_MISUSE. */
int cli_parse_partial(const char *text, bool *partial);

/* A new id. -EIO: there is no randomness. */
int cli_random_uuid(struct cli_uuid *uuid);

#endif
