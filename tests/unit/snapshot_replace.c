/* A copy takes the place of an image of a running disk, which reads from it at once; and dying on the way: what the
 * disk reads and what the descriptor names agree again with the next operation. */
#include "snapshot_rig.h"

TestSuite(snapshot_replace, .init = setup, .fini = teardown, .timeout = 60);

#define READS_A "pqrs........"
#define READS	"bbrs........"

static void copy_file(const char *from, const char *to)
{
	char command[512];
	snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	cr_assert(eq(int, system(command), 0));
}

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("pqrs");
	expect_done(NULL, create, A);
	write_disk("bb");
	copy_file("d/root.hds", "d/copy.hds");
}

static int replace(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_bundle_replace(b, live, guid, "d/copy.hds", false);
}

static int replace_keeping_the_name(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_bundle_replace(b, live, guid, "d/copy.hds", true);
}

/* The disk's base is this file; by what name it was opened. */
static const char *expect_base(const struct running *disk, const char *path)
{
	struct pl_member members[4];
	struct stat st;
	cr_assert(eq(sz, pl_disk_members(disk->disk, members, 4), 2));
	cr_assert(eq(int, stat(path, &st), 0));
	cr_expect(eq(u64, members[0].ino, st.st_ino), "it has %s open", members[0].path);
	return basename(members[0].path);
}

static void expect_disk_reads(struct running *disk, const char *want)
{
	content got;
	read_clusters(disk, got);
	cr_expect(eq(str, got, (char *)want));
}

Test(snapshot_replace, running_disk_reads_from_the_copy_at_once)
{
	start();
	struct running disk = run_disk(NULL);
	expect_done(&disk, replace, A);
	expect_base(&disk, "d/copy.hds");
	expect_nodes("A=copy.hds top=*");
	cr_assert(eq(int, truncate("d/root.hds", 0), 0)); /* nobody needs it */
	expect_disk_reads(&disk, READS);
	write_clusters(&disk, "  c");
	expect_done(&disk, create, B);
	stop_disk(&disk);
	cr_assert(eq(int, unlink("d/root.hds"), 0));
	expect_reads(NULL, "bbcs........");
	expect_tidy(false);
}

Test(snapshot_replace, copy_may_have_its_clusters_elsewhere)
{
	start();
	cr_assert(eq(int, rename("d", "was"), 0));
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("   s");
	write_disk("pqr");
	cr_assert(eq(int, rename("d/root.hds", "was/copy.hds"), 0));
	cr_assert(eq(int, nftw("d", remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0));
	cr_assert(eq(int, rename("was", "d"), 0));
	struct running disk = run_disk(NULL);
	expect_done(&disk, replace_keeping_the_name, A);
	cr_expect(eq(str, (char *)expect_base(&disk, "d/root.hds"), "root.hds"));
	expect_disk_reads(&disk, READS);
	stop_disk(&disk);
	expect_nodes("A=root.hds top=*");
	expect_reads(A, READS_A);
	expect_tidy(false);
}

Test(snapshot_replace, what_is_no_copy_is_refused_and_the_disk_goes_on)
{
	start();
	struct running disk = run_disk(NULL);
	expect_refused(&disk, replace, (char *)lay_guid_top.text, -EINVAL, "its top");
	cr_assert(eq(int, rename("d/copy.hds", "copy.hds"), 0));
	cr_assert(eq(int, symlink("../copy.hds", "d/copy.hds"), 0));
	expect_refused(&disk, replace, A, -EXDEV, "must lie in its folder");
	cr_assert(eq(int, unlink("d/copy.hds"), 0));
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = CLUSTERS * CLUSTER_SECTORS,
		.cluster_sectors = CLUSTER_SECTORS,
		.version = 2,
	};
	cr_assert(eq(int, pl_image_create("d/copy.hds", &o), 0), "%s", pl_error());
	expect_refused(&disk, replace, A, -EINVAL, "guest cluster 2 is missing");
	expect_base(&disk, "d/root.hds");
	expect_disk_reads(&disk, READS);
	stop_disk(&disk);
	expect_nodes("A=root.hds top=*");
	cr_assert(eq(int, unlink("d/copy.hds"), 0));
	expect_tidy(false);
}

/* Both files read the same; who is not named any more may go. */
static void die_everywhere(operation *op)
{
	int n = 0;
	for (bool alive = true; alive; n++) {
		start();
		struct running disk = run_disk(NULL);
		struct outcome o = operate(&disk, op, A, n);
		alive = o.r == -EINTR;
		cr_assert(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		expect_disk_reads(&disk, READS);
		expect_done(&disk, recover, NULL);
		struct pl_bundle *b = opened("d", NULL);
		expect_base(&disk, b->images[0].path);
		pl_bundle_close(b);
		expect_disk_reads(&disk, READS);
		stop_disk(&disk);
		expect_reads(NULL, READS);
		cr_assert(eq(int, chdir(scratch), 0));
		cr_assert(eq(int, nftw("d", remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0));
	}
	cr_expect(gt(int, n, 2));
}

Test(snapshot_replace, D6_replacing_survives_a_death_anywhere)
{
	die_everywhere(replace);
}

Test(snapshot_replace, D6_replacing_that_keeps_the_name_survives_a_death_anywhere)
{
	die_everywhere(replace_keeping_the_name);
}

/* Another file of the same name is none of ours. */
Test(snapshot_replace, what_was_exchanged_behind_our_back_is_not_taken)
{
	start();
	struct running disk = run_disk(NULL);
	cr_assert(eq(int, rename("d/copy.hds", "d/root.hds"), 0));
	expect_refused(&disk, recover, NULL, -ESTALE, "they are not the same chain");
	stop_disk(&disk);
}
