/* The parser that reads a command's table. */
#include "cli/command.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/redirect.h>

struct args {
	bool force;
	const char *name;
	uint64_t size_sectors, count;
	struct cli_list items;
	struct cli_uuid uuid;
};

static const struct cli_option options[] = {
	CLI_FLAG('f', "force", struct args, force, "a flag"),
	CLI_TEXT('n', NULL, "NAME", struct args, name, "letter only"),
	CLI_SIZE('s', "size", "SIZE", struct args, size_sectors, "a size"),
	CLI_NUMBER(0, "count", "N", struct args, count, "long only"),
	CLI_LIST('i', "item", "ITEM", struct args, items, "repeated"),
	CLI_UUID('u', "uuid", struct args, uuid, "a uuid"),
	CLI_END,
};

static const struct cli_command command = {
	.name = "touch",
	.summary = "Test",
	.options = options,
	.args_bytes = sizeof(struct args),
	.min_words = 1,
	.max_words = 2,
};

#define MAX_ARGS 256

static int words;
static char **rest; /* into the last command line parsed */

static int parse(struct args *args, char **line)
{
	static char *argv[MAX_ARGS];
	int argc = 0;
	for (; line[argc]; argc++)
		argv[argc] = line[argc];
	argv[argc] = NULL;
	*args = (struct args){0};
	return cli_parse(&command, "ploop touch", argc, argv, args, &words, &rest);
}
#define PARSE(args, ...) parse(args, (char *[]){"touch", __VA_ARGS__, NULL})

Test(cli_options, values_land_in_their_fields)
{
	struct args a;
	cr_assert(eq(int, PARSE(&a, "-f", "-n", "x", "--size=1M", "--count", "7", "disk"), 0));
	cr_expect(a.force);
	cr_expect(eq(str, (char *)a.name, "x"));
	cr_expect(eq(u64, a.size_sectors, 2048));
	cr_expect(eq(u64, a.count, 7));
	cr_expect(eq(int, words, 1));
	cr_expect(eq(str, rest[0], "disk"));
}

Test(cli_options, options_may_follow_words_until_two_dashes)
{
	struct args a;
	cr_assert(eq(int, PARSE(&a, "disk", "-f"), 0));
	cr_expect(a.force);
	cr_assert(eq(int, PARSE(&a, "--", "disk", "-f"), 0));
	cr_expect(not(a.force));
	cr_expect(eq(int, words, 2));
}

Test(cli_options, list_collects_and_ends_with_null)
{
	struct args a;
	cr_assert(eq(int, PARSE(&a, "-i", "a", "--item", "b", "disk"), 0));
	cr_expect(eq(sz, a.items.count, 2));
	cr_expect(eq(str, (char *)a.items.items[1], "b"));
	cr_expect(eq(ptr, (void *)a.items.items[2], NULL));
}

Test(cli_options, list_has_a_limit)
{
	struct args a;
	char *argv[MAX_ARGS] = {"touch"};
	int n = 1;
	for (int i = 0; i <= CLI_LIST_MAX; i++) {
		argv[n++] = "-i";
		argv[n++] = "x";
	}
	argv[n] = "disk";
	cr_expect(eq(int, parse(&a, argv), CLI_MISUSE));
}

Test(cli_options, misuse_names_the_option)
{
	struct args a;
	cr_expect(eq(int, PARSE(&a, "-s", "1X", "disk"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(),
		     "option -s: Invalid argument: \"1X\" is not a size (a number and one of K M G T)"));
	cr_expect(eq(int, PARSE(&a, "-x", "disk"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(), "Bad option -x"));
	cr_expect(eq(int, PARSE(&a, "--nonsense", "disk"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(), "Bad option --nonsense"));
	cr_expect(eq(int, PARSE(&a, "disk", "-s"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(), "option -s needs a value"));
	cr_expect(eq(int, PARSE(&a, "disk", "--count"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(), "option --count needs a value"));
	cr_expect(eq(int, PARSE(&a, "disk", "--force=yes"), CLI_MISUSE));
	cr_expect(eq(str, (char *)pl_error(), "option --force=yes takes no value"));
}

Test(cli_options, number_of_words_is_checked)
{
	struct args a;
	cr_expect(eq(int, PARSE(&a, "-f"), CLI_MISUSE));
	cr_expect(eq(int, PARSE(&a, "a", "b", "c"), CLI_MISUSE));
}

Test(cli_options, help_is_served_on_stdout, .init = cr_redirect_stdout)
{
	struct args a;
	cr_expect(eq(int, PARSE(&a, "--help"), CLI_DONE));
	fflush(stdout);
	cr_assert_stdout_eq_str("\nTest.\n\n"
				"Options:\n"
				"  -f, --force              a flag\n"
				"  -n NAME                  letter only\n"
				"  -s, --size SIZE          a size\n"
				"      --count N            long only\n"
				"  -i, --item ITEM          repeated\n"
				"  -u, --uuid UUID          a uuid\n");
}
