/* Bundles as others left them: operations finish what stock tools began, convert what is old, and refuse the rest. */
#include "snapshot_rig.h"

TestSuite(snapshot_foreign, .init = setup, .fini = teardown, .timeout = 60);

#define READS_A "aaaa........"
#define READS	"bbaa........"

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("aaaa");
	expect_done(NULL, create, A);
	write_disk("bb");
}

/* Change the descriptor behind the back of all. */
static void edit(void (*change)(struct lay_desc *d))
{
	struct lay_desc d = {0};
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, lay_desc_copy(&b->desc, &d), 0));
	change(&d);
	autofree char *xml = NULL;
	size_t n;
	cr_assert(eq(int, lay_desc_write(&d, &xml, &n), 0));
	put(XML, xml);
	lay_desc_fini(&d);
	pl_bundle_close(b);
}

static void name_top_c(struct lay_desc *d)
{
	struct lay_guid c;
	lay_guid_parse(C, &c);
	lay_desc_rename(d, &lay_guid_top, &c);
}

Test(snapshot_foreign, looking_converts_nothing_and_operations_do)
{
	char before[8192], after[8192];
	start();
	edit(name_top_c);
	get(XML, before, sizeof(before));
	expect_done(NULL, recover, NULL);
	get(XML, after, sizeof(after));
	cr_expect(eq(str, after, before));
	expect_done(NULL, create, B);
	expect_nodes("A=root.hds B=* top=*");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

static void zero(struct lay_desc *d)
{
	d->nodes[0].state = LAY_SHOT_TEMPORARY_ZERO;
}

static void zero_swap(struct lay_desc *d)
{
	d->nodes[0].state = LAY_SHOT_TEMPORARY_ZERO_SWAP;
}

static void interrupted(struct lay_desc *d)
{
	d->nodes[0].state = LAY_SHOT_TEMPORARY;
}

static void finished_by_the_next(void (*change)(struct lay_desc *d))
{
	start();
	edit(change);
	expect_done(NULL, create, B);
	expect_nodes("B=root.hds top=*");
	expect_reads(NULL, READS);
	expect_reads(B, READS);
	expect_tidy(false);
}

Test(snapshot_foreign, merges_that_stock_tools_left_are_finished)
{
	finished_by_the_next(zero);
	teardown(), setup();
	finished_by_the_next(zero_swap);
	teardown(), setup();
	finished_by_the_next(interrupted);
}

Test(snapshot_foreign, temporary_snapshot_that_somebody_reads_stays)
{
	start();
	edit(interrupted);
	struct running reader = run_disk(A);
	expect_done(NULL, create, B);
	expect_nodes("A!=root.hds B=* top=*");
	content got;
	read_clusters(&reader, got);
	cr_expect(eq(str, got, READS_A));
	stop_disk(&reader);
	expect_done(NULL, delete, B);
	expect_nodes("top=root.hds");
	expect_reads(NULL, READS);
	expect_tidy(false);
}

static void make_volume(struct lay_desc *d)
{
	d->volume = strdup("    <Volume/>\n");
}

Test(snapshot_foreign, volume_is_refused)
{
	start();
	edit(make_volume);
	expect_refused(NULL, create, B, -EOPNOTSUPP, "a volume: its snapshots are made by tools for volumes");
}

static int create_by_another_name(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	struct pl_bundle *other = NULL;
	int r = pl_bundle_open("d/other.xml", NULL, &other);
	r = r ? r : create(other, live, guid);
	pl_bundle_close(other);
	return r;
}

Test(snapshot_foreign, descriptor_of_another_name_is_refused)
{
	start();
	cr_assert(eq(int, link(XML, "d/other.xml"), 0));
	expect_refused(NULL, create_by_another_name, B, -EOPNOTSUPP, "must be called DiskDescriptor.xml");
}

Test(snapshot_foreign, missing_image_can_be_deleted_if_nothing_stands_on_it)
{
	start();
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, unlink(b->images[1].path), 0));
	pl_bundle_close(b);
	expect_refused(NULL, create, B, -ENOENT, "No such file or directory");
	expect_refused(NULL, delete, A, -ENOENT, "No such file or directory");
	expect_done(NULL, delete, (char *)lay_guid_top.text);
	expect_nodes("top=root.hds");
	expect_reads(NULL, READS_A);
	expect_tidy(false);
}

static void put_on_top(struct lay_desc *d)
{
	struct lay_guid b;
	lay_guid_parse(B, &b);
	cr_assert(eq(int, lay_desc_snapshot(d, &b, "odd", false), 0));
	d->top = b;
	struct lay_guid c;
	lay_guid_parse(C, &c);
	lay_desc_rename(d, &lay_guid_top, &c);
}

/* Nonsense, but a tree: an image stands on the one that is written. */
Test(snapshot_foreign, image_on_the_top_keeps_the_top_from_going)
{
	start();
	put("d/odd", "");
	edit(put_on_top);
	expect_refused(NULL, delete, (char *)lay_guid_top.text, -EINVAL, "images stand on the top");
	expect_done(NULL, delete, C);
	expect_reads(NULL, READS);
}

Test(snapshot_foreign, sealed_parent_is_not_written)
{
	start();
	cr_assert(eq(int, chmod("d/root.hds", 0444), 0));
	expect_refused(NULL, delete, (char *)lay_guid_top.text, -EROFS, "d/root.hds is sealed: nobody may write it");
	expect_nodes("A=root.hds top=*");
	expect_reads(NULL, READS);
}
