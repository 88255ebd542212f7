/* Folding the image files of a stopped disk: who may, growth, holes, and what QEMU makes of the result. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ploop/fold.h"
#include "tests/support/prng.h"

#define DISK_BYTES (48 * MIB)
#define CHILD 1
#define PARENT 0

static char dir[4096], paths[2][4200];
static struct pl_image_ref refs[2]; /* base first */
static struct pl_loop *loop;
static struct prng prng;
static uint8_t *want;

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof(dir), "%s/ploop-fold-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	for (int i = 0; i < 2; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", dir, i == CHILD ? "child" : "parent");
		refs[i] = (struct pl_image_ref){.path = paths[i], .dir_fd = -1};
	}
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
	prng = (struct prng){1};
	want = calloc(1, DISK_BYTES);
}

static void teardown(void)
{
	free(want);
	pl_loop_free(loop);
	for (int i = 0; i < 2; i++)
		unlink(paths[i]);
	rmdir(dir);
}

TestSuite(ploop_fold_images, .init = setup, .fini = teardown, .timeout = 120);

struct kind {
	uint32_t version, cluster_sectors;
	uint64_t parent_bytes;
	enum pl_image_mode parent_mode;
	enum pl_merge_into into;
};

static uint32_t cluster_sectors;

static struct pl_disk *open_disk(int first, int count, uint32_t flags)
{
	struct pl_disk *d;
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &refs[first], .count = (size_t)count};
	struct pl_open_options o = {.size = sizeof(o), .flags = flags};
	chain.cluster_sectors = cluster_sectors;
	cr_assert(zero(int, pl_disk_open(loop, &chain, &o, &d)), "%s", pl_error());
	return d;
}

/* Some random pieces, and the same into @want. */
static void scribble(int count, uint64_t bytes)
{
	struct pl_disk *d = open_disk(0, count, 0);
	autofree uint8_t *data = malloc(MIB);
	for (int i = 0; i < 40; i++) {
		uint64_t at = round_down_pow2(prng_next(&prng) % (bytes - MIB), 4096);
		uint64_t n = 4096 * (1 + prng_below(&prng, 255));
		memset(data, 1 + (int)prng_below(&prng, 255), n);
		memcpy(want + at, data, n);
		cr_assert(zero(int, pl_write(d, data, n, at, 0)));
	}
	cr_assert(zero(int, pl_disk_close(d)), "%s", pl_error());
}

static void create(int i, const struct kind *k)
{
	struct pl_create_options o = {.size = sizeof(o), .version = k->version, .cluster_sectors = k->cluster_sectors};
	o.size_sectors = (i == CHILD ? DISK_BYTES : k->parent_bytes) / SECTOR_BYTES;
	o.mode = i == CHILD ? PL_MODE_EXPANDED : k->parent_mode;
	o.sparse = true;
	refs[i].format = o.mode == PL_MODE_RAW ? PL_FORMAT_RAW : PL_FORMAT_PLOOP;
	cr_assert(zero(int, pl_image_create(paths[i], &o)), "%s", pl_error());
}

static void make(const struct kind *k)
{
	cluster_sectors = k->cluster_sectors;
	create(PARENT, k);
	scribble(1, k->parent_bytes);
	create(CHILD, k);
	scribble(2, DISK_BYTES);
}

static void expect_shows(int first, int count)
{
	struct pl_disk *d = open_disk(first, count, PL_OPEN_READONLY);
	autofree uint8_t *got = malloc(DISK_BYTES);
	cr_assert(zero(int, pl_read(d, got, DISK_BYTES, 0)));
	cr_expect(zero(int, memcmp(got, want, DISK_BYTES)));
	cr_assert(zero(int, pl_disk_close(d)));
}

static int fold(enum pl_merge_into into, const struct pl_progress *progress)
{
	return fold_images(&refs[CHILD], &refs[PARENT], into, cluster_sectors, progress);
}

static void expect_sound(int i)
{
	int code;
	struct pl_check_options o = {.size = sizeof(o), .flags = PL_CHECK_FORCE | PL_CHECK_DUPLICATES};
	cr_assert(zero(int, pl_image_check(&refs[i], &o, &code)), "%s", pl_error());
}

static void expect_qemu_agrees(int i)
{
	char command[16000];
	FILE *f;
	snprintf(command, sizeof(command), "%s/want", dir);
	f = fopen(command, "w");
	cr_assert(eq(u64, fwrite(want, 1, DISK_BYTES, f), DISK_BYTES));
	fclose(f);
	snprintf(command, sizeof(command),
		 "qemu-img check -q -f parallels %s && qemu-img compare -q -f parallels -F raw %s %s/want; "
		 "s=$?; rm %s/want; exit $s", paths[i], paths[i], dir, dir);
	cr_expect(zero(int, WEXITSTATUS(system(command))));
}

static const struct kind plain = {2, 2048, DISK_BYTES, PL_MODE_EXPANDED, PL_INTO_PARENT};

Test(ploop_fold_images, destination_alone_shows_the_disk)
{
	static const struct kind kinds[] = {
		{2, 2048, DISK_BYTES, PL_MODE_EXPANDED, PL_INTO_PARENT},
		{1, 64, DISK_BYTES, PL_MODE_EXPANDED, PL_INTO_PARENT},
		{2, 4096, DISK_BYTES, PL_MODE_PREALLOCATED, PL_INTO_PARENT},
		{2, 128, 11 * MIB, PL_MODE_EXPANDED, PL_INTO_PARENT},
		{2, 2048, DISK_BYTES, PL_MODE_RAW, PL_INTO_PARENT},
		{2, 64, 9 * MIB, PL_MODE_RAW, PL_INTO_PARENT},
		{2, 2048, DISK_BYTES, PL_MODE_EXPANDED, PL_INTO_CHILD},
		{1, 64, 13 * MIB, PL_MODE_EXPANDED, PL_INTO_CHILD},
		{2, 32768, DISK_BYTES, PL_MODE_EXPANDED, PL_INTO_CHILD},
	};
	bool qemu = system("command -v qemu-img >/dev/null") == 0;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		int to = kinds[i].into == PL_INTO_CHILD ? CHILD : PARENT;
		memset(want, 0, DISK_BYTES);
		make(&kinds[i]);
		cr_assert(zero(int, fold(kinds[i].into, NULL)), "kind %zu: %s", i, pl_error());
		expect_shows(to, 1);
		expect_shows(0, 2);
		if (refs[to].format == PL_FORMAT_PLOOP)
			expect_sound(to);
		if (refs[to].format == PL_FORMAT_PLOOP && qemu)
			expect_qemu_agrees(to);
		unlink(paths[0]);
		unlink(paths[1]);
	}
}

/* A cluster of the child is a hole but for a page: neither takes more space than that. */
Test(ploop_fold_images, holes_stay_holes)
{
	struct stat st;
	struct pl_disk *d;
	create(PARENT, &plain);
	create(CHILD, &plain);
	cluster_sectors = plain.cluster_sectors;
	cr_assert(zero(int, truncate(paths[CHILD], 21 * MIB)));
	autofd int fd = open(paths[CHILD], O_RDWR);
	for (uint32_t g = 0; g < 20; g++) {
		uint32_t slot = g + 1;
		cr_assert(eq(int, (int)pwrite(fd, &slot, 4, 64 + 4 * g), 4));
		cr_assert(eq(int, (int)pwrite(fd, "data", 4, (off_t)((g + 1) * MIB + 512 * KIB)), 4));
		memcpy(want + g * MIB + 512 * KIB, "data", 4);
	}
	cr_assert(zero(int, fsync(fd)));
	cr_assert(zero(int, fold(PL_INTO_PARENT, NULL)), "%s", pl_error());
	expect_shows(PARENT, 1);
	cr_assert(zero(int, stat(paths[PARENT], &st)));
	cr_expect(eq(u64, (uint64_t)st.st_size, 21 * MIB));
	cr_expect(lt(u64, (uint64_t)st.st_blocks * 512, 5 * MIB));
	/* And over what is there: the old data goes. */
	d = open_disk(PARENT, 1, 0);
	autofree uint8_t *old = malloc(MIB);
	memset(old, 'x', MIB);
	for (uint32_t g = 0; g < 20; g++)
		cr_assert(zero(int, pl_write(d, old, MIB, g * MIB, 0)));
	cr_assert(zero(int, pl_disk_close(d)));
	cr_assert(zero(int, fold(PL_INTO_PARENT, NULL)), "%s", pl_error());
	expect_shows(PARENT, 1);
}

/* A disk as QEMU makes them, which ends inside a cluster. */
#define ODD_SECTORS UINT64_C(18433)

static void make_odd(const struct kind *k)
{
	uint64_t sectors = ODD_SECTORS;
	char sector[SECTOR_BYTES];
	cluster_sectors = k->cluster_sectors;
	create(PARENT, k);
	create(CHILD, k);
	autofd int fd = open(paths[CHILD], O_RDWR);
	cr_assert(eq(int, (int)pwrite(fd, &sectors, sizeof(sectors), 36), sizeof(sectors)));
	if (refs[PARENT].format == PL_FORMAT_RAW)
		cr_assert(zero(int, truncate(paths[PARENT], (off_t)(ODD_SECTORS * SECTOR_BYTES))));
	struct pl_disk *d = open_disk(0, 2, 0);
	memset(sector, 'z', sizeof(sector));
	cr_assert(zero(int, pl_write(d, sector, sizeof(sector), (ODD_SECTORS - 1) * SECTOR_BYTES, 0)));
	cr_assert(zero(int, pl_disk_close(d)));
}

Test(ploop_fold_images, raw_parent_ends_where_the_disk_does)
{
	struct stat st;
	char sector[SECTOR_BYTES] = "";
	make_odd(&(struct kind){2, 2048, MIB, PL_MODE_RAW, PL_INTO_PARENT});
	cr_assert(zero(int, fold(PL_INTO_PARENT, NULL)), "%s", pl_error());
	cr_assert(zero(int, stat(paths[PARENT], &st)));
	cr_expect(eq(u64, (uint64_t)st.st_size, ODD_SECTORS * SECTOR_BYTES));
	autofd int fd = open(paths[PARENT], O_RDONLY);
	off_t last = (off_t)((ODD_SECTORS - 1) * SECTOR_BYTES);
	cr_assert(eq(int, (int)pread(fd, sector, sizeof(sector), last), sizeof(sector)));
	cr_expect(eq(int, sector[0], 'z'));
}

Test(ploop_fold_images, parent_cannot_grow_to_a_size_inside_a_cluster)
{
	make_odd(&(struct kind){2, 2048, MIB, PL_MODE_EXPANDED, PL_INTO_PARENT});
	cr_expect(eq(int, fold(PL_INTO_PARENT, NULL), -EINVAL));
	cr_expect(ne(ptr, strstr(pl_error(), "multiple"), NULL), "%s", pl_error());
	cr_expect(zero(int, fold(PL_INTO_CHILD, NULL)), "%s", pl_error());
}

/* ---- who may */

static void expect_refused(enum pl_merge_into into, int res, const char *word)
{
	cr_expect(eq(int, fold(into, NULL), res), "%s", pl_error());
	cr_expect(ne(ptr, strstr(pl_error(), word), NULL), "'%s' is not in: %s", word, pl_error());
	expect_shows(0, 2);
}

Test(ploop_fold_images, files_that_others_have_are_refused)
{
	make(&plain);
	struct pl_disk *d = open_disk(0, 2, PL_OPEN_READONLY);
	expect_refused(PL_INTO_PARENT, -EBUSY, "child");
	cr_assert(zero(int, pl_disk_close(d)));
	d = open_disk(0, 1, PL_OPEN_READONLY);
	expect_refused(PL_INTO_CHILD, -EBUSY, "parent");
	cr_assert(zero(int, pl_disk_close(d)));
	cr_expect(zero(int, fold(PL_INTO_PARENT, NULL)), "%s", pl_error());
}

Test(ploop_fold_images, destination_that_bundles_share_is_refused)
{
	char other[5000];
	snprintf(other, sizeof(other), "%s/other", dir);
	make(&plain);
	cr_assert(zero(int, link(paths[PARENT], other)));
	expect_refused(PL_INTO_PARENT, -EMLINK, "parent has 2 names");
	cr_assert(zero(int, chmod(other, 0400))); /* as a template is */
	struct pl_disk *others = open_disk(0, 1, PL_OPEN_READONLY);
	cr_expect(zero(int, fold(PL_INTO_CHILD, NULL)), "it may be the source: %s", pl_error());
	cr_assert(zero(int, pl_disk_close(others)));
	unlink(other);
	expect_shows(CHILD, 1);
}

Test(ploop_fold_images, missing_and_foreign_files_are_refused)
{
	make(&plain);
	struct pl_image_ref nothing = {.path = "/nowhere/at-all", .dir_fd = -1};
	cr_expect(eq(int, fold_images(&refs[1], &nothing, PL_INTO_PARENT, 2048, NULL), -ENOENT));
	cr_expect(eq(int, fold_images(&refs[1], &refs[1], PL_INTO_PARENT, 2048, NULL), -EBUSY));
	refs[CHILD].format = PL_FORMAT_RAW;
	cr_expect(eq(int, fold(PL_INTO_PARENT, NULL), -EINVAL));
}

/* ---- progress */

struct watch {
	uint64_t done, total;
	uint32_t polls, stop_after;
};

static void step(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct watch *w = arg;
	cr_expect(ge(u64, done_bytes, w->done));
	w->done = done_bytes;
	w->total = total_bytes;
}

static bool cancelled(void *arg)
{
	struct watch *w = arg;
	return w->stop_after && ++w->polls >= w->stop_after;
}

Test(ploop_fold_images, progress_ends_at_the_total_and_cancel_ends_it)
{
	struct watch w = {.stop_after = 6};
	struct pl_progress p = {step, cancelled, &w};
	make(&plain);
	int r = fold(PL_INTO_PARENT, &p);
	cr_expect(eq(int, r, -ECANCELED), "%s", pl_error());
	expect_sound(PARENT);
	expect_shows(0, 2);
	w = (struct watch){0};
	cr_expect(zero(int, fold(PL_INTO_PARENT, &p)), "%s", pl_error());
	cr_expect(eq(u64, w.done, w.total));
	cr_expect(gt(u64, w.total, 0));
	expect_shows(PARENT, 1);
}
