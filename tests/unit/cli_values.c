/* Sizes, numbers, UUIDs and formats on the command line, as the stock tool reads them. */
#include "cli/command.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>

static uint64_t size_of(const char *text)
{
	uint64_t sectors = UINT64_MAX;
	cr_assert(eq(int, cli_parse_size(text, &sectors), 0), "%s: %s", text, pl_error());
	return sectors;
}

Test(cli_size, bare_number_is_sectors)
{
	cr_expect(eq(u64, size_of("0"), 0));
	cr_expect(eq(u64, size_of("2048"), 2048));
}

Test(cli_size, number_has_the_bases_of_C)
{
	cr_expect(eq(u64, size_of("0x10"), 16));
	cr_expect(eq(u64, size_of("010"), 8));
	cr_expect(eq(u64, size_of("0x10M"), 16 * 2048));
}

Test(cli_size, suffix_of_either_case_multiplies)
{
	cr_expect(eq(u64, size_of("3K"), 6));
	cr_expect(eq(u64, size_of("3m"), 3 * 2048));
	cr_expect(eq(u64, size_of("3G"), 3 * UINT64_C(2097152)));
	cr_expect(eq(u64, size_of("3t"), 3 * UINT64_C(2147483648)));
}

Test(cli_size, what_is_no_size_is_invalid_and_leaves_the_result)
{
	static const char *const bad[] = {"", "K", "1KB", "1 K", " 1", "-1", "+1", "1X", "1.5G", "0x", "ten", "1K1"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		uint64_t sectors = 77;
		cr_expect(eq(int, cli_parse_size(bad[i], &sectors), -EINVAL), "\"%s\"", bad[i]);
		cr_expect(eq(u64, sectors, 77));
	}
}

Test(cli_size, limit_is_exclusive_and_overflow_is_refused)
{
	uint64_t limit = UINT64_C(0xFFFFFFFF) * 512, sectors;
	char text[32];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)limit - 1);
	cr_expect(eq(u64, size_of(text), limit - 1));
	snprintf(text, sizeof(text), "%llu", (unsigned long long)limit);
	cr_expect(eq(int, cli_parse_size(text, &sectors), -ERANGE));
	cr_expect(eq(u64, size_of("1023T"), 1023 * UINT64_C(2147483648)));
	cr_expect(eq(int, cli_parse_size("1024T", &sectors), -ERANGE));
	cr_expect(eq(int, cli_parse_size("99999999999999999999999", &sectors), -ERANGE));
	cr_expect(eq(int, cli_parse_size("8589934593G", &sectors), -ERANGE), "the product passes 2^64");
}

Test(cli_number, takes_no_suffix)
{
	uint64_t n;
	cr_expect(eq(int, cli_parse_number("2048", &n), 0));
	cr_expect(eq(u64, n, 2048));
	cr_expect(eq(int, cli_parse_number("1M", &n), -EINVAL));
}

Test(cli_uuid, braces_are_added_and_case_is_lowered)
{
	struct cli_uuid uuid;
	cr_assert(eq(int, cli_parse_uuid("5FBAABE3-6958-40ff-92a7-860e329aab41", &uuid), 0));
	cr_expect(eq(str, uuid.text, "{5fbaabe3-6958-40ff-92a7-860e329aab41}"));
	cr_assert(eq(int, cli_parse_uuid("{5fbaabe3-6958-40ff-92a7-860e329aab41}", &uuid), 0));
	cr_expect(eq(str, uuid.text, "{5fbaabe3-6958-40ff-92a7-860e329aab41}"));
}

Test(cli_uuid, other_shapes_are_refused)
{
	static const char *const bad[] = {
		"",
		"{}",
		"5fbaabe3-6958-40ff-92a7-860e329aab4",
		"{5fbaabe3-6958-40ff-92a7-860e329aab41",
		"5fbaabe3-6958-40ff-92a7-860e329aab4g",
		"5fbaabe36958-40ff-92a7-860e329aab4111",
		"{5fbaabe3-6958-40ff-92a7-860e329aab411",
	};
	struct cli_uuid uuid;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect(eq(int, cli_parse_uuid(bad[i], &uuid), -EINVAL), "\"%s\"", bad[i]);
}

Test(cli_uuid, random_ones_are_valid_and_differ)
{
	struct cli_uuid a, b, again;
	cr_assert(eq(int, cli_random_uuid(&a), 0));
	cr_assert(eq(int, cli_random_uuid(&b), 0));
	cr_expect(ne(str, a.text, b.text));
	cr_assert(eq(int, cli_parse_uuid(a.text, &again), 0));
	cr_expect(eq(str, a.text, again.text));
	cr_expect(eq(chr, a.text[15], '4'));
}

Test(cli_format, names_of_the_stock_tool)
{
	struct cli_format format;
	cr_assert(eq(int, cli_parse_format("ploop1", &format), 0));
	cr_expect(eq(int, (int)format.mode, PL_MODE_EXPANDED));
	cr_assert(eq(int, cli_parse_format("preallocated", &format), 0));
	cr_expect(eq(int, (int)format.mode, PL_MODE_PREALLOCATED));
	cr_assert(eq(int, cli_parse_format("raw", &format), 0));
	cr_expect(eq(int, (int)format.mode, PL_MODE_RAW));
	cr_expect(eq(int, cli_parse_format("RAW", &format), -EINVAL));
}
