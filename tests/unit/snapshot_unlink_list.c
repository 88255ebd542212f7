/* The unlink list: what it names goes unless the descriptor names it, and never anything else (D9). */
#include "snapshot_rig.h"
#include "snapshot/unlink_list.h"

TestSuite(snapshot_unlink_list, .init = setup, .fini = teardown, .timeout = 20);

#define LIST	"d/" UNLINK_LIST_NAME
#define DELTA	"root.hds.{0d5f0c6e-52c9-4a67-9d5c-2f3d1f0b6a11}"
#define DELTA_2 DELTA ".{7be4a3d2-8c1f-4e8a-b0a9-5a6c7d8e9f01}"

static struct pl_bundle *bundle;
static int lock;

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	bundle = opened("d", NULL);
	lock = bundle_lock(bundle->folder_fd, bundle->folder);
	cr_assert(ge(int, lock, 0));
}

/* Sweep, and what it told. */
static char *swept(void)
{
	struct unlink_report report = {0};
	cr_assert(eq(int, unlink_list_sweep(bundle, lock, &report), 0), "%s", pl_error());
	cr_expect(eq(int, access(LIST, F_OK), -1), "the list is gone");
	return report.text;
}

static bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

static void stop(void)
{
	close(lock);
	pl_bundle_close(bundle);
}

Test(snapshot_unlink_list, what_nothing_names_goes)
{
	const char *names[] = {DELTA, NULL, DELTA_2, "root.hds", "sub/root.hds"};
	start();
	put("d/" DELTA, "");
	put("d/" DELTA_2, "");
	cr_assert(eq(int, unlink_list_set(bundle, lock, names, ARRAY_LEN(names)), 0), "%s", pl_error());
	autofree char *text = swept();
	cr_expect(eq(str, text, DELTA ": removed, nothing needs it; " DELTA_2 ": removed, nothing needs it"));
	cr_expect(not(exists("d/" DELTA)));
	cr_expect(not(exists("d/" DELTA_2)));
	cr_expect(exists("d/root.hds"));
	autofree char *again = swept();
	cr_expect(zero(ptr, again));
	stop();
}

Test(snapshot_unlink_list, D6_what_a_crash_left_half_written_goes)
{
	start();
	put("d/" LAY_DESC_NAME ".tmp", "<?xml");
	put(LIST ".tmp", DELTA);
	autofree char *text = swept();
	cr_expect(zero(ptr, text));
	cr_expect(not(exists("d/" LAY_DESC_NAME ".tmp")));
	cr_expect(not(exists(LIST ".tmp")));
	stop();
}

Test(snapshot_unlink_list, D9_hostile_list_removes_nothing_else)
{
	start();
	put("victim", "");
	put("d/other.hds", "");
	cr_assert(eq(int, mkdir("d/" DELTA_2, 0755), 0));
	cr_assert(eq(int, symlink("../victim", "d/" DELTA), 0));
	put(LIST, "DiskDescriptor.xml\n\33[31mred\nother.hds\n../victim\n/etc/passwd\n.\n..\n\nroot.hds\n" DELTA
		  "\n" DELTA_2 "\nroot.hds.{x}\nsub/root.hds\nDiskDescriptor.xml.unlink\nroot.hds.");
	autofree char *text = swept();
	cr_expect(strstr(text, "other.hds: listed for removal, but not called like an image of this disk: kept") !=
		  NULL);
	cr_expect(strstr(text, "?[31mred: listed") != NULL, "%s", text);
	cr_expect(strstr(text, DELTA ": listed for removal, but not a regular file: kept") != NULL);
	cr_expect(exists("victim"));
	cr_expect(exists(XML));
	cr_expect(exists("d/root.hds"));
	cr_expect(exists("d/other.hds"));
	cr_expect(exists("d/" DELTA));
	cr_expect(exists("d/" DELTA_2));
	stop();
}

static void expect_refused_list(const char *sentence)
{
	cr_expect(lt(int, unlink_list_sweep(bundle, lock, NULL), 0));
	cr_expect(strstr(pl_error(), sentence) != NULL, "%s", pl_error());
	cr_expect(exists("d/root.hds"));
}

Test(snapshot_unlink_list, D9_what_is_no_list_is_refused)
{
	start();
	cr_assert(eq(int, symlink("../victim", LIST), 0));
	put("victim", DELTA);
	expect_refused_list("the path goes through a symbolic link");
	cr_assert(eq(int, unlink(LIST), 0));
	cr_assert(eq(int, mkfifo(LIST, 0644), 0));
	expect_refused_list("it is a pipe, not a regular file");
	cr_assert(eq(int, unlink(LIST), 0));
	put(LIST, "");
	cr_assert(eq(int, truncate(LIST, 65537), 0));
	expect_refused_list("DiskDescriptor.xml.unlink has 65537 bytes, the limit is 65536");
	stop();
}

Test(snapshot_unlink_list, orphan_is_removed_by_the_next_operation_and_reported)
{
	char *what = NULL;
	start();
	stop();
	put("d/" DELTA, "");
	put(LIST, DELTA "\n");
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_bundle_recover(b, NULL, &what), 0), "%s", pl_error());
	cr_expect(eq(str, what, DELTA ": removed, nothing needs it"));
	free(what);
	what = NULL;
	cr_assert(eq(int, pl_bundle_recover(b, NULL, &what), 0), "%s", pl_error());
	cr_expect(zero(ptr, what));
	pl_bundle_close(b);
}
