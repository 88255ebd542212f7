/* Going back to a snapshot, and dropping a top; and dying on the way: one state or the other, and nothing lies about.
 */
#include "snapshot_rig.h"

TestSuite(snapshot_switch, .init = setup, .fini = teardown, .timeout = 60);

#define READS_A "aaaa........"
#define READS	"bbaa........"

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("aaaa");
	expect_done(NULL, create, A);
	write_disk("bb");
}

static int go_back(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_snapshot_switch(b, live, guid, NULL);
}

static int go_back_keeping_b(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_snapshot_switch(b, live, guid, B);
}

Test(snapshot_switch, what_was_written_since_is_gone)
{
	start();
	put("d/.statfs", "stale");
	expect_done(NULL, go_back, A);
	expect_nodes("A=root.hds top=*");
	expect_reads(NULL, READS_A);
	cr_expect(eq(int, access("d/.statfs", F_OK), -1));
	expect_tidy(false);
}

Test(snapshot_switch, top_can_stay_as_a_snapshot)
{
	start();
	expect_done(NULL, go_back_keeping_b, A);
	expect_nodes("A=root.hds B=* top=*");
	expect_reads(NULL, READS_A);
	expect_reads(B, READS);
	expect_done(NULL, go_back, B);
	expect_reads(NULL, READS);
	expect_refused(NULL, go_back_keeping_b, A, -EEXIST, "snapshot " B " exists");
	expect_tidy(false);
}

/* The descriptor goes on without the disk, which ends its days on the snapshot that was its top. */
Test(snapshot_switch, running_disk_stays_on_the_top_that_is_kept)
{
	start();
	struct running disk = run_disk(NULL);
	expect_refused(&disk, go_back, A, -EBUSY, "the disk is running");
	expect_done(&disk, go_back_keeping_b, A);
	expect_nodes("A=root.hds B=* top=*");
	write_clusters(&disk, "   c");
	expect_refused(&disk, create, C, -ESTALE, "they are not the same chain");
	stop_disk(&disk);
	expect_reads(NULL, READS_A);
	expect_reads(B, "bbac........");
	expect_tidy(false);
}

/* Either it happened or not. */
static void die_everywhere(operation *op, void *arg, const char *after, const char *nodes)
{
	int n = 0;
	for (bool alive = true; alive; n++) {
		content got;
		start();
		struct outcome o = operate(NULL, op, arg, n);
		alive = o.r == -EINTR;
		cr_assert(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		expect_done(NULL, recover, NULL);
		struct running disk = run_disk(NULL);
		read_clusters(&disk, got);
		stop_disk(&disk);
		bool is_old = !strcmp(got, READS), is_new = !strcmp(got, after);
		cr_expect(is_old + is_new == 1, "after %s: %s", o.text, got);
		expect_tidy(false);
		if (is_old) {
			expect_done(NULL, op, arg);
			expect_tidy(false);
		}
		expect_nodes(nodes);
		expect_reads(NULL, after);
		cr_assert(eq(int, chdir(scratch), 0));
		cr_assert(eq(int, nftw("d", remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0));
	}
	cr_expect(gt(int, n, 3));
}

Test(snapshot_switch, D6_switch_survives_a_death_anywhere)
{
	die_everywhere(go_back, A, READS_A, "A=root.hds top=*");
}

Test(snapshot_switch, D6_switch_that_keeps_the_top_survives_a_death_anywhere)
{
	die_everywhere(go_back_keeping_b, A, READS_A, "A=root.hds B=* top=*");
}

Test(snapshot_switch, D6_dropped_top_survives_a_death_anywhere)
{
	die_everywhere(delete, (char *)lay_guid_top.text, READS_A, "top=root.hds");
}

Test(snapshot_switch, list_tells_the_tree_in_the_written_order)
{
	struct pl_snapshot *list;
	size_t count;
	start();
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_snapshot_list(b, &list, &count), 0));
	cr_assert(eq(sz, count, 2));
	cr_expect(eq(str, (char *)list[0].guid, A));
	cr_expect(eq(str, (char *)list[0].parent_guid, (char *)lay_guid_none.text));
	cr_expect(eq(str, (char *)list[0].path, (char *)b->images[0].path));
	cr_expect(not(list[0].is_top));
	cr_expect(eq(str, (char *)list[1].parent_guid, A));
	cr_expect(list[1].is_top);
	cr_expect(not(list[1].is_temporary));
	free(list);
	pl_bundle_close(b);
}
