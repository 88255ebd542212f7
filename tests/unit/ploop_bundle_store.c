/* Making and replacing a descriptor (D6): whole or not at all, and only what can be read again. */
#include "bundle_scratch.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>

TestSuite(ploop_bundle_store, .init = setup, .fini = teardown, .timeout = 20);

static int create(const char *image)
{
	return pl_bundle_create("d", image, PL_MODE_EXPANDED, 2048, 2097152);
}

static void expect_only_descriptor_in_folder(void)
{
	cr_expect(eq(int, access(XML ".tmp", F_OK), -1));
	cr_expect(eq(int, access(XML, F_OK), 0));
}

Test(ploop_bundle_store, created_descriptor_is_the_stock_one)
{
	char got[4096];
	struct stat st;
	size_t n;
	autofree char *want = read_sample("stable/fresh", &n);
	enter();
	cr_assert(eq(int, create("root.hds"), 0), "%s", pl_error());
	get(XML, got, sizeof(got));
	cr_expect(eq(str, got, want));
	cr_assert(eq(int, stat(XML, &st), 0));
	cr_expect(eq(int, (int)st.st_mode & 07777, 0644));
	expect_only_descriptor_in_folder();
}

Test(ploop_bundle_store, created_modes_are_read_back)
{
	static const enum pl_image_mode modes[] = {PL_MODE_EXPANDED, PL_MODE_PREALLOCATED, PL_MODE_RAW};
	struct pl_bundle_info info;
	enter();
	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		cr_assert(eq(int, pl_bundle_create("d", "a & b.hds", modes[i], 64, 128), 0), "%s", pl_error());
		struct pl_bundle *b = opened("d", NULL);
		pl_bundle_get_info(b, &info);
		cr_expect(eq(int, info.mode, modes[i]));
		cr_expect(eq(u32, info.cluster_sectors, 64));
		cr_expect(eq(str, (char *)only_image(b).name, "a & b.hds"));
		pl_bundle_close(b);
		cr_assert(eq(int, unlink(XML), 0));
	}
}

Test(ploop_bundle_store, image_of_a_new_disk_is_named_from_its_folder)
{
	char absolute[8192];
	enter();
	snprintf(absolute, sizeof(absolute), "%s/d//root.hds", scratch);
	cr_assert(eq(int, create(absolute), 0), "%s", pl_error());
	struct pl_bundle *b = opened("d", NULL);
	cr_expect(eq(str, (char *)only_image(b).name, "root.hds"));
	cr_expect(eq(str, b->desc.nodes[0].file, "root.hds"));
	pl_bundle_close(b);
}

static void expect_not_created(int r, int err, const char *sentence)
{
	cr_expect(eq(int, r, err), "%s", pl_error());
	cr_expect(strstr(pl_error(), sentence) != NULL, "%s", pl_error());
	cr_expect(eq(int, access(XML, F_OK), -1));
	cr_expect(eq(int, access(XML ".tmp", F_OK), -1));
}

Test(ploop_bundle_store, what_could_not_be_read_is_not_created)
{
	enter();
	expect_not_created(create("../root.hds"), -EINVAL, "the image ../root.hds lies outside the folder of the disk");
	expect_not_created(create("/etc/passwd"), -EINVAL, "the image /etc/passwd lies outside the folder");
	expect_not_created(create("latin1-\xfc.hds"), -EINVAL, "would be refused: line 18 is not valid XML");
	expect_not_created(create("new\nline.hds"), -EINVAL, "File is \"new?line.hds\", which has control characters");
	expect_not_created(pl_bundle_create("d", "r", PL_MODE_EXPANDED, 3000, 2048), -EINVAL, "Blocksize is 3000");
	expect_not_created(pl_bundle_create("d", "r", PL_MODE_EXPANDED, 64, UINT64_MAX), -EINVAL, "Disk_size is");
	expect_not_created(pl_bundle_create("no", "r", PL_MODE_EXPANDED, 64, 64), -ENOENT, "open no: No such file");
	expect_not_created(pl_bundle_create("/dev/null", "r", PL_MODE_EXPANDED, 64, 64), -ENOTDIR, "open /dev/null: ");
}

Test(ploop_bundle_store, existing_descriptor_is_not_replaced)
{
	char got[64];
	enter();
	put(XML, "mine");
	cr_expect(eq(int, create("root.hds"), -EEXIST));
	cr_expect(strstr(pl_error(), "/d: write DiskDescriptor.xml: File exists") != NULL, "%s", pl_error());
	get(XML, got, sizeof(got));
	cr_expect(eq(str, got, "mine"));
	expect_only_descriptor_in_folder();
}

Test(ploop_bundle_store, D6_stale_temporary_file_is_no_obstacle_and_no_trap)
{
	char got[64];
	enter();
	put("victim", "untouched");
	cr_assert(eq(int, symlink("../victim", XML ".tmp"), 0));
	cr_assert(eq(int, create("root.hds"), 0), "%s", pl_error());
	get("victim", got, sizeof(got));
	cr_expect(eq(str, got, "untouched"));
	expect_only_descriptor_in_folder();
}

Test(ploop_bundle_store, D6_two_writers_exclude_each_other)
{
	enter();
	autofd int other = open("d", O_RDONLY | O_DIRECTORY);
	cr_assert(eq(int, flock(other, LOCK_EX), 0));
	expect_not_created(create("root.hds"), -EBUSY, "another operation is running on ");
}

Test(ploop_bundle_store, D6_failed_replacement_leaves_the_old_descriptor)
{
	struct rlimit small = {100, 100};
	char before[4096], after[4096];
	make("stable/fresh");
	get(XML, before, sizeof(before));
	struct pl_bundle *b = opened("d", NULL);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert(eq(int, setrlimit(RLIMIT_FSIZE, &small), 0));
	b->desc.size_sectors = 4096;
	cr_expect(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE), -EFBIG));
	cr_expect(strstr(pl_error(), "/d: write DiskDescriptor.xml: File too large") != NULL, "%s", pl_error());
	get(XML, after, sizeof(after));
	cr_expect(eq(str, after, before));
	expect_only_descriptor_in_folder();
	pl_bundle_close(b);
}

Test(ploop_bundle_store, replacement_is_whole_and_normalised)
{
	char got[8192];
	size_t n;
	autofree char *want = read_sample("rewritten/other-top.out", &n);
	make("rewritten/other-top.in");
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE), 0), "%s", pl_error());
	get(XML, got, sizeof(got));
	cr_expect(eq(str, got, want));
	expect_only_descriptor_in_folder();
	pl_bundle_close(b);
}

Test(ploop_bundle_store, reload_sees_what_somebody_else_stored_and_keeps_what_it_had_when_it_cannot)
{
	struct pl_bundle_info info;
	make("stable/fresh");
	struct pl_bundle *b = opened("d", NULL), *other = opened("d", NULL);
	other->desc.size_sectors = 4096;
	cr_assert(eq(int, bundle_store(other->folder_fd, other->folder, &other->desc, BUNDLE_REPLACE), 0));
	cr_assert(eq(int, bundle_reload(b), 0), "%s", pl_error());
	pl_bundle_get_info(b, &info);
	cr_expect(eq(u64, info.size_sectors, 4096));
	put(XML, "nothing");
	cr_expect(eq(int, bundle_reload(b), -EUCLEAN));
	cr_expect(eq(str, (char *)only_image(b).name, "root.hds"));
	pl_bundle_close(b);
	pl_bundle_close(other);
}

Test(ploop_bundle_store, who_has_the_lock_stores_without_another_one)
{
	make("stable/fresh");
	struct pl_bundle *b = opened("d", NULL);
	autofd int lock = bundle_lock(b->folder_fd, b->folder);
	cr_assert(ge(int, lock, 0), "%s", pl_error());
	cr_expect(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE), -EBUSY));
	cr_expect(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE_LOCKED), 0));
	pl_bundle_close(b);
}
