/* Clones and moves of stopped and running disks, and dying on the way: there is a whole disk at the target or none, the
 * source reads the same, and what lies about goes with the next clone to the same place. */
#include "snapshot_rig.h"

TestSuite(snapshot_clone, .init = setup, .fini = teardown, .timeout = 120);

#define CONTENT "abc......xyz"

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("abc");
	write_disk("         xyz");
}

/* ---- operations */

static int clone_to_c(struct pl_bundle *b, struct pl_live *live, struct pl_clone_options *o)
{
	struct pl_clone_result result;
	o->size = sizeof(*o);
	return pl_clone(b, live, "c", o, &result);
}
static int clone_linked(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return clone_to_c(b, live, &(struct pl_clone_options){.guid = guid});
}
static int clone_full(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return clone_to_c(b, live, &(struct pl_clone_options){.guid = guid, .full = true});
}
static int seal(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	return pl_bundle_seal(b);
}
static int move(struct pl_bundle *b, struct pl_live *live, void *target)
{
	return pl_bundle_move(b, target, NULL);
}

/* ---- what must hold */

static void expect_reads_at(const char *folder, const char *want)
{
	content got;
	struct running r = {.bundle = opened(folder, NULL)};
	struct pl_open_options how = {.size = sizeof(how), .flags = PL_OPEN_READONLY};
	struct pl_chain_spec chain;
	cr_assert(eq(int, pl_bundle_chain(r.bundle, NULL, &chain), 0), "%s", pl_error());
	cr_assert(eq(int, pl_loop_new(NULL, &r.loop), 0), "%s", pl_error());
	cr_assert(eq(int, pl_disk_open(r.loop, &chain, &how, &r.disk), 0), "%s", pl_error());
	read_clusters(&r, got);
	stop_disk(&r);
	cr_expect(eq(str, got, (char *)want), "%s", folder);
}

/* Hidden folders beside the disk. */
static size_t count_hidden(void)
{
	size_t n = 0;
	DIR *dir = opendir(".");
	for (struct dirent *e; (e = readdir(dir));)
		n += strstr(e->d_name, ".part-") != NULL;
	closedir(dir);
	return n;
}

static unsigned links_of(const char *path)
{
	struct stat st;
	cr_assert(eq(int, stat(path, &st), 0), "%s: %s", path, strerror(errno));
	return (unsigned)st.st_nlink;
}

static void remove_clone(void)
{
	nftw("c", remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- tests */

Test(snapshot_clone, linked_clone_shares_all_but_its_top)
{
	start();
	expect_done(NULL, create, A);
	write_disk("AB");
	expect_done(NULL, clone_linked, A);
	expect_reads_at("c", CONTENT);
	cr_expect(eq(u32, links_of("d/root.hds"), 2));
	expect_nodes("A=root.hds top=*");
	cr_expect(eq(sz, count_hidden(), 0));
}

Test(snapshot_clone, sealed_disk_needs_no_snapshot)
{
	struct stat st;
	start();
	expect_done(NULL, seal, NULL);
	cr_assert(eq(int, stat("d/root.hds", &st), 0));
	cr_expect(eq(u32, st.st_mode & 0222, 0));
	expect_done(NULL, clone_linked, NULL);
	expect_nodes("top=root.hds");
	expect_reads_at("c", CONTENT);
	struct pl_bundle *b = opened("c", NULL);
	cr_expect(eq(sz, b->desc.count, 2));
	cr_expect(not(lay_guid_eq(&b->desc.nodes[0].guid, &lay_guid_top)), "the template's top is no top here");
	cr_expect(lay_guid_eq(&b->desc.nodes[1].parent, &b->desc.nodes[0].guid));
	pl_bundle_close(b);
}

Test(snapshot_clone, running_disk_is_cloned_as_of_this_moment)
{
	start();
	struct running disk = run_disk(NULL);
	expect_done(&disk, clone_linked, NULL);
	write_clusters(&disk, "ABC");
	expect_reads_at("c", CONTENT);
	remove_clone();
	expect_done(&disk, clone_full, NULL);
	write_clusters(&disk, "DEF");
	expect_reads_at("c", "ABC......xyz");
	cr_expect(eq(u32, links_of("c/root.hds"), 1));
	stop_disk(&disk);
	expect_tidy(false);
	expect_reads(NULL, "DEF......xyz");
}

Test(snapshot_clone, disk_that_others_have_is_refused)
{
	start();
	struct running disk = run_disk(NULL);
	expect_refused(NULL, clone_linked, NULL, -EBUSY, "in use");
	expect_refused(NULL, clone_full, NULL, -EBUSY, "in use");
	expect_refused(NULL, seal, NULL, -EBUSY, "in use");
	expect_refused(NULL, move, "m", -EBUSY, "in use");
	stop_disk(&disk);
	expect_nodes("top=root.hds");
	expect_tidy(false);
	cr_expect(eq(int, access("c", F_OK), -1));
	cr_expect(eq(sz, count_hidden(), 0));
}

Test(snapshot_clone, image_that_is_being_merged_is_no_ground)
{
	char text[16384];
	start();
	expect_done(NULL, create, A);
	get(XML, text, sizeof(text));
	char *at = strstr(text, "<ParentGUID>");
	cr_assert(at != NULL);
	char marked[16400];
	snprintf(marked, sizeof(marked), "%.*s<Temporary/>%s", (int)(at - text), text, at);
	put(XML, marked);
	expect_refused(NULL, clone_linked, A, -EBUSY, "is temporary, or being merged");
	expect_refused(NULL, clone_full, A, -EBUSY, "is temporary, or being merged");
}

Test(snapshot_clone, copy_of_a_half_merged_chain_can_be_merged)
{
	char text[16384];
	start();
	expect_done(NULL, create, A);
	write_disk(" de");
	expect_done(NULL, create, B);
	write_disk("  f");
	struct outcome o = operate(NULL, delete, A, 1);
	cr_assert(eq(str, o.text, "merge: data moved"));
	expect_done(NULL, clone_full, NULL);
	expect_reads_at("c", "adf......xyz");
	get("c/" LAY_DESC_NAME, text, sizeof(text));
	cr_expect(strstr(text, "<Temporary/>") != NULL);
	cr_expect(strstr(text, "<MergingGUID>" B "</MergingGUID>") != NULL);
	cr_assert(eq(int, rename("d", "source") || rename("c", "d"), 0));
	expect_done(NULL, delete, A);
	expect_nodes("B=root.hds top=*");
	expect_tidy(false);
	expect_reads(B, "ade......xyz");
	expect_reads(NULL, "adf......xyz");
}

static bool cancel_at_once(void *arg)
{
	return true;
}
static int cancelled(struct pl_bundle *b, struct pl_live *live, void *arg)
{
	struct pl_progress progress = {.cancelled = cancel_at_once};
	return clone_to_c(b, live, &(struct pl_clone_options){.full = true, .progress = &progress});
}

Test(snapshot_clone, cancelled_copy_leaves_nothing)
{
	start();
	expect_refused(NULL, cancelled, NULL, -ECANCELED, "cancelled after");
	struct running disk = run_disk(NULL);
	expect_refused(&disk, cancelled, NULL, -ECANCELED, "cancelled after");
	stop_disk(&disk);
	expect_nodes("top=root.hds");
	cr_expect(eq(int, access("c", F_OK), -1));
	cr_expect(eq(sz, count_hidden(), 0));
	expect_tidy(false);
}

/* Die at every point in turn; returns how many there were. */
static int die_everywhere(operation *op, bool live)
{
	int n = 0;
	start();
	for (bool alive = true; alive; n++) {
		struct running disk = {0};
		if (live)
			disk = run_disk(NULL);
		struct outcome o = operate(live ? &disk : NULL, op, NULL, n);
		alive = o.r == -EINTR;
		cr_assert(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		expect_done(live ? &disk : NULL, recover, NULL);
		if (live)
			stop_disk(&disk);
		write_disk("");
		expect_tidy(false);
		expect_reads(NULL, CONTENT);
		if (access("c", F_OK) == 0) { /* then all of it */
			expect_reads_at("c", CONTENT);
			cr_expect(eq(sz, count_hidden(), 0), "after %s", o.text);
			remove_clone();
		}
		cr_expect(le(sz, count_hidden(), 1), "after %s", o.text);
		expect_done(NULL, clone_full, NULL); /* and once more */
		expect_reads_at("c", CONTENT);
		cr_expect(eq(sz, count_hidden(), 0), "after %s", o.text);
		remove_clone();
	}
	return n - 1;
}

Test(snapshot_clone, D6_linked_clone_of_a_stopped_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(clone_linked, false), 8));
}
Test(snapshot_clone, D6_linked_clone_of_a_running_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(clone_linked, true), 8));
}
Test(snapshot_clone, D6_full_clone_of_a_stopped_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(clone_full, false), 3));
}
Test(snapshot_clone, D6_full_clone_of_a_running_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(clone_full, true), 8));
}

/* ---- moving into another file system, dying anywhere */

static bool other_filesystem(char *folder, size_t room)
{
	struct stat here, there;
	snprintf(folder, room, "/dev/shm/ploop-clone.XXXXXX");
	if (!mkdtemp(folder))
		return false;
	bool other = stat(".", &here) == 0 && stat(folder, &there) == 0 && here.st_dev != there.st_dev;
	if (!other)
		rmdir(folder);
	return other;
}

/* Which also removes what a death left of the source here. */
static void move_back(const char *from)
{
	struct pl_bundle *b = opened(from, NULL);
	cr_assert(eq(int, pl_bundle_move(b, "d", NULL), 0), "%s", pl_error());
	pl_bundle_close(b);
}

Test(snapshot_clone, D6_move_by_copy_survives_a_death_anywhere)
{
	char folder[64], target[80];
	start();
	if (!other_filesystem(folder, sizeof(folder)))
		cr_skip("there is no other file system");
	snprintf(target, sizeof(target), "%s/m", folder);
	int n = 0;
	for (bool alive = true; alive; n++) {
		struct outcome o = operate(NULL, move, target, n);
		alive = o.r == -EINTR;
		cr_expect(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		bool here = access(XML, F_OK) == 0, there = access(target, F_OK) == 0;
		cr_assert(here || there, "after %s", o.text);
		if (there)
			expect_reads_at(target, CONTENT);
		if (here)
			expect_reads(NULL, CONTENT);
		if (there && here)
			nftw(target, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
		else if (there)
			move_back(target);
		cr_expect(eq(sz, count_hidden(), 0), "after %s", o.text);
	}
	cr_expect(ge(int, n, 4));
	nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
