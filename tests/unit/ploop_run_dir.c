/* The run directory: whose it is, and whom it does not trust. The tests act as an ordinary user. */
#include "ploop.h"

#include "base/cleanup.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define USER 54321

static char scratch[4096], want[8192];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void setup(void)
{
	umask(022);
	strcpy(scratch, "/tmp/ploop-run.XXXXXX"); /* TMPDIR may be closed to other users */
	cr_assert(mkdtemp(scratch) != NULL);
	snprintf(want, sizeof(want), "%s/ploop", scratch);
	cr_assert(eq(int, setenv("XDG_RUNTIME_DIR", scratch, 1), 0));
}

static void teardown(void)
{
	if (seteuid(0) && getuid() == 0)
		return;
	nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(ploop_run_dir, .init = setup, .fini = teardown, .timeout = 20);

/* Root's directory is /run/ploop, which a test has no business with. */
static void become_user(void)
{
	if (geteuid() != 0)
		return;
	cr_assert(eq(int, chown(scratch, USER, (gid_t)-1), 0));
	cr_assert(eq(int, seteuid(USER), 0));
}

static void expect_refused(const char *sentence)
{
	char path[4096] = "as it was";
	cr_expect(eq(int, pl_run_dir(path, sizeof(path)), -EACCES));
	cr_expect(strstr(pl_error(), sentence) != NULL, "%s", pl_error());
	cr_expect(strstr(pl_error(), want) != NULL, "%s", pl_error());
	cr_expect(eq(str, path, "as it was"));
}

Test(ploop_run_dir, is_made_for_us_alone_and_found_again)
{
	char path[4096];
	struct stat st;
	become_user();
	for (int i = 0; i < 2; i++) {
		cr_assert(eq(int, pl_run_dir(path, sizeof(path)), 0), "%s", pl_error());
		cr_expect(eq(str, path, want));
		cr_assert(eq(int, stat(path, &st), 0));
		cr_expect(eq(int, (int)st.st_mode & 07777, 0700));
		cr_expect(eq(int, (int)st.st_uid, (int)geteuid()));
	}
}

Test(ploop_run_dir, directory_others_may_write_is_refused)
{
	become_user();
	cr_assert(eq(int, mkdir(want, 0700), 0));
	cr_assert(eq(int, chmod(want, 0770), 0));
	expect_refused("others may write to it (mode 0770)");
}

Test(ploop_run_dir, directory_of_another_user_is_refused)
{
	if (geteuid() != 0)
		cr_skip("not root: cannot make a directory of another user");
	cr_assert(eq(int, mkdir(want, 0700), 0));
	become_user();
	expect_refused("it belongs to user 0, not to us (54321)");
}

Test(ploop_run_dir, link_and_file_are_refused)
{
	become_user();
	cr_assert(eq(int, symlink("/tmp", want), 0));
	expect_refused("it is not a directory");
	cr_assert(eq(int, unlink(want), 0));
	cr_assert(eq(int, close(creat(want, 0600)), 0));
	expect_refused("it is not a directory");
}

Test(ploop_run_dir, short_buffer_is_refused)
{
	char path[8];
	become_user();
	cr_expect(eq(int, pl_run_dir(path, sizeof(path)), -ENAMETOOLONG));
	cr_expect(strstr(pl_error(), "longer than 8 bytes") != NULL, "%s", pl_error());
}

Test(ploop_run_dir, runtime_directory_that_is_gone_is_told)
{
	char path[4096];
	become_user();
	setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
	cr_expect(eq(int, pl_run_dir(path, sizeof(path)), -ENOENT));
	cr_expect(strstr(pl_error(), "run directory /nonexistent/ploop: mkdir: No such file") != NULL, "%s",
		  pl_error());
}

Test(ploop_run_dir, without_a_runtime_directory_it_is_in_tmp)
{
	char path[4096], tmp[64];
	become_user();
	unsetenv("XDG_RUNTIME_DIR");
	snprintf(tmp, sizeof(tmp), "/tmp/ploop-%u", (unsigned)geteuid());
	bool mine = access(tmp, F_OK) != 0;
	cr_assert(eq(int, pl_run_dir(path, sizeof(path)), 0), "%s", pl_error());
	cr_expect(eq(str, path, tmp));
	if (mine)
		rmdir(tmp);
}
