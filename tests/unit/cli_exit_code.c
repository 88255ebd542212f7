/* Errno and step to the stock tool's exit code. */
#include "cli/exit_code.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>

Test(cli_exit_code, success_and_codes_pass_through)
{
	cr_expect(eq(int, cli_exit_code(0, CLI_AT_MOUNT), 0));
	cr_expect(eq(int, cli_exit_code(43, CLI_AT_OTHER), 43));
}

Test(cli_exit_code, step_decides_when_errno_says_little)
{
	cr_expect(eq(int, cli_exit_code(-ENOENT, CLI_AT_OPEN), 4));
	cr_expect(eq(int, cli_exit_code(-EACCES, CLI_AT_CREATE), 1));
	cr_expect(eq(int, cli_exit_code(-EIO, CLI_AT_READ), 6));
	cr_expect(eq(int, cli_exit_code(-ENOSPC, CLI_AT_WRITE), 7));
	cr_expect(eq(int, cli_exit_code(-ENOENT, CLI_AT_SNAPSHOT), 43));
	cr_expect(eq(int, cli_exit_code(-EIO, CLI_AT_OTHER), 12));
}

Test(cli_exit_code, reading_the_descriptor_always_counts_as_locking)
{
	cr_expect(eq(int, cli_exit_code(-EUCLEAN, CLI_AT_DESCRIPTOR), 23));
	cr_expect(eq(int, cli_exit_code(-ENOENT, CLI_AT_DESCRIPTOR), 23));
	cr_expect(eq(int, cli_exit_code(-ELOOP, CLI_AT_DESCRIPTOR), 23));
}

Test(cli_exit_code, errno_that_says_what_is_wrong_wins)
{
	cr_expect(eq(int, cli_exit_code(-EUCLEAN, CLI_AT_OPEN), 11));
	cr_expect(eq(int, cli_exit_code(-EMEDIUMTYPE, CLI_AT_OPEN), 11));
	cr_expect(eq(int, cli_exit_code(-EBUSY, CLI_AT_OPEN), 37));
	cr_expect(eq(int, cli_exit_code(-EBUSY, CLI_AT_MOUNT), 21));
	cr_expect(eq(int, cli_exit_code(-EBUSY, CLI_AT_UMOUNT), 46));
	cr_expect(eq(int, cli_exit_code(-EEXIST, CLI_AT_CREATE), 38));
	cr_expect(eq(int, cli_exit_code(-EEXIST, CLI_AT_DESCRIPTOR_WRITE), 17));
	cr_expect(eq(int, cli_exit_code(-EINVAL, CLI_AT_OTHER), 38));
	cr_expect(eq(int, cli_exit_code(-ENOMEM, CLI_AT_DESCRIPTOR), 5));
}

Test(cli_exit_code, operations_on_chains_have_the_codes_that_managers_know)
{
	cr_expect(eq(int, cli_exit_code(-ENOENT, CLI_AT_MERGE), 43));
	cr_expect(eq(int, cli_exit_code(-EEXIST, CLI_AT_CHAIN), 38));
	cr_expect(eq(int, cli_exit_code(-E2BIG, CLI_AT_CHAIN), 38));
	cr_expect(eq(int, cli_exit_code(-EMLINK, CLI_AT_MERGE), 38));
	cr_expect(eq(int, cli_exit_code(-EBUSY, CLI_AT_CHAIN), 37));
	cr_expect(eq(int, cli_exit_code(-EBUSY, CLI_AT_MERGE), 17));
	cr_expect(eq(int, cli_exit_code(-ESTALE, CLI_AT_MERGE), 39));
	cr_expect(eq(int, cli_exit_code(-ECANCELED, CLI_AT_MERGE), 12));
	cr_expect(eq(int, cli_exit_code(-EACCES, CLI_AT_CHAIN), 4));
	cr_expect(eq(int, cli_exit_code(-EUCLEAN, CLI_AT_MERGE), 11));
	cr_expect(eq(int, cli_exit_code(-ENOSPC, CLI_AT_MERGE), 7));
}
