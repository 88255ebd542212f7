/* What each step of an operation changes in a descriptor, element by element: the nodes in their written order. */
#include "bundle_sample.h"

#define A	 "{a1111111-1111-4111-8111-111111111111}"
#define B	 "{b2222222-2222-4222-8222-222222222222}"
#define C	 "{c3333333-3333-4333-8333-333333333333}"
#define TOP	 "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
#define NONE	 "{00000000-0000-0000-0000-000000000000}"
#define FILE_B	 "root.hds.{0d5f0c6e-52c9-4a67-9d5c-2f3d1f0b6a11}"
#define FILE_TOP "root.hds.{7be4a3d2-8c1f-4e8a-b0a9-5a6c7d8e9f01}"

static struct lay_desc sample(const char *name)
{
	struct lay_desc d;
	struct lay_desc_why why = {""};
	size_t n;
	autofree char *xml = read_sample(name, &n);
	cr_assert(eq(int, lay_desc_parse(xml, n, &d, &why), 0), "%s: %s", name, why.text);
	return d;
}

static struct lay_guid guid(const char *text)
{
	struct lay_guid g;
	cr_assert(lay_guid_parse(text, &g));
	return g;
}

/* Everything between @element's pairs in @xml, a line each: the written order is what counts. */
static void expect_elements(const char *xml, const char *element, const char *want)
{
	char got[2048] = "", open[32], close[32];
	snprintf(open, sizeof(open), "<%s>", element);
	snprintf(close, sizeof(close), "</%s>", element);
	size_t n = 0;
	for (const char *at = xml; (at = strstr(at, open));) {
		at += strlen(open);
		const char *end = strstr(at, close);
		for (; at < end && n < sizeof(got) - 2; at++)
			if (*at != ' ' && *at != '\n')
				got[n++] = *at;
		got[n++] = '\n';
		got[n] = '\0';
	}
	cr_expect(eq(str, got, (char *)want));
}

#define IMAGE(guid, file)	"<GUID>" guid "</GUID><Type>Compressed</Type><File>" file "</File>\n"
#define SHOT(guid, parent)	"<GUID>" guid "</GUID><ParentGUID>" parent "</ParentGUID>\n"
#define TEMPORARY(guid, parent) "<GUID>" guid "</GUID><ParentGUID>" parent "</ParentGUID><Temporary/>\n"

/* And what is written is accepted when it is read. */
static void expect_written(const struct lay_desc *d, const char *images, const char *shots)
{
	autofree char *xml = NULL;
	struct lay_desc_why why = {""};
	size_t n = 0;
	cr_assert(eq(int, lay_desc_write(d, &xml, &n), 0));
	expect_elements(xml, "Image", images);
	expect_elements(xml, "Shot", shots);
	expect_elements(xml, "TopGUID", TOP "\n");
	cr_expect(eq(int, parse_text(xml, n, &why), 0), "%s", why.text);
}

Test(layout_descriptor_edit, snapshot_renames_the_top_and_appends_a_new_one)
{
	autodesc struct lay_desc d = sample("stable/fresh");
	struct lay_guid a = guid(A), b = guid(B);
	cr_assert(eq(int, lay_desc_snapshot(&d, &a, FILE_B, false), 0));
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(TOP, FILE_B), SHOT(A, NONE) SHOT(TOP, A));
	cr_assert(eq(int, lay_desc_snapshot(&d, &b, FILE_TOP, true), 0));
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(B, FILE_B) IMAGE(TOP, FILE_TOP),
		       SHOT(A, NONE) TEMPORARY(B, A) SHOT(TOP, B));
}

Test(layout_descriptor_edit, snapshot_under_other_nodes_takes_them_along)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid c = guid(C);
	d.nodes[1].parent = lay_guid_top; /* B stands on the top */
	cr_assert(eq(int, lay_desc_snapshot(&d, &c, "new", false), 0));
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(B, FILE_B) IMAGE(C, FILE_TOP) IMAGE(TOP, "new"),
		       SHOT(A, NONE) SHOT(B, C) SHOT(C, A) SHOT(TOP, C));
}

Test(layout_descriptor_edit, removal_keeps_the_order_of_the_rest)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid b = guid(B);
	lay_desc_remove(&d, &b);
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(TOP, FILE_TOP), SHOT(A, NONE) SHOT(TOP, A));
}

Test(layout_descriptor_edit, below_a_dropped_top_lies_the_next_one)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid b = guid(B);
	lay_desc_remove(&d, &b);
	lay_desc_drop_top(&d);
	expect_written(&d, IMAGE(TOP, "root.hds"), SHOT(TOP, NONE));
}

Test(layout_descriptor_edit, merged_node_has_the_childs_id_and_the_file_that_was_chosen)
{
	autodesc struct lay_desc d = sample("stable/branch"), kept = {0};
	struct lay_guid b = guid(B);
	lay_desc_remove(&d, &b);
	cr_assert(eq(int, lay_desc_copy(&d, &kept), 0));
	lay_desc_merge(&d, &lay_guid_top, LAY_KEEP_PARENTS_FILE);
	expect_written(&d, IMAGE(TOP, "root.hds"), SHOT(TOP, NONE));
	lay_desc_merge(&kept, &lay_guid_top, LAY_KEEP_CHILDS_FILE);
	expect_written(&kept, IMAGE(TOP, FILE_TOP), SHOT(TOP, NONE));
}

Test(layout_descriptor_edit, merge_in_the_middle_keeps_the_place_of_the_child)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid a = guid(A), b = guid(B);
	d.nodes[2].parent = b; /* A <- B <- top */
	d.nodes[0].state = LAY_SHOT_TEMPORARY;
	lay_desc_merge(&d, &b, LAY_KEEP_PARENTS_FILE);
	expect_written(&d, IMAGE(B, "root.hds") IMAGE(TOP, FILE_TOP), SHOT(B, NONE) SHOT(TOP, B));
	cr_expect(zero(ptr, lay_desc_find(&d, &a)));
}

Test(layout_descriptor_edit, the_mark_of_a_merge_follows_its_image_and_goes_with_the_merge)
{
	autodesc struct lay_desc d = sample("stable/merging");
	struct lay_guid b = guid(B), c = guid(C);
	lay_desc_rename(&d, &b, &c);
	cr_expect(eq(str, d.merging.text, C));
	lay_desc_merge(&d, &lay_guid_top, LAY_KEEP_CHILDS_FILE);
	cr_expect(eq(str, d.merging.text, ""), "the image itself is gone");
	autodesc struct lay_desc e = sample("stable/merging");
	lay_desc_merge(&e, &b, LAY_KEEP_CHILDS_FILE);
	expect_written(&e, IMAGE(B, FILE_B) IMAGE(TOP, FILE_TOP), TEMPORARY(B, NONE) SHOT(TOP, B));
	cr_expect(eq(str, e.merging.text, ""));
}

Test(layout_descriptor_edit, switch_forgets_the_top_and_appends_a_new_one)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid b = guid(B);
	cr_assert(eq(int, lay_desc_switch(&d, &b, "new", NULL), 0));
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(B, FILE_B) IMAGE(TOP, "new"),
		       SHOT(A, NONE) SHOT(B, A) SHOT(TOP, B));
}

Test(layout_descriptor_edit, switch_can_keep_the_top_as_a_snapshot)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_guid c = guid(C);
	cr_assert(eq(int, lay_desc_switch(&d, &d.nodes[0].guid, "new", &c), 0));
	expect_written(&d, IMAGE(A, "root.hds") IMAGE(B, FILE_B) IMAGE(C, FILE_TOP) IMAGE(TOP, "new"),
		       SHOT(A, NONE) SHOT(B, A) SHOT(C, A) SHOT(TOP, A));
}

Test(layout_descriptor_edit, children_are_counted)
{
	autodesc struct lay_desc d = sample("stable/branch");
	struct lay_desc_node *last = NULL;
	cr_expect(eq(sz, lay_desc_children(&d, &d.nodes[0].guid, &last), 2));
	cr_expect(eq(ptr, last, &d.nodes[2]));
	cr_expect(eq(sz, lay_desc_children(&d, &lay_guid_top, NULL), 0));
}

Test(layout_descriptor_edit, a_node_gets_another_file)
{
	autodesc struct lay_desc d = sample("stable/fresh");
	cr_assert(eq(int, lay_desc_set_file(&d.nodes[0], "a & b"), 0));
	expect_written(&d, IMAGE(TOP, "a&amp;b"), SHOT(TOP, NONE));
}
