/* Deleting and merging snapshots of stopped and running disks, and dying on the way: what was to stay reads the same.
 */
#include "snapshot_rig.h"

TestSuite(snapshot_merge, .init = setup, .fini = teardown, .timeout = 100);

/* base A <- B <- top; a letter of its own for each */
#define READS_A "aaaaaa......"
#define READS_B "aabbaa..bb.."
#define READS	"aabbccc.bb.c"

static void make_chain(uint32_t version, enum pl_image_mode mode)
{
	make_disk(version, mode);
	write_disk("aaaaaa");
	expect_done(NULL, create, A);
	write_disk("  bb    bb");
	expect_done(NULL, create, B);
	write_disk("    ccc    c");
}

static void start(void)
{
	make_chain(2, PL_MODE_EXPANDED);
}

static int merge(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	struct pl_snapshot_merge_options o = {.size = sizeof(o), .guid = guid};
	return pl_snapshot_merge(b, live, &o);
}

static int merge_all(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	struct pl_snapshot_merge_options o = {.size = sizeof(o), .all = true};
	return pl_snapshot_merge(b, live, &o);
}

static int merge_into_new(struct pl_bundle *b, struct pl_live *live, void *path)
{
	struct pl_snapshot_merge_options o = {.size = sizeof(o), .guid = B, .new_delta = path};
	return pl_snapshot_merge(b, live, &o);
}

static int go_back(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_snapshot_switch(b, live, guid, NULL);
}

static int delete_deferred(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	enum pl_snapshot_end end = PL_SNAPSHOT_MERGED;
	int r = pl_snapshot_delete(b, live, guid, NULL, &end);
	return r || end == PL_SNAPSHOT_DEFERRED ? r : pl_fail(-EPROTO, "not deferred");
}

/* ---- stopped */

Test(snapshot_merge, stopped_the_file_of_the_lower_one_survives_under_the_id_of_the_upper_one)
{
	start();
	expect_done(NULL, delete, A);
	expect_nodes("B=root.hds top=*");
	expect_reads(B, READS_B);
	expect_reads(NULL, READS);
	expect_tidy(false);
	expect_done(NULL, merge, NULL);
	expect_nodes("top=root.hds");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

Test(snapshot_merge, raw_base_takes_what_stands_on_it)
{
	make_chain(2, PL_MODE_RAW);
	expect_done(NULL, merge_all, NULL);
	expect_nodes("top=root.hds");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

Test(snapshot_merge, version_1_merges_too)
{
	make_chain(1, PL_MODE_EXPANDED);
	expect_done(NULL, merge_all, NULL);
	expect_nodes("top=root.hds");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

Test(snapshot_merge, top_is_dropped_with_what_was_written_to_it)
{
	start();
	expect_done(NULL, delete, (char *)lay_guid_top.text);
	expect_nodes("A=root.hds top=*");
	expect_reads(NULL, READS_B);
	expect_tidy(false);
}

Test(snapshot_merge, with_several_on_it_a_snapshot_goes_when_the_others_did)
{
	start();
	expect_done(NULL, go_back, A); /* A <- B, A <- top */
	expect_nodes("A=root.hds B=* top=*");
	expect_reads(NULL, READS_A);
	write_disk("d");
	expect_done(NULL, delete_deferred, A);
	expect_nodes("A!=root.hds B=* top=*");
	expect_refused(NULL, go_back, A, -EINVAL, "is temporary");
	expect_done(NULL, delete, B);
	expect_nodes("top=root.hds");
	expect_reads(NULL, "daaaaa......");
	expect_tidy(false);
}

Test(snapshot_merge, new_file_takes_both)
{
	start();
	expect_refused(NULL, merge_into_new, "merged.hds", -EINVAL, "must be a file in the folder of the disk");
	expect_refused(NULL, merge_into_new, "d/root.hds", -EEXIST, "d/root.hds exists");
	expect_done(NULL, merge_into_new, "d/merged.hds");
	expect_nodes("B=merged.hds top=*");
	expect_reads(B, READS_B);
	expect_reads(NULL, READS);
	expect_tidy(false);
}

Test(snapshot_merge, image_files_merge_without_a_descriptor)
{
	start();
	struct pl_bundle *b = opened("d", NULL);
	const char *paths[] = {b->images[2].path, b->images[1].path, b->images[0].path};
	cr_assert(eq(int, pl_images_merge(paths, 3, "d/all", NULL), 0), "%s", pl_error());
	expect_reads(NULL, READS);
	cr_assert(eq(int, pl_images_merge(paths, 3, NULL, NULL), 0), "%s", pl_error());
	pl_bundle_close(b);
	cr_assert(eq(int, unlink(XML), 0));
	cr_assert(eq(int, pl_bundle_create("d", "all", PL_MODE_EXPANDED, CLUSTER_SECTORS, CLUSTERS * CLUSTER_SECTORS),
		     0));
	expect_reads(NULL, READS);
	cr_assert(eq(int, unlink(XML), 0));
	cr_assert(eq(int,
		     pl_bundle_create("d", "root.hds", PL_MODE_EXPANDED, CLUSTER_SECTORS, CLUSTERS * CLUSTER_SECTORS),
		     0));
	expect_reads(NULL, READS);
}

Test(snapshot_merge, shared_images_are_not_written)
{
	start();
	cr_assert(eq(int, link("d/root.hds", "clone"), 0));
	expect_done(NULL, delete, A); /* into the upper one, which is ours alone */
	expect_nodes("B=root.hds top=*");
	expect_reads(B, READS_B);
	expect_reads(NULL, READS);
	expect_tidy(false);
	cr_assert(eq(int, link("d/root.hds", "another"), 0));
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, link(b->images[1].path, "third"), 0));
	pl_bundle_close(b);
	expect_refused(NULL, delete, B, -EMLINK, "is shared with 1 other bundle");
	expect_refused(NULL, delete, (char *)lay_guid_top.text, -EMLINK, "is shared with 1 other bundle");
	expect_nodes("B=root.hds top=*");
}

Test(snapshot_merge, what_cannot_be_is_refused_with_a_sentence)
{
	start();
	expect_refused(NULL, delete, C, -ENOENT, "there is no snapshot " C);
	expect_refused(NULL, delete, "x", -EINVAL, "snapshot \"x\" is not a UUID");
	expect_refused(NULL, merge, A, -EINVAL, "is the base: there is nothing below to merge it into");
	expect_refused(NULL, go_back, C, -ENOENT, "there is no snapshot " C);
	expect_refused(NULL, go_back, (char *)lay_guid_top.text, -EINVAL, "is the top already");
	struct running reader = run_disk(A);
	expect_refused(NULL, delete, A, -EBUSY, "is in use");
	stop_disk(&reader);
	struct running disk = run_disk(NULL);
	expect_refused(&disk, delete, (char *)lay_guid_top.text, -EINVAL, "is the top of a running disk");
	expect_refused(&disk, go_back, A, -EBUSY, "the disk is running");
	expect_refused(NULL, go_back, A, -EBUSY, "is in use");
	stop_disk(&disk);
	expect_nodes("A=root.hds B=* top=*");
	expect_done(NULL, go_back, A);
	expect_refused(NULL, merge, B, -EINVAL, "2 images stand on snapshot " A);
	expect_refused(NULL, delete, (char *)lay_guid_top.text, -EINVAL, "2 images stand on snapshot " A);
	expect_tidy(false);
}

static int cancelled_merge(struct pl_bundle *b, struct pl_live *live, void *cancelled)
{
	struct pl_progress progress = {.cancelled = cancelled};
	return pl_snapshot_delete(b, live, A, &progress, NULL);
}

static bool at_once(void *arg)
{
	return true;
}

Test(snapshot_merge, cancelled_merge_loses_nothing_and_goes_on_later)
{
	start();
	struct outcome o = operate(NULL, cancelled_merge, at_once, -1);
	cr_expect(eq(int, o.r, -ECANCELED), "%s", o.text);
	expect_reads(NULL, READS);
	expect_reads(B, READS_B);
	expect_done(NULL, delete, A);
	expect_nodes("B=root.hds top=*");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

/* ---- running */

Test(snapshot_merge, running_chain_merges_down_to_one)
{
	content got;
	start();
	struct running disk = run_disk(NULL);
	expect_done(&disk, delete, A);
	expect_nodes("B=root.hds top=*");
	write_clusters(&disk, "      d");
	expect_done(&disk, delete, B);
	expect_nodes("top=root.hds");
	write_clusters(&disk, "       e");
	read_clusters(&disk, got);
	cr_expect(eq(str, got, "aabbccdebb.c"));
	stop_disk(&disk);
	expect_reads(NULL, "aabbccdebb.c");
	expect_tidy(false);
}

Test(snapshot_merge, running_raw_base_takes_the_top)
{
	make_chain(2, PL_MODE_RAW);
	struct running disk = run_disk(NULL);
	expect_done(&disk, merge_all, NULL);
	expect_nodes("top=root.hds");
	stop_disk(&disk);
	expect_reads(NULL, READS);
	expect_tidy(false);
}

Test(snapshot_merge, running_disk_takes_a_snapshot_along_that_waited_for_others)
{
	start();
	expect_done(NULL, go_back, A); /* A <- B, A <- top */
	struct running disk = run_disk(NULL);
	write_clusters(&disk, "d");
	expect_done(&disk, delete_deferred, A);
	expect_done(&disk, delete, B);
	expect_nodes("top=root.hds");
	stop_disk(&disk);
	expect_reads(NULL, "daaaaa......");
	expect_tidy(false);
}

/* A reader of the snapshot must not see it change. */
Test(snapshot_merge, running_disk_does_not_merge_what_others_read)
{
	start();
	struct running disk = run_disk(NULL), reader = run_disk(A);
	expect_refused(&disk, delete, A, -EBUSY, "is in use: others read it besides the running disk");
	stop_disk(&reader);
	reader = run_disk(B);
	expect_refused(&disk, delete, B, -EBUSY, "is in use: others read it besides the running disk");
	stop_disk(&reader);
	expect_done(&disk, delete, B);
	stop_disk(&disk);
	expect_reads(NULL, READS);
	expect_reads(A, READS_A);
}

/* ---- dying everywhere */

struct scene {
	operation *op;
	void *arg;
	const char *nodes;	  /* at the end */
	const char *nodes_else;	  /* when it died before the file had its name: all else is done */
	const char *kept, *reads; /* a snapshot that stays */
	bool live;
};

static bool has_name(const struct scene *s)
{
	return !s->nodes_else || access("d/root.hds", F_OK) == 0;
}

static void after_death(const struct scene *s, struct running *disk, const char *where)
{
	content got;
	if (s->live) {
		write_clusters(disk, "           c");
		expect_done(disk, recover, NULL);
		read_clusters(disk, got);
		cr_expect(eq(str, got, READS), "after %s", where);
		stop_disk(disk);
	}
	expect_done(NULL, recover, NULL);
	expect_reads(NULL, READS);
	if (s->kept)
		expect_reads(s->kept, s->reads);
}

static void die_everywhere(const struct scene *s, void (*prepare)(void), int least)
{
	int n = 0;
	for (bool alive = true; alive; n++) {
		prepare();
		struct running disk = {0};
		if (s->live)
			disk = run_disk(NULL);
		struct outcome o = operate(s->live ? &disk : NULL, s->op, s->arg, n);
		alive = o.r == -EINTR;
		cr_assert(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		after_death(s, &disk, o.text);
		o = operate(NULL, s->op, s->arg, -1); /* to its end; -ENOENT and the like: it was there */
		expect_nodes(has_name(s) ? s->nodes : s->nodes_else);
		expect_tidy(false);
		expect_reads(NULL, READS);
		cr_assert(eq(int, chdir(scratch), 0));
		cr_assert(eq(int, nftw("d", remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0));
	}
	cr_expect(gt(int, n, least));
}

Test(snapshot_merge, D6_stopped_merge_survives_a_death_anywhere)
{
	struct scene s = {delete, A, "B=root.hds top=*", NULL, B, READS_B, false};
	die_everywhere(&s, start, 5);
}

Test(snapshot_merge, D6_running_merge_below_the_top_survives_a_death_anywhere)
{
	struct scene s = {delete, A, "B=root.hds top=*", "B=* top=*", B, READS_B, true};
	die_everywhere(&s, start, 5);
}

/* The lower one is long, so that it stays. */
Test(snapshot_merge, D6_running_merge_of_the_top_survives_a_death_anywhere)
{
	struct scene s = {delete, B, "A=root.hds top=*", NULL, A, READS_A, true};
	die_everywhere(&s, start, 5);
}

static int create_temporary(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	struct pl_snapshot_options o = {.size = sizeof(o), .guid = guid, .temporary = true};
	struct pl_snapshot_result result;
	return pl_snapshot_create(b, live, &o, &result);
}

/* B is marked as temporary as well, for another reason, and has less than A. */
#define READS_TEMPORARY "aabbcc..bb.."
static void start_temporary(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("aabb    bb");
	expect_done(NULL, create, A);
	write_disk("    cc");
	expect_done(NULL, create_temporary, B);
	write_disk("      c    c");
}

static int delete_and_finish(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	int r = delete (b, live, guid);
	return live ? r : merge_all(b, NULL, NULL);
}

/* Which of the two has left the disk tells the direction. */
Test(snapshot_merge, D6_running_merge_of_a_temporary_snapshot_survives_a_death_anywhere)
{
	struct scene s = {delete_and_finish, A, "top=root.hds", NULL, B, READS_TEMPORARY, true};
	die_everywhere(&s, start_temporary, 5);
}

static void share_base(void)
{
	unlink("clone");
	cr_assert(eq(int, link("d/root.hds", "clone"), 0));
}

static void start_shared(void)
{
	start();
	share_base();
}

static void start_shared_temporary(void)
{
	start_temporary();
	share_base();
}

Test(snapshot_merge, D6_merge_into_the_upper_one_survives_a_death_anywhere)
{
	struct scene s = {delete, A, "B=root.hds top=*", "B=* top=*", B, READS_B, false};
	die_everywhere(&s, start_shared, 8);
}

Test(snapshot_merge, D6_running_merge_into_the_upper_one_survives_a_death_anywhere)
{
	struct scene s = {delete, A, "B=root.hds top=*", "B=* top=*", B, READS_B, true};
	die_everywhere(&s, start_shared, 8);
}

Test(snapshot_merge, D6_running_merge_of_a_temporary_snapshot_into_it_survives_a_death_anywhere)
{
	struct scene s = {delete_and_finish, A, "top=root.hds", "top=*", B, READS_TEMPORARY, true};
	die_everywhere(&s, start_shared_temporary, 8);
}
