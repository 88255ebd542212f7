/* Bundles: which descriptor is opened, which files its images may be (D9), which chain comes out. */
#include "bundle_scratch.h"

#define A	 "{a1111111-1111-4111-8111-111111111111}"
#define B	 "{b2222222-2222-4222-8222-222222222222}"
#define TOP	 "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
#define TOP_FILE "d/root.hds.{7be4a3d2-8c1f-4e8a-b0a9-5a6c7d8e9f01}"

TestSuite(ploop_bundle, .init = setup, .fini = teardown, .timeout = 20);

static void expect_refused(const char *path, const char *const *outside, int err, const char *sentence)
{
	struct pl_bundle_options options = {.size = sizeof(options), .outside = outside};
	struct pl_bundle *b = NULL;
	pl_error_clear();
	cr_expect(eq(int, pl_bundle_open(path, &options, &b), err), "%s", pl_error());
	cr_expect(zero(ptr, b), "untouched on failure");
	cr_expect(strstr(pl_error(), sentence) != NULL, "\"%s\" is not in \"%s\"", sentence, pl_error());
	cr_expect(strstr(pl_error(), scratch) || *path != '/', "the sentence names the file: %s", pl_error());
}

/* ---- which descriptor */

Test(ploop_bundle, opens_by_folder_and_by_descriptor)
{
	static const char *const ways[] = {"d", "d/", XML, "./d/../d", "link", "link/DiskDescriptor.xml", "xml-link"};
	char want[8192];
	make("stable/fresh");
	put("d/root.hds", "");
	cr_assert(eq(int, symlink("d", "link"), 0));
	cr_assert(eq(int, symlink(XML, "xml-link"), 0));
	snprintf(want, sizeof(want), "%s/" XML, scratch);
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct pl_bundle *b = opened(ways[i], NULL);
		cr_expect(eq(str, (char *)pl_bundle_path(b), want), "%s", ways[i]);
		cr_expect(eq(str, (char *)only_image(b).name, "root.hds"), "%s", ways[i]);
		pl_bundle_close(b);
	}
}

Test(ploop_bundle, folder_without_descriptor_is_named)
{
	enter();
	expect_refused("d", NULL, -ENOENT, "/d: the folder has no DiskDescriptor.xml");
	expect_refused("nowhere", NULL, -ENOENT, "open nowhere: No such file");
	expect_refused("d/DiskDescriptor.xml", NULL, -ENOENT, "open d/DiskDescriptor.xml: No such file");
}

Test(ploop_bundle, folder_does_not_lead_to_another_descriptor)
{
	make("stable/fresh");
	cr_assert(eq(int, mkdir("e", 0755), 0));
	cr_assert(eq(int, symlink("../" XML, "e/DiskDescriptor.xml"), 0));
	expect_refused("e", NULL, -ELOOP, "/e/DiskDescriptor.xml: the path goes through a symbolic link");
	struct pl_bundle *b = opened("e/DiskDescriptor.xml", NULL); /* the operator named the link */
	cr_expect(strstr(pl_bundle_path(b), "/" XML) != NULL);
	pl_bundle_close(b);
}

Test(ploop_bundle, pipe_as_descriptor_does_not_hang)
{
	enter();
	cr_assert(eq(int, mkfifo(XML, 0600), 0));
	expect_refused("d", NULL, -EMEDIUMTYPE, "/" XML ": it is a pipe, not a regular file");
	expect_refused(XML, NULL, -EMEDIUMTYPE, "/" XML ": it is a pipe, not a regular file");
}

Test(ploop_bundle, endless_descriptor_is_cut)
{
	enter();
	put(XML, "<");
	cr_assert(eq(int, truncate(XML, INT64_C(1) << 40), 0));
	expect_refused("d", NULL, -EUCLEAN, "/" XML ": it is 4194305 bytes long, the limit is 4194304");
}

Test(ploop_bundle, refusal_of_the_parser_names_file_and_line)
{
	make("refused/blocksize-not-power");
	expect_refused("d", NULL, -EUCLEAN, "/" XML ": line 14: Blocksize is 3000, expected a power of two");
}

/* ---- which files */

static void expect_inside(const char *file)
{
	char want[8192];
	make_with_file(file);
	cr_assert(eq(int, mkdir("d/sub", 0755), 0));
	put("d/sub/x.hds", "");
	struct pl_bundle *b = opened("d", NULL);
	struct pl_image_ref ref = only_image(b);
	cr_expect(eq(str, (char *)ref.name, "sub/x.hds"));
	cr_expect(ge(int, ref.dir_fd, 0));
	snprintf(want, sizeof(want), "%s/d/sub/x.hds", scratch);
	cr_expect(eq(str, (char *)ref.path, want));
	pl_bundle_close(b);
}

Test(ploop_bundle, inside_is_inside_by_relative_path)
{
	expect_inside("sub/x.hds");
}

Test(ploop_bundle, inside_is_inside_by_untidy_path)
{
	expect_inside(".//sub/.///x.hds/");
}

Test(ploop_bundle, inside_is_inside_by_absolute_path)
{
	expect_inside("@/d//sub/x.hds");
}

Test(ploop_bundle, absolute_path_elsewhere_is_refused)
{
	make_with_file("@/other.hds");
	put("other.hds", "");
	expect_refused("d", NULL, -EXDEV,
		       "lies outside the folder of the disk: name that file with --outside to allow it");
	cr_expect(strstr(pl_error(), "/other.hds\" of image " TOP) != NULL, "%s", pl_error());
}

Test(ploop_bundle, folder_with_a_longer_name_is_not_inside)
{
	make_with_file("@/d2/x.hds");
	cr_assert(eq(int, mkdir("d2", 0755), 0));
	put("d2/x.hds", "");
	expect_refused("d", NULL, -EXDEV, "lies outside the folder of the disk");
}

Test(ploop_bundle, dot_dot_is_refused_even_when_it_comes_back)
{
	make_with_file("../d/root.hds");
	put("d/root.hds", "");
	expect_refused("d", NULL, -EXDEV,
		       "File \"../d/root.hds\" of image " TOP " lies outside the folder of the disk");
}

Test(ploop_bundle, dot_dot_in_an_absolute_path_is_refused)
{
	make_with_file("@/d/../other.hds");
	put("other.hds", "");
	expect_refused("d", NULL, -EXDEV, "lies outside the folder of the disk");
}

Test(ploop_bundle, symlink_is_refused)
{
	make_with_file("root.hds");
	put("d/real.hds", "");
	cr_assert(eq(int, symlink("real.hds", "d/root.hds"), 0));
	expect_refused("d", NULL, -EXDEV,
		       "File \"root.hds\" of image " TOP " goes through a symbolic link: name that file");
}

Test(ploop_bundle, symlink_on_the_way_is_refused)
{
	make_with_file("sub/root.hds");
	cr_assert(eq(int, mkdir("real", 0755), 0));
	put("real/root.hds", "");
	cr_assert(eq(int, symlink("../real", "d/sub"), 0));
	expect_refused("d", NULL, -EXDEV, "File \"sub/root.hds\" of image " TOP " goes through a symbolic link");
}

static void expect_allowed_outside(const char *file, const char *allowed, const char *leads_to)
{
	const char *outside[] = {"nowhere", allowed, NULL}, *wrong[] = {"nowhere", XML, NULL};
	char want[8192];
	snprintf(want, sizeof(want), "%s/%s", scratch, leads_to);
	expect_refused("d", wrong, -EXDEV, "with --outside to allow it");
	struct pl_bundle *b = opened("d", outside);
	struct pl_image_ref ref = only_image(b);
	cr_expect(eq(int, ref.dir_fd, -1), "%s", file);
	cr_expect(eq(str, (char *)ref.path, want), "%s", file);
	autofd int fd = pl_image_open_fd(&ref, O_RDONLY);
	cr_expect(ge(int, fd, 0), "%s", pl_error());
	pl_bundle_close(b);
}

Test(ploop_bundle, operator_allows_an_absolute_path)
{
	make_with_file("@/other.hds");
	put("other.hds", "");
	expect_allowed_outside("absolute", "d/../other.hds", "other.hds");
}

Test(ploop_bundle, operator_allows_a_dot_dot)
{
	make_with_file("../other.hds");
	put("other.hds", "");
	expect_allowed_outside("..", "other.hds", "other.hds");
}

Test(ploop_bundle, operator_allows_what_a_symlink_leads_to)
{
	make_with_file("root.hds");
	put("other.hds", "");
	cr_assert(eq(int, symlink("../other.hds", "d/root.hds"), 0));
	expect_allowed_outside("symlink", "other.hds", "other.hds");
}

Test(ploop_bundle, descriptor_is_no_image)
{
	make_with_file("DiskDescriptor.xml");
	expect_refused("d", NULL, -EUCLEAN, "File \"DiskDescriptor.xml\" of image " TOP " is the descriptor itself");
}

Test(ploop_bundle, folder_is_no_image)
{
	make_with_file("@/d");
	expect_refused("d", NULL, -EISDIR, "/d/.: it is a directory, not a regular file");
}

Test(ploop_bundle, pipe_is_no_image)
{
	make_with_file("root.hds");
	cr_assert(eq(int, mkfifo("d/root.hds", 0600), 0));
	expect_refused("d", NULL, -EMEDIUMTYPE, "/d/root.hds: it is a pipe, not a regular file");
}

Test(ploop_bundle, two_images_are_two_files)
{
	make("stable/branch");
	put("d/root.hds", "");
	cr_assert(eq(int, link("d/root.hds", TOP_FILE), 0));
	expect_refused("d", NULL, -EUCLEAN, "images ");
	cr_expect(strstr(pl_error(), " are the same file, \"root.hds") != NULL, "%s", pl_error());
	cr_expect(strstr(pl_error(), A) && strstr(pl_error(), TOP), "%s", pl_error());
}

Test(ploop_bundle, missing_image_is_found_missing_when_it_is_opened)
{
	make("stable/fresh");
	struct pl_bundle *b = opened("d", NULL);
	struct pl_image_ref ref = only_image(b);
	cr_expect(eq(int, pl_image_open_fd(&ref, O_RDONLY), -ENOENT));
	cr_expect(strstr(pl_error(), "/d/root.hds: No such file") != NULL, "%s", pl_error());
	pl_bundle_close(b);
}

/* ---- which chain */

Test(ploop_bundle, tells_what_the_descriptor_says)
{
	struct pl_bundle_info info;
	make("stable/encrypted");
	struct pl_bundle *b = opened("d", NULL);
	pl_bundle_get_info(b, &info);
	cr_expect(eq(u64, info.size_sectors, 20971520));
	cr_expect(eq(u32, info.cluster_sectors, 2048));
	cr_expect(eq(int, info.mode, PL_MODE_EXPANDED));
	cr_expect(eq(sz, info.image_count, 1));
	cr_expect(eq(str, info.top_guid, TOP));
	cr_expect(eq(str, (char *)info.key_id, "ct101-root-key"));
	pl_bundle_close(b);
}

Test(ploop_bundle, chain_is_base_first)
{
	struct pl_chain_spec top, b_chain;
	make("stable/branch");
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_bundle_chain(b, NULL, &top), 0));
	cr_assert(eq(int, pl_bundle_chain(b, "B2222222-2222-4222-8222-222222222222", &b_chain), 0));
	cr_expect(eq(sz, top.size, sizeof(top)));
	cr_expect(eq(sz, top.count, 2));
	cr_expect(eq(str, (char *)top.images[0].guid, A));
	cr_expect(eq(str, (char *)top.images[0].name, "root.hds"));
	cr_expect(eq(int, top.images[0].format, PL_FORMAT_PLOOP));
	cr_expect(eq(str, (char *)top.images[1].guid, TOP));
	cr_expect(eq(sz, b_chain.count, 2));
	cr_expect(eq(str, (char *)b_chain.images[1].guid, B));
	cr_expect(eq(u32, top.cluster_sectors, 2048));
	cr_expect(eq(u64, top.size_sectors, 2097152));
	cr_expect(not(top.preallocated));
	cr_assert(eq(int, pl_bundle_chain(b, A, &b_chain), 0));
	cr_expect(eq(sz, b_chain.count, 1));
	pl_bundle_close(b);
}

Test(ploop_bundle, only_the_base_of_a_raw_disk_is_raw)
{
	struct pl_chain_spec chain;
	make("rewritten/raw-by-stock.in");
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_bundle_chain(b, NULL, &chain), 0));
	cr_expect(eq(int, chain.images[0].format, PL_FORMAT_RAW));
	cr_expect(eq(int, chain.images[1].format, PL_FORMAT_PLOOP));
	pl_bundle_close(b);
}

Test(ploop_bundle, preallocated_is_told_to_the_chain)
{
	struct pl_chain_spec chain;
	make("stable/preallocated");
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_bundle_chain(b, NULL, &chain), 0));
	cr_expect(chain.preallocated);
	pl_bundle_close(b);
}

Test(ploop_bundle, unknown_snapshot_is_refused)
{
	struct pl_chain_spec chain;
	make("stable/branch");
	struct pl_bundle *b = opened("d", NULL);
	cr_expect(eq(int, pl_bundle_chain(b, "c3333333-3333-4333-8333-333333333333", &chain), -ENOENT));
	cr_expect(strstr(pl_error(), "there is no snapshot {c3333333-3333-4333-8333-333333333333}") != NULL);
	cr_expect(eq(int, pl_bundle_chain(b, "latest", &chain), -EINVAL));
	cr_expect(strstr(pl_error(), "snapshot \"latest\" is not a UUID") != NULL);
	pl_bundle_close(b);
}

Test(ploop_bundle, snapshot_in_a_reverse_merge_has_no_content_of_its_own)
{
	struct pl_chain_spec chain;
	make("stable/reverse-merge");
	struct pl_bundle *b = opened("d", NULL);
	cr_expect(eq(int, pl_bundle_chain(b, A, &chain), -EBUSY));
	cr_expect(strstr(pl_error(), "is being merged: only the top has its content") != NULL, "%s", pl_error());
	cr_expect(eq(int, pl_bundle_chain(b, NULL, &chain), 0));
	pl_bundle_close(b);
}

static void put_long_chain(unsigned count)
{
	FILE *f = fopen(XML, "w");
	cr_assert(f != NULL);
	fputs("<Virtuozzo_disk_image><Disk_Parameters/><StorageData><Storage><Blocksize>64</Blocksize>", f);
	for (unsigned i = 1; i <= count; i++)
		fprintf(f, "<Image><GUID>{%08x-0000-0000-0000-000000000000}</GUID><File>%u</File></Image>", i, i);
	fprintf(f, "</Storage></StorageData><Snapshots><TopGUID>{%08x-0000-0000-0000-000000000000}</TopGUID>", count);
	for (unsigned i = 1; i <= count; i++)
		fprintf(f,
			"<Shot><GUID>{%08x-0000-0000-0000-000000000000}</GUID>"
			"<ParentGUID>{%08x-0000-0000-0000-000000000000}</ParentGUID></Shot>",
			i, i - 1);
	fputs("</Snapshots></Virtuozzo_disk_image>", f);
	fclose(f);
}

Test(ploop_bundle, chain_has_a_limit)
{
	struct pl_chain_spec chain;
	enter();
	put_long_chain(PL_MAX_CHAIN + 1);
	struct pl_bundle *b = opened("d", NULL);
	cr_expect(eq(int, pl_bundle_chain(b, NULL, &chain), -EOPNOTSUPP));
	cr_expect(strstr(pl_error(), "has 254 images, the limit is 253") != NULL, "%s", pl_error());
	cr_assert(eq(int, pl_bundle_chain(b, "000000fd-0000-0000-0000-000000000000", &chain), 0), "%s", pl_error());
	cr_expect(eq(sz, chain.count, PL_MAX_CHAIN));
	pl_bundle_close(b);
}
