/* DiskDescriptor.xml: what is written for what was read, and every refusal with its sentence. The samples are in
 * tests/bundles: stable/ comes back byte for byte, rewritten/NAME.in becomes NAME.out, refused/ is refused. */
#include "bundle_sample.h"

#include <dirent.h>

#define A    "{a1111111-1111-4111-8111-111111111111}"
#define B    "{b2222222-2222-4222-8222-222222222222}"
#define TOP  "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
#define NONE "{00000000-0000-0000-0000-000000000000}"

static struct lay_desc parse_sample(const char *name)
{
	struct lay_desc d;
	struct lay_desc_why why = {""};
	size_t n;
	autofree char *xml = read_sample(name, &n);
	cr_assert(eq(int, lay_desc_parse(xml, n, &d, &why), 0), "%s: %s", name, why.text);
	return d;
}

static bool has_suffix(const char *text, const char *suffix)
{
	size_t n = strlen(text), m = strlen(suffix);
	return n >= m && !strcmp(text + n - m, suffix);
}

/* Call @check with "FOLDER/NAME" of every sample that ends in @suffix; returns how many. */
static int each_sample(const char *folder, const char *suffix, void (*check)(const char *name))
{
	const char *src = getenv("SRC");
	char path[4096], name[512];
	int count = 0;
	snprintf(path, sizeof(path), "%s/tests/bundles/%s", src ? src : ".", folder);
	DIR *dir = opendir(path);
	cr_assert(dir != NULL, "%s: %s", path, strerror(errno));
	for (struct dirent *e; (e = readdir(dir));) {
		if (!has_suffix(e->d_name, suffix))
			continue;
		int bare = (int)(strlen(e->d_name) - strlen(suffix));
		snprintf(name, sizeof(name), "%s/%.*s", folder, bare, e->d_name);
		check(name);
		count++;
	}
	closedir(dir);
	return count;
}

static void expect_written(const char *from, const char *to)
{
	autodesc struct lay_desc d = parse_sample(from);
	struct lay_desc_why why = {""};
	size_t want_n, n;
	autofree char *want = read_sample(to, &want_n), *xml = NULL;
	cr_assert(eq(int, lay_desc_settle_top(&d, &why), 0), "%s: %s", from, why.text);
	cr_assert(eq(int, lay_desc_write(&d, &xml, &n), 0));
	cr_expect(eq(str, xml, want), "%s", from);
	cr_expect(eq(sz, n, want_n), "%s", from);
}

/* ---- what is written */

static void expect_stable(const char *name)
{
	expect_written(name, name);
}

Test(layout_descriptor, what_we_write_is_read_back_and_written_the_same)
{
	cr_assert(ge(int, each_sample("stable", ".xml", expect_stable), 13));
}

static void expect_rewritten(const char *name)
{
	char from[600], to[600];
	snprintf(from, sizeof(from), "%s.in", name);
	snprintf(to, sizeof(to), "%s.out", name);
	expect_written(from, to);
}

Test(layout_descriptor, old_and_foreign_forms_become_ours)
{
	cr_assert(ge(int, each_sample("rewritten", ".in.xml", expect_rewritten), 9));
}

Test(layout_descriptor, top_is_not_renamed_over_another_node)
{
	autodesc struct lay_desc d = parse_sample("stable/branch");
	struct lay_desc_why why = {""};
	cr_assert(lay_guid_parse(B, &d.top));
	cr_assert(eq(int, lay_desc_settle_top(&d, &why), -EUCLEAN));
	cr_assert(strstr(why.text, "TopGUID is " B) != NULL, "%s", why.text);
	cr_assert(eq(str, d.top.text, B));
}

/* ---- what is read, element by element */

Test(layout_descriptor, reads_a_fresh_disk)
{
	autodesc struct lay_desc d = parse_sample("stable/fresh");
	cr_assert(eq(u64, d.size_sectors, 2097152));
	cr_assert(eq(u64, d.max_delta_bytes, 0));
	cr_assert(eq(u32, d.cylinders, 2080));
	cr_assert(eq(u32, d.heads, 16));
	cr_assert(eq(u32, d.cluster_sectors, 2048));
	cr_assert(eq(int, d.mode, LAY_DESC_EXPANDED));
	cr_assert(not(d.parallels_root));
	cr_assert(zero(ptr, d.key_id));
	cr_assert(zero(ptr, d.volume));
	for (int i = 0; i < LAY_DESC_PLACES; i++)
		cr_assert(zero(ptr, d.unknown[i]));
	cr_assert(eq(str, d.top.text, TOP));
	cr_assert(eq(sz, d.count, 1));
	cr_assert(eq(str, d.nodes[0].guid.text, TOP));
	cr_assert(eq(str, d.nodes[0].parent.text, NONE));
	cr_assert(eq(int, d.nodes[0].state, LAY_SHOT_PLAIN));
	cr_assert(eq(str, d.nodes[0].file, "root.hds"));
}

Test(layout_descriptor, reads_a_branch)
{
	static const struct {
		const char *guid, *parent, *file;
	} want[] = {
		{A, NONE, "root.hds"},
		{B, A, "root.hds.{0d5f0c6e-52c9-4a67-9d5c-2f3d1f0b6a11}"},
		{TOP, A, "root.hds.{7be4a3d2-8c1f-4e8a-b0a9-5a6c7d8e9f01}"},
	};
	autodesc struct lay_desc d = parse_sample("stable/branch");
	cr_assert(eq(sz, d.count, ARRAY_LEN(want)));
	for (size_t i = 0; i < d.count; i++) {
		cr_assert(eq(str, d.nodes[i].guid.text, (char *)want[i].guid));
		cr_assert(eq(str, d.nodes[i].parent.text, (char *)want[i].parent));
		cr_assert(eq(str, d.nodes[i].file, (char *)want[i].file));
	}
	struct lay_guid b;
	cr_assert(lay_guid_parse("{B2222222-2222-4222-8222-222222222222}", &b));
	cr_assert(eq(ptr, lay_desc_find(&d, &b), &d.nodes[1]));
	cr_assert(zero(ptr, lay_desc_find(&d, &lay_guid_none)));
}

Test(layout_descriptor, reads_what_is_rare)
{
	autodesc struct lay_desc encrypted = parse_sample("stable/encrypted");
	cr_assert(eq(str, encrypted.key_id, "ct101-root-key"));
	autodesc struct lay_desc limited = parse_sample("stable/max-delta-size");
	cr_assert(eq(u64, limited.max_delta_bytes, 10 * GIB));
	autodesc struct lay_desc preallocated = parse_sample("stable/preallocated");
	cr_assert(eq(int, preallocated.mode, LAY_DESC_PREALLOCATED));
	autodesc struct lay_desc raw = parse_sample("rewritten/raw-by-stock.in");
	cr_assert(eq(int, raw.mode, LAY_DESC_RAW));
	autodesc struct lay_desc escaped = parse_sample("stable/escaped-name");
	cr_assert(eq(str, escaped.nodes[0].file, "a & b <1> \"ü\".hds"));
	autodesc struct lay_desc volume = parse_sample("stable/volume");
	cr_assert(eq(str, volume.volume, "    <Volume/>\n"));
	cr_assert(eq(str, volume.top.text, A));
	autodesc struct lay_desc foreign = parse_sample("stable/unknown-elements");
	cr_assert(foreign.parallels_root);
	cr_assert(zero(ptr, foreign.key_id));
}

Test(layout_descriptor, reads_the_markers_of_operations)
{
	autodesc struct lay_desc temporary = parse_sample("stable/temporary");
	cr_assert(eq(int, temporary.nodes[0].state, LAY_SHOT_PLAIN));
	cr_assert(eq(int, temporary.nodes[1].state, LAY_SHOT_TEMPORARY));
	cr_assert(eq(int, temporary.nodes[2].state, LAY_SHOT_PLAIN));
	autodesc struct lay_desc zero = parse_sample("stable/reverse-merge");
	cr_assert(eq(int, zero.nodes[0].state, LAY_SHOT_TEMPORARY_ZERO));
	autodesc struct lay_desc swapped = parse_sample("stable/reverse-merge-swapped");
	cr_assert(eq(int, swapped.nodes[0].state, LAY_SHOT_TEMPORARY_ZERO_SWAP));
	autodesc struct lay_desc pair = parse_sample("rewritten/untidy.in"); /* <Temporary></Temporary> */
	cr_assert(eq(int, pair.nodes[0].state, LAY_SHOT_TEMPORARY));
	autodesc struct lay_desc merging = parse_sample("stable/merging");
	cr_assert(eq(str, merging.merging.text, merging.nodes[1].guid.text));
}

Test(layout_descriptor, guid_has_one_shape)
{
	struct lay_guid g = lay_guid_none;
	cr_assert(lay_guid_parse("{5FBAABE3-6958-40ff-92a7-860E329AAB41}", &g));
	cr_assert(lay_guid_eq(&g, &lay_guid_top));
	cr_assert(not(lay_guid_parse("", &g)));
	cr_assert(not(lay_guid_parse("{", &g)));
	cr_assert(not(lay_guid_parse("5fbaabe3-6958-40ff-92a7-860e329aab41", &g)));
	cr_assert(not(lay_guid_parse("{5fbaabe3-6958-40ff-92a7-860e329aab41", &g)));
	cr_assert(not(lay_guid_parse(TOP "x", &g)));
	cr_assert(not(lay_guid_parse("{5fbaabe3x6958-40ff-92a7-860e329aab41}", &g)));
	cr_assert(not(lay_guid_parse("{gfbaabe3-6958-40ff-92a7-860e329aab41}", &g)));
	cr_assert(lay_guid_eq(&g, &lay_guid_top), "a refused text leaves the result alone");
}

/* ---- what is refused */

static const struct refusal {
	const char *name;
	int err;
	const char *sentence; /* a part of it */
} refusals[] = {
	{"empty", -EUCLEAN, "it is empty"},
	{"not-xml", -EUCLEAN, "line 1 is not valid XML: Start tag expected"},
	{"truncated", -EUCLEAN, "is not valid XML: "},
	{"two-documents", -EUCLEAN, "is not valid XML: Extra content at the end"},
	{"wrong-root", -EUCLEAN, "root element is Parallels_VM, expected Virtuozzo_disk_image or Parallels_disk_image"},
	{"doctype", -EUCLEAN, "it has a DOCTYPE: entities are not supported"},
	{"entity-file", -EUCLEAN, "it has a DOCTYPE: entities are not supported"},
	{"entity-remote-dtd", -EUCLEAN, "it has a DOCTYPE: entities are not supported"},
	{"billion-laughs", -EUCLEAN, "it has a DOCTYPE: entities are not supported"},
	{"entity-undeclared", -EUCLEAN, "Entity 'f' not defined"},
	{"latin1", -EUCLEAN, "line 18 is not valid XML: Input is not proper UTF-8"},
	{"utf16", -EUCLEAN, "is not valid XML: "},
	{"nul-byte", -EUCLEAN, "line 18 is not valid XML: "},
	{"deep", -EUCLEAN, "element number 17 at level 17: the limits are 40960 and 16"},
	{"no-disk-parameters", -EUCLEAN, "line 2: Virtuozzo_disk_image has no element Disk_Parameters"},
	{"no-storagedata", -EUCLEAN, "line 2: Virtuozzo_disk_image has no element StorageData"},
	{"no-storage", -EUCLEAN, "line 10: StorageData has no element Storage"},
	{"no-snapshots", -EUCLEAN, "line 2: Virtuozzo_disk_image has no element Snapshots"},
	{"no-blocksize", -EUCLEAN, "line 11: Storage has no element Blocksize"},
	{"size-huge", -EUCLEAN,
	 "line 4: Disk_size is \"36893488147419103232\", expected a number up to 18014398509481984"},
	{"size-beyond-off-t", -EUCLEAN,
	 "Disk_size is \"18014398509481985\", expected a number up to 18014398509481984"},
	{"size-negative", -EUCLEAN, "Disk_size is \"-2048\""},
	{"size-text", -EUCLEAN, "Disk_size is \"1GiB\""},
	{"size-escape", -EUCLEAN, "Disk_size is \"\?\?31m1\""},
	{"max-delta-size-text", -EUCLEAN, "line 5: Max_delta_size is \"lots\", expected a number"},
	{"blocksize-not-power", -EUCLEAN, "line 14: Blocksize is 3000, expected a power of two from 64 to 131072"},
	{"blocksize-small", -EUCLEAN, "Blocksize is 32, expected a power of two from 64 to 131072"},
	{"blocksize-large", -EUCLEAN, "Blocksize is \"262144\", expected a number up to 131072"},
	{"blocksize-text", -EUCLEAN, "Blocksize is \"1M\", expected a number up to 131072"},
	{"blocksize-octal", -EUCLEAN, "Blocksize is \"02048\""},
	{"preallocated-two", -EUCLEAN, "Preallocated is \"2\", expected a number up to 1"},
	{"preallocated-plain", -EUCLEAN, "Preallocated is 1 and an Image is Plain"},
	{"second-storage", -EOPNOTSUPP, "line 21: a second Storage: split disks are not supported"},
	{"volume-parent", -EOPNOTSUPP, "Volume has a Parent: child volumes are not supported"},
	{"volume-readonly", -EOPNOTSUPP, "Volume is ReadOnly: snapshot volumes are not supported"},
	{"no-image", -EUCLEAN, "Storage has 0 Images, expected 1 to 4096"},
	{"type-unknown", -EOPNOTSUPP, "Type is \"Sparse\", expected Compressed or Plain"},
	{"image-without-guid", -EUCLEAN, "line 15: Image has no element GUID"},
	{"image-without-file", -EUCLEAN, "line 15: Image has no element File"},
	{"file-empty", -EUCLEAN, "line 18: File is 0 bytes long, expected 1 to 4095"},
	{"file-long", -EUCLEAN, "File is 4096 bytes long, expected 1 to 4095"},
	{"file-newline", -EUCLEAN, "File is \"root?.hds\", which has control characters"},
	{"file-c1-control", -EUCLEAN, "File is \"root\?\?2J.hds\", which has control characters"},
	{"key-id-long", -EUCLEAN, "KeyId is 1024 bytes long, expected 1 to 1023"},
	{"guid-short", -EUCLEAN, "line 16: GUID is \"{5fbaabe3}\", expected {8-4-4-4-12} hexadecimal digits"},
	{"guid-no-braces", -EUCLEAN, "GUID is \"5fbaabe3-6958-40ff-92a7-860e329aab41\", expected"},
	{"guid-long", -EUCLEAN, "GUID is \"" TOP "0\", expected"},
	{"guid-none", -EUCLEAN, "Image GUID is " NONE ", which means none"},
	{"image-twice", -EUCLEAN, "Image GUID " TOP " appears twice"},
	{"shot-twice", -EUCLEAN, "Shot GUID " TOP " appears twice"},
	{"shot-without-image", -EUCLEAN, "Shot GUID " B " has no Image"},
	{"shot-without-parent", -EUCLEAN, "Shot has no element ParentGUID"},
	{"parent-unknown", -EUCLEAN, "ParentGUID " B " of Shot " TOP " has no Image"},
	{"too-few-shots", -EUCLEAN, "Snapshots has 2 Shots, Storage has 3 Images"},
	{"too-many-shots", -EUCLEAN, "Snapshots has 4 Shots, Storage has 1 Images"},
	{"two-roots", -EUCLEAN, "two Shots have no parent, " TOP " and " A ": one root is the limit"},
	{"cycle-of-one", -ELOOP, "Shot " TOP " is its own ancestor"},
	{"cycle-of-two", -ELOOP, "Shot " B " is its own ancestor"},
	{"cycle-of-all", -ELOOP, "Shot " A " is its own ancestor"},
	{"top-unknown", -EUCLEAN, "TopGUID is " B ", which is no Shot"},
	{"top-temporary", -EUCLEAN, "TopGUID is " TOP ", which is a temporary Shot"},
	{"merging-text", -EUCLEAN, "MergingGUID is \"yes\", expected"},
	{"top-not-guid", -EUCLEAN, "TopGUID is \"root\", expected"},
	{"top-missing", -EUCLEAN, "TopGUID is missing and no Shot is " TOP},
};

static void expect_refused(const char *name)
{
	struct lay_desc_why why = {""};
	size_t n;
	autofree char *xml = read_sample(name, &n);
	const struct refusal *want = NULL;
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (!strcmp(refusals[i].name, strchr(name, '/') + 1))
			want = &refusals[i];
	cr_assert(want != NULL, "%s has no row", name);
	int r = parse_text(xml, n, &why);
	cr_expect(eq(int, r, want->err), "%s", name);
	cr_expect(strstr(why.text, want->sentence) != NULL, "%s: \"%s\"", name, why.text);
}

Test(layout_descriptor, hostile_and_damaged_ones_are_refused_with_a_sentence)
{
	cr_assert(eq(int, each_sample("refused", ".xml", expect_refused), (int)ARRAY_LEN(refusals)));
}

Test(layout_descriptor, every_cut_is_refused)
{
	size_t n;
	autofree char *xml = read_sample("stable/branch", &n);
	struct lay_desc_why why;
	for (size_t i = 0; i < n - 2; i++) /* the newline at the end may go */
		cr_expect(eq(int, parse_text(xml, i, &why), -EUCLEAN), "first %zu bytes", i);
}
