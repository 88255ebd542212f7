/* What cannot be written: an operation that fails changes nothing, or, when data has moved, what the next one finishes.
 */
#include "snapshot_rig.h"

TestSuite(snapshot_faults, .init = setup, .fini = teardown, .timeout = 60);

#define READS_A "aaaa........"
#define READS	"bbaa....b..."

/* A folder in the place of the file that each goes through. */
#define STORE_TRAP XML ".tmp"
#define LIST_TRAP  XML ".unlink.tmp"

static void start(void)
{
	make_disk(2, PL_MODE_EXPANDED);
	write_disk("aaaa");
	expect_done(NULL, create, A);
	write_disk("bb      b");
}

static int switch_to(struct pl_bundle *b, struct pl_live *live, void *guid)
{
	return pl_snapshot_switch(b, live, guid, NULL);
}

static int merge_into_new(struct pl_bundle *b, struct pl_live *live, void *path)
{
	struct pl_snapshot_merge_options o = {.size = sizeof(o), .new_delta = path};
	return pl_snapshot_merge(b, live, &o);
}

static const struct {
	operation *op;
	char *arg;
} operations[] = {
	{create, B},
	{delete, A},
	{delete, "{5fbaabe3-6958-40ff-92a7-860e329aab41}"},
	{switch_to, A},
	{merge_into_new, "d/new"},
};

static void expect_nothing_happened(struct running *disk, size_t i, const char *trap)
{
	cr_assert(eq(int, mkdir(trap, 0755), 0));
	struct outcome o = operate(disk, operations[i].op, operations[i].arg, -1);
	cr_expect(lt(int, o.r, 0), "operation %zu", i);
	cr_expect(strstr(o.text, "/d: write DiskDescriptor.xml") != NULL, "%s", o.text);
	cr_assert(eq(int, rmdir(trap), 0));
	expect_done(disk, recover, NULL);
	expect_nodes("A=root.hds top=*");
}

Test(snapshot_faults, descriptor_that_cannot_be_stored_stays)
{
	start();
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		expect_nothing_happened(NULL, i, STORE_TRAP);
		unlink("d/new"); /* which has the name that the operator gave it */
		expect_reads(NULL, READS);
		expect_tidy(false);
	}
}

Test(snapshot_faults, without_its_list_nothing_is_begun)
{
	start();
	for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
		if (operations[i].op == delete &&!strcmp(operations[i].arg, A))
			continue; /* a mark is stored before, see below */
		expect_nothing_happened(NULL, i, LIST_TRAP);
		expect_reads(NULL, READS);
		expect_tidy(false);
	}
}

Test(snapshot_faults, running_disk_goes_on)
{
	content got;
	start();
	struct running disk = run_disk(NULL);
	for (size_t i = 0; i < 2; i++)
		expect_nothing_happened(&disk, i, STORE_TRAP);
	expect_nothing_happened(&disk, 0, LIST_TRAP);
	read_clusters(&disk, got);
	cr_expect(eq(str, got, READS));
	stop_disk(&disk);
	expect_reads(NULL, READS);
	expect_tidy(false);
}

static void set_trap(void)
{
	cr_assert(eq(int, mkdir(STORE_TRAP, 0755), 0));
}

/* The data is together, and the descriptor cannot say so. */
Test(snapshot_faults, merge_that_cannot_be_committed_is_finished_by_the_next_operation)
{
	content got;
	start();
	struct running disk = run_disk(NULL);
	rpc_after_change = set_trap;
	expect_refused(&disk, delete, A, -EISDIR, "write DiskDescriptor.xml: Is a directory");
	rpc_after_change = NULL;
	expect_nodes("A!=root.hds top=*");
	cr_assert(eq(int, rmdir(STORE_TRAP), 0));
	write_clusters(&disk, "   c");
	expect_done(&disk, recover, NULL);
	struct outcome o = operate(&disk, delete, A, -1); /* it may be gone by now */
	cr_expect(o.r == 0 || o.r == -ENOENT, "%s", o.text);
	expect_nodes("top=root.hds");
	read_clusters(&disk, got);
	cr_expect(eq(str, got, "bbac....b..."));
	stop_disk(&disk);
	expect_reads(NULL, "bbac....b...");
	expect_tidy(false);
}
