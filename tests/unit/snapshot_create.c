/* Making snapshots of stopped and running disks, and dying on the way: afterwards there is the snapshot or there is
 * none, the disk reads the same, and nothing lies about. */
#include "snapshot_rig.h"

#include <sys/file.h>

TestSuite(snapshot_create, .init = setup, .fini = teardown, .timeout = 60);

#define FIRST  "abc......xyz"
#define SECOND "a2c3.....xyz"

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("abc");
	write_disk("         xyz");
}

Test(snapshot_create, stopped_disk_goes_on_above_its_snapshot)
{
	start();
	expect_done(NULL, create, A);
	expect_nodes("A=root.hds top=*");
	expect_reads(NULL, FIRST);
	write_disk(" 2 3");
	expect_reads(NULL, SECOND);
	expect_reads(A, FIRST);
	expect_tidy(false);
}

Test(snapshot_create, running_disk_goes_on_above_its_snapshot)
{
	content got;
	start();
	struct running disk = run_disk(NULL);
	expect_done(&disk, create, A);
	expect_nodes("A=root.hds top=*");
	write_clusters(&disk, " 2 3");
	read_clusters(&disk, got);
	cr_expect(eq(str, got, SECOND));
	stop_disk(&disk);
	expect_reads(NULL, SECOND);
	expect_reads(A, FIRST);
	expect_tidy(false);
}

static void above(uint32_t version, enum pl_image_mode mode, uint32_t want)
{
	struct pl_image_info info;
	make_disk(version, mode);
	write_disk("abc");
	expect_done(NULL, create, A);
	struct pl_bundle *b = opened("d", NULL);
	cr_assert(eq(int, pl_image_info(&b->images[1], &info), 0), "%s", pl_error());
	cr_expect(eq(u32, info.version, want));
	cr_expect(eq(u32, info.cluster_sectors, CLUSTER_SECTORS));
	cr_expect(eq(u64, info.size_sectors, CLUSTERS * CLUSTER_SECTORS));
	pl_bundle_close(b);
	expect_reads(NULL, "abc.........");
}

Test(snapshot_create, delta_above_version_1_is_version_1)
{
	above(1, PL_MODE_EXPANDED, 1);
}

Test(snapshot_create, delta_above_a_raw_disk_is_version_2)
{
	above(2, PL_MODE_RAW, 2);
}

/* Die at every point in turn; returns how many there were. */
static int die_everywhere(bool live)
{
	int n = 0;
	start();
	for (bool alive = true; alive; n++) {
		struct running disk = {0};
		content got;
		if (live)
			disk = run_disk(NULL);
		struct outcome o = operate(live ? &disk : NULL, create, A, n);
		alive = o.r == -EINTR;
		cr_assert(eq(int, o.r, alive ? -EINTR : 0), "%s", o.text);
		if (live)
			write_clusters(&disk, "           z");
		expect_done(live ? &disk : NULL, recover, NULL);
		if (live) {
			read_clusters(&disk, got);
			cr_expect(eq(str, got, FIRST), "after %s", o.text);
			stop_disk(&disk);
		}
		write_disk(""); /* which settles what a disk that died left in its images */
		expect_tidy(false);
		expect_reads(NULL, FIRST);
		struct pl_bundle *b = opened("d", NULL);
		bool made = b->desc.count == 2;
		pl_bundle_close(b);
		if (made) {
			expect_reads(A, FIRST);
			expect_done(NULL, delete, A); /* and once more */
			expect_tidy(false);
			expect_nodes("top=root.hds");
		}
	}
	return n - 1;
}

Test(snapshot_create, D6_stopped_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(false), 5));
}

Test(snapshot_create, D6_running_disk_survives_a_death_anywhere)
{
	cr_expect(ge(int, die_everywhere(true), 5));
}

/* A server that dies with the command; returns whether there were that many points. */
static bool all_die(int n)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct running disk = run_disk(NULL);
		write_clusters(&disk, " 2 3"); /* and no flush: only the holder knows where they are */
		_exit(operate(&disk, create, A, n).r == -EINTR);
	}
	int status;
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(status == 0 || status == 1 << 8, "status %#x", status);
	return status;
}

Test(snapshot_create, D2_acknowledged_writes_survive_the_death_of_command_and_server)
{
	char holder[4096];
	const char *build = getenv("BUILD");
	snprintf(holder, sizeof(holder), "%s/ploop-holder", build ? build : "build/release");
	cr_assert(eq(int, access(holder, X_OK), 0), "%s", holder);
	start();
	int n = 0;
	for (bool died = true; died;) {
		holder_program = holder;
		died = all_die(n++);
		holder_program = NULL;
		expect_done(NULL, recover, NULL);
		expect_reads(NULL, SECOND);
		expect_tidy(false);
		if (count_files() == 3)
			expect_done(NULL, delete, A);
	}
	cr_expect(ge(int, n, 5));
}

Test(snapshot_create, failed_switch_leaves_no_snapshot)
{
	start();
	struct running disk = run_disk(NULL);
	rpc_switch_fails = -EAGAIN;
	struct outcome o = operate(&disk, create, A, -1);
	cr_expect(eq(int, o.r, -EAGAIN), "%s", o.text);
	rpc_switch_fails = 0;
	expect_nodes("top=root.hds");
	stop_disk(&disk);
	expect_tidy(false);
	expect_reads(NULL, FIRST);
}

static int frozen, freezes;

static int freeze(void *arg, bool on)
{
	freezes += on;
	frozen += on ? 1 : -1;
	return arg && on ? pl_fail(-EBUSY, "frozen by somebody else") : 0;
}

static int create_frozen(struct pl_bundle *b, struct pl_live *live, void *fails)
{
	struct pl_snapshot_options o = {.size = sizeof(o), .guid = A, .freeze = freeze, .freeze_arg = fails};
	struct pl_snapshot_result result;
	int r = pl_snapshot_create(b, live, &o, &result);
	return freezes == 1 && frozen == (fails ? 1 : 0) ? r : pl_fail(-EPROTO, "frozen %d of %d", frozen, freezes);
}

Test(snapshot_create, file_system_is_frozen_around_the_switch)
{
	start();
	struct running disk = run_disk(NULL);
	expect_refused(&disk, create_frozen, A, -EBUSY, "frozen by somebody else");
	expect_nodes("top=root.hds");
	expect_done(&disk, create_frozen, NULL);
	expect_nodes("A=root.hds top=*");
	stop_disk(&disk);
	expect_tidy(false);
}

static int create_temporary(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	struct pl_snapshot_options o = {.size = sizeof(o), .guid = guid, .temporary = true};
	struct pl_snapshot_result result;
	return pl_snapshot_create(b, live, &o, &result);
}

Test(snapshot_create, temporary_snapshots_go_with_the_next_one)
{
	start();
	expect_done(NULL, create_temporary, A);
	expect_nodes("A!=root.hds top=*");
	write_disk(" 2 3");
	expect_done(NULL, create, B);
	expect_nodes("B=root.hds top=*");
	expect_reads(B, SECOND);
	expect_tidy(false);
}

Test(snapshot_create, what_cannot_be_is_refused_with_a_sentence)
{
	start();
	expect_done(NULL, create, A);
	expect_refused(NULL, create, A, -EEXIST, "snapshot " A " exists");
	expect_refused(NULL, create, "nonsense", -EINVAL, "snapshot \"nonsense\" is not a UUID");
	expect_refused(NULL, create, (char *)lay_guid_top.text, -EINVAL, "cannot be the id of a snapshot");
	expect_refused(NULL, create, (char *)lay_guid_none.text, -EINVAL, "cannot be the id of a snapshot");
	struct running disk = run_disk(NULL);
	expect_refused(NULL, create, B, -EBUSY, "is in use");
	stop_disk(&disk);
	autofd int lock = open("d", O_RDONLY | O_DIRECTORY);
	cr_assert(eq(int, flock(lock, LOCK_EX), 0));
	expect_refused(NULL, create, B, -EBUSY, "another operation is running on ");
	expect_nodes("A=root.hds top=*");
	expect_tidy(false);
}

Test(snapshot_create, chain_has_a_limit)
{
	char guid[64], file[64];
	start();
	struct pl_bundle *b = opened("d", NULL);
	for (int i = 0; i < 126; i++) {
		struct lay_guid g;
		snprintf(guid, sizeof(guid), "{00000000-0000-0000-0000-0000000000%02x}", i + 1);
		snprintf(file, sizeof(file), "delta%d", i);
		lay_guid_parse(guid, &g);
		cr_assert(eq(int, lay_desc_snapshot(&b->desc, &g, file, false), 0));
	}
	b->images = realloc(b->images, b->desc.count * sizeof(*b->images));
	memset(b->images + 1, 0, (b->desc.count - 1) * sizeof(*b->images));
	cr_assert(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE), 0), "%s", pl_error());
	pl_bundle_close(b);
	expect_refused(NULL, create, A, -E2BIG, "the maximum number of snapshots (126) has been reached");
}

Test(snapshot_create, foreign_chain_in_a_running_disk_is_refused)
{
	start();
	expect_done(NULL, create, A);
	expect_done(NULL, create, B);
	struct running disk = run_disk(NULL);
	struct pl_bundle *b = opened("d", NULL);
	lay_desc_merge(&b->desc, &lay_guid_top, LAY_KEEP_CHILDS_FILE); /* behind the back of all */
	free((char *)b->images[2].path), free((char *)b->images[2].name);
	cr_assert(eq(int, bundle_store(b->folder_fd, b->folder, &b->desc, BUNDLE_REPLACE), 0), "%s", pl_error());
	pl_bundle_close(b);
	expect_refused(&disk, create, C, -ESTALE, "they are not the same chain");
	stop_disk(&disk);
}
