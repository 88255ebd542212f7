#include "ploop.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "ploop/finding.h"
#include "tests/images/damage.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ALL_REPAIRS (PL_CHECK_FORCE | PL_CHECK_HARD_FORCE | PL_CHECK_DUPLICATES | PL_CHECK_DROP_IN_USE)

static char path[4200];

static void scratch(void)
{
	const char *dir = getenv("TMPDIR");
	snprintf(path, sizeof(path), "%s/ploop-check-%d", dir ? dir : "/tmp", (int)getpid());
}

static void remove_scratch(void)
{
	unlink(path);
}

TestSuite(ploop_check, .init = scratch, .fini = remove_scratch);

struct report {
	int result, exit_code, count;
	char lines[8][256]; /* "name verdict text" */
};

static void note(void *arg, const struct pl_finding *f)
{
	static const char *const verdicts[] = {"-", "Fixed", "Ignored", "Skipped", "FATAL"};
	struct report *r = arg;
	cr_assert(lt(int, r->count, 8));
	const char *file = strstr(f->text, path);
	int head = file ? (int)(file - f->text) : (int)strlen(f->text);
	snprintf(r->lines[r->count++], sizeof(r->lines[0]), "%s%s %s: %.*s%s%s", f->is_error ? "!" : "", f->id,
		 verdicts[f->verdict], head, f->text, file ? "IMG" : "", file ? file + strlen(path) : "");
}

static struct report check_with(uint32_t flags, uint32_t cluster_sectors)
{
	struct report r = {0};
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	struct pl_check_options o = {
		.size = sizeof(o), .flags = flags, .cluster_sectors = cluster_sectors, .on_finding = note, .arg = &r};
	r.result = pl_image_check(&ref, &o, &r.exit_code);
	cr_assert(eq(int, r.result < 0, r.exit_code != 0), "result %d exit %d", r.result, r.exit_code);
	if (r.result < 0)
		cr_assert(ne(str, (char *)pl_error(), ""));
	return r;
}

static struct report check(uint32_t flags)
{
	return check_with(flags, DAMAGE_CLUSTER_SECTORS);
}

/* The line of finding @name, or NULL. */
static const char *line_of(const struct report *r, const char *name)
{
	for (int i = 0; i < r->count; i++) {
		const char *line = r->lines[i] + (r->lines[i][0] == '!');
		size_t n = strlen(name);
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return line + n + 1;
	}
	return NULL;
}

static void expect_line(const struct report *r, int i, const char *want)
{
	cr_assert(gt(int, r->count, i), "no line %d, which should be: %s", i, want);
	cr_assert(eq(str, (char *)r->lines[i], (char *)want));
}

struct content {
	uint64_t bytes, sum;
};

static struct content content(void)
{
	struct content c = {0, 1469598103934665603u};
	uint8_t buf[65536];
	autofd int fd = open(path, O_RDONLY);
	cr_assert(ge(int, fd, 0));
	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0; c.bytes += (uint64_t)n)
		for (ssize_t i = 0; i < n; i++)
			c.sum = (c.sum ^ buf[i]) * 1099511628211u;
	return c;
}

static void expect_unchanged(struct content before)
{
	struct content after = content();
	cr_assert(eq(u64, after.bytes, before.bytes));
	cr_assert(eq(u64, after.sum, before.sum));
}

static uint32_t word_at(uint64_t offset)
{
	uint8_t bytes[4];
	autofd int fd = open(path, O_RDONLY);
	cr_assert(eq(sz, pread(fd, bytes, 4, (off_t)offset), 4));
	return load_le32(bytes);
}

/* A test runs in a process of its own, so that only numbers can be parameters. */
static struct criterion_test_params every_row(void)
{
	static int rows[ARRAY_LEN(damages)];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		rows[i] = (int)i;
	return cr_make_param_array(int, rows, ARRAY_LEN(rows));
}

ParameterizedTestParameters(ploop_check, a_read_only_scan_finds_and_changes_nothing)
{
	return every_row();
}
ParameterizedTest(int *row, ploop_check, a_read_only_scan_finds_and_changes_nothing)
{
	const struct damage *d = &damages[*row];
	d->make(path);
	struct content before = content();
	struct report r = check(PL_CHECK_READONLY | PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(ne(ptr, (void *)line_of(&r, d->name), NULL), "%s was not found", d->name);
	expect_unchanged(before);

	enum finding_severity severity = finding_info(d->id)->severity;
	bool usable = severity == SEVERITY_NOTE || d->id == LAY_F_FILE_UNALIGNED;
	cr_assert(eq(int, r.result == 0, usable), "%s: %d", d->name, r.result);
}

ParameterizedTestParameters(ploop_check, all_repairs_allowed_leave_it_sound_or_say_why)
{
	return every_row();
}
ParameterizedTest(int *row, ploop_check, all_repairs_allowed_leave_it_sound_or_say_why)
{
	const struct damage *d = &damages[*row];
	d->make(path);
	struct content before = content();
	struct report r = check(ALL_REPAIRS);
	const char *line = line_of(&r, d->name);
	const struct finding_info *info = finding_info(d->id);
	cr_assert(ne(ptr, (void *)line, NULL), "%s was not found", d->name);

	if (info->repair == REPAIR_NEVER || info->repair == REPAIR_IGNORE) {
		cr_assert(eq(int, r.result == 0, info->severity == SEVERITY_NOTE || info->repair == REPAIR_IGNORE));
		expect_unchanged(before);
		return;
	}
	cr_assert(zero(int, r.result), "%s: %s", d->name, pl_error());
	if (d->id != LAY_F_FILE_UNALIGNED)
		cr_assert(zero(int, strncmp(line, "Fixed: ", 7)), "%s: %s", d->name, line);
	r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(zero(int, r.result));
	cr_assert(eq(int, r.count, 1), "sound after the repair, but: %s", r.lines[1]);
}

ParameterizedTestParameters(ploop_check, force_alone_never_drops_data)
{
	return every_row();
}
ParameterizedTest(int *row, ploop_check, force_alone_never_drops_data)
{
	const struct damage *d = &damages[*row];
	if (finding_info(d->id)->severity != SEVERITY_FATAL)
		return;
	d->make(path);
	struct content before = content();
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES | PL_CHECK_DROP_IN_USE);
	cr_assert(eq(int, r.result, d->id == LAY_F_CONVERTING ? -EBUSY : -EUCLEAN));
	cr_assert(eq(int, r.exit_code, d->id == LAY_F_CONVERTING ? 17 : 11));
	expect_unchanged(before);
}

/* ---- messages and exit codes of the stock tool */

Test(ploop_check, a_clean_image_is_skipped)
{
	damage_none(path, LAY_V2);
	struct report r = check(0);
	cr_assert(zero(int, r.exit_code));
	cr_assert(eq(int, r.count, 1));
	expect_line(&r, 0, "clean -: Image is clean, check is skipped");
}

Test(ploop_check, a_forced_check_of_a_sound_image_only_reopens_it)
{
	for (enum lay_version version = LAY_V1; version <= LAY_V2; version++) {
		damage_none(path, version);
		struct content before = content();
		struct report r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
		cr_assert(zero(int, r.exit_code));
		cr_assert(eq(int, r.count, 1));
		expect_line(&r, 0, "reopen -: Reopen rw IMG");
		expect_unchanged(before);
	}
}

Test(ploop_check, a_bitmap_survives_a_forced_check)
{
	damage_none_with_bitmap(path);
	struct content before = content();
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES | PL_CHECK_REPAIR_SPARSE);
	cr_assert(zero(int, r.exit_code));
	cr_assert(eq(int, r.count, 1), "%s", r.lines[1]);
	expect_unchanged(before);
}

Test(ploop_check, in_use_stays_until_asked)
{
	damages[LAY_F_IN_USE - 1].make(path);
	struct content before = content();
	struct report r = check(0);
	cr_assert(eq(int, r.exit_code, 37));
	cr_assert(eq(int, r.result, -EBUSY));
	expect_line(&r, 0, "reopen -: Reopen rw IMG");
	expect_line(&r, 1, "!in-use -: Dirty flag is set");
	expect_unchanged(before);

	r = check(PL_CHECK_READONLY | PL_CHECK_DROP_IN_USE);
	cr_assert(eq(int, r.exit_code, 7));
	cr_assert(eq(int, r.result, -EROFS));
	expect_unchanged(before);
}

Test(ploop_check, dropping_the_marker_clears_flags_and_extension)
{
	damage_none_with_bitmap(path);
	damage_poke(path, LAY_IN_USE_OFFSET, LAY_CLOSED_V21, LAY_IN_USE);
	struct report r = check(PL_CHECK_DROP_IN_USE);
	cr_assert(zero(int, r.exit_code));
	cr_assert(zero(u32, word_at(LAY_IN_USE_OFFSET)));
	cr_assert(zero(u32, word_at(52)), "flags");
	cr_assert(zero(u32, word_at(56)), "extension");
}

Test(ploop_check, duplicates_are_looked_for_on_request)
{
	damages[LAY_F_SLOT_DUPLICATE - 1].make(path);
	struct report r = check(PL_CHECK_FORCE);
	cr_assert(zero(int, r.exit_code));

	r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(eq(int, r.exit_code, 11));
	expect_line(&r, 1, "bat-duplicate FATAL: Block 1 is used more than once, vsec=2");
	expect_line(&r, 2, "!not-repaired -: Fatal errors were found, image IMG is not repaired");

	r = check(PL_CHECK_HARD_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(zero(int, r.exit_code));
	expect_line(&r, 1, "bat-duplicate Ignored: Block 1 is used more than once, vsec=2");
}

Test(ploop_check, a_bat_entry_may_not_use_the_extension)
{
	damage_none_with_bitmap(path);
	damage_poke(path, LAY_HEADER_BYTES + 4 * 4, 0, 5);
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(eq(int, r.exit_code, 11));
	expect_line(&r, 1, "bat-duplicate FATAL: Block 5 is used more than once, vsec=4");
}

Test(ploop_check, clusters_of_a_dropped_extension_are_free)
{
	uint64_t ext = 6 * DAMAGE_CLUSTER_BYTES;
	damage_none_with_bitmap(path);
	damage_poke(path, ext + 88, 0, 7); /* behind the bitmap a feature that never ends */
	damage_poke(path, ext + 88 + 16, 0, UINT32_MAX);
	damage_sign(path);
	damage_poke(path, LAY_HEADER_BYTES + 4 * 4, 0, 5);
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_DUPLICATES);
	cr_assert(zero(int, r.exit_code), "%s", r.lines[2]);
	cr_assert(eq(int, r.count, 2));
	cr_assert(zero(int, strncmp(r.lines[1], "ext-unterminated Fixed", 22)));
}

Test(ploop_check, an_unknown_necessary_feature_forbids_every_repair)
{
	damages[LAY_F_EXT_NECESSARY - 1].make(path);
	damage_poke(path, LAY_HEADER_BYTES + 100 * 4, 0, 4);
	struct content before = content();
	struct report r = check(ALL_REPAIRS);
	cr_assert(eq(int, r.exit_code, 11));
	cr_assert(zero(int, strncmp(r.lines[2], "bat-beyond-disk Skipped", 23)));
	expect_unchanged(before);
}

Test(ploop_check, neighbouring_bad_slots_are_all_found)
{
	damage_none(path, LAY_V2);
	damage_poke(path, LAY_HEADER_BYTES + 1 * 4, 2, 99);
	damage_poke(path, LAY_HEADER_BYTES + 2 * 4, 3, 98);
	damage_poke(path, LAY_HEADER_BYTES + 3 * 4, 4, 97);
	struct report r = check(PL_CHECK_HARD_FORCE);
	cr_assert(zero(int, r.exit_code));
	cr_assert(eq(int, r.count, 4));
	for (uint32_t g = 0; g < 4; g++)
		cr_assert(eq(u32, word_at(LAY_HEADER_BYTES + g * 4), g == 0));
}

Test(ploop_check, a_bad_slot_behind_a_hole_of_the_file_is_found)
{
	struct pl_create_options o = {.size = sizeof(o), .size_sectors = UINT64_C(2000000) * 64, .cluster_sectors = 64};
	cr_assert(zero(int, pl_image_create(path, &o)));
	autofd int fd = open(path, O_RDWR);
	cr_assert(zero(int, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB, 4 * MIB)));
	damage_poke(path, LAY_HEADER_BYTES + 1500000 * 4, 0, 12345);
	damage_poke(path, LAY_HEADER_BYTES + 2000001 * 4, 0, 12345);
	struct report r = check(PL_CHECK_HARD_FORCE);
	cr_assert(zero(int, r.exit_code));
	cr_assert(eq(int, r.count, 3));
	cr_assert(zero(int, strncmp(r.lines[1], "bat-beyond-file Fixed", 21)));
	cr_assert(zero(int, strncmp(r.lines[2], "bat-beyond-disk Fixed", 21)));
	cr_assert(zero(u32, word_at(LAY_HEADER_BYTES + 1500000 * 4)));
}

static void grow_and_note(void *arg, const struct pl_finding *f)
{
	cr_assert(zero(int, truncate(path, 10 * DAMAGE_CLUSTER_BYTES)));
	note(arg, f);
}

Test(ploop_check, a_live_check_follows_a_file_that_grows)
{
	struct report r = {0};
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	struct pl_check_options o = {.size = sizeof(o), .flags = PL_CHECK_LIVE, .on_finding = grow_and_note, .arg = &r};
	damages[LAY_F_SLOT_BEYOND_FILE - 1].make(path);
	cr_assert(eq(int, check(PL_CHECK_LIVE).exit_code, 11), "it does not grow by itself");

	/* the finding of slot 1 comes before slot 3, whose cluster is then there */
	damage_poke(path, LAY_HEADER_BYTES + 1 * 4, 2, 1);
	r.result = pl_image_check(&ref, &o, &r.exit_code);
	cr_assert(eq(int, r.exit_code, 11));
	cr_assert(eq(int, r.count, 2));
	expect_line(&r, 0, "bat-duplicate FATAL: Block 1 is used more than once, vsec=1");
}

Test(ploop_check, beyond_the_file)
{
	damages[LAY_F_SLOT_BEYOND_FILE - 1].make(path);
	struct report r = check(PL_CHECK_FORCE);
	cr_assert(eq(int, r.exit_code, 11));
	expect_line(&r, 1, "bat-beyond-file FATAL: Data cluster 9 is beyond EOF, image size=163840 vsec=3");
	r = check(PL_CHECK_HARD_FORCE);
	cr_assert(zero(int, r.exit_code));
	expect_line(&r, 1, "bat-beyond-file Fixed: Data cluster 9 is beyond EOF, image size=163840 vsec=3");
	cr_assert(zero(u32, word_at(LAY_HEADER_BYTES + 3 * 4)));
	cr_assert(eq(u32, word_at(LAY_HEADER_BYTES + 2 * 4), 3), "the others stay");
}

Test(ploop_check, beyond_the_disk)
{
	damages[LAY_F_SLOT_BEYOND_DISK - 1].make(path);
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_READONLY);
	cr_assert(eq(int, r.exit_code, 11));
	expect_line(&r, 0,
		    "bat-beyond-disk Skipped: Data cluster (100) beyond block device size: slot 4, clusters 100");
	r = check(PL_CHECK_FORCE);
	cr_assert(zero(int, r.exit_code));
	expect_line(&r, 1, "bat-beyond-disk Fixed: Data cluster (100) beyond block device size: slot 4, clusters 100");
	cr_assert(zero(u32, word_at(LAY_HEADER_BYTES + 100 * 4)));
}

Test(ploop_check, an_unaligned_file_is_extended_with_force_only)
{
	damages[LAY_F_FILE_UNALIGNED - 1].make(path);
	struct content before = content();
	struct report r = check(0);
	cr_assert(zero(int, r.exit_code));
	expect_line(&r, 0, "!file-not-aligned -: Image size 163940 is not aligned to cluster 32768");
	expect_unchanged(before);

	r = check(PL_CHECK_FORCE);
	cr_assert(zero(int, r.exit_code));
	expect_line(&r, 2, "file-extended -: Truncate image IMG up to 196608");
	cr_assert(eq(u64, content().bytes, 196608));
}

Test(ploop_check, header_defects_end_with_11)
{
	static const enum lay_finding_id ids[] = {LAY_F_SIGNATURE, LAY_F_TYPE, LAY_F_CLUSTER_SIZE, LAY_F_FIRST_BLOCK};
	static const char *const words[] = {"Wrong signature", "Wrong type", "Wrong cluster size 0",
					    "Wrong first block offset 65"};
	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		damages[ids[i] - 1].make(path);
		struct report r = check(PL_CHECK_FORCE);
		cr_assert(eq(int, r.exit_code, 11));
		cr_assert(ne(ptr, strstr(r.lines[0], words[i]), NULL), "%s", r.lines[0]);
		cr_assert(ne(ptr, strstr(pl_error(), path), NULL), "the sentence names the file: %s", pl_error());
	}
}

Test(ploop_check, the_descriptors_cluster_size_counts)
{
	damage_none(path, LAY_V2);
	struct report r = check_with(0, 128);
	cr_assert(eq(int, r.exit_code, 38));
	r = check_with(0, 0);
	cr_assert(zero(int, r.exit_code));
}

Test(ploop_check, a_raw_image_needs_only_its_cluster_size)
{
	int code;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1, .format = PL_FORMAT_RAW};
	struct pl_check_options o = {.size = sizeof(o)};
	damage_none(path, LAY_V2);
	cr_assert(eq(int, pl_image_check(&ref, &o, &code), -EINVAL));
	cr_assert(eq(int, code, 38));
	o.cluster_sectors = 2048;
	cr_assert(zero(int, pl_image_check(&ref, &o, &code)));
	unlink(path);
	cr_assert(eq(int, pl_image_check(&ref, &o, &code), -ENOENT));
	cr_assert(eq(int, code, 4));
}

Test(ploop_check, repair_sparse_returns_what_nothing_uses)
{
	damage_none(path, LAY_V2);
	damage_poke(path, LAY_HEADER_BYTES + 4, 2, 0);
	struct stat st, after;
	stat(path, &st);
	struct report r = check(PL_CHECK_FORCE | PL_CHECK_REPAIR_SPARSE);
	cr_assert(zero(int, r.exit_code));
	stat(path, &after);
	cr_assert(eq(u64, (uint64_t)after.st_size, (uint64_t)st.st_size));
	cr_assert(eq(u64, (uint64_t)(st.st_blocks - after.st_blocks), DAMAGE_CLUSTER_SECTORS));
	cr_assert(zero(u32, word_at(2 * DAMAGE_CLUSTER_BYTES)), "cluster 2 is a hole");
	cr_assert(eq(u32, word_at(3 * DAMAGE_CLUSTER_BYTES), 0x02020202), "its neighbour is not");
}

Test(ploop_check, an_image_that_somebody_writes_is_left_alone)
{
	damages[LAY_F_IN_USE - 1].make(path);
	struct content before = content();
	autofd int fd = open(path, O_RDWR);
	struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1}; /* as QEMU does */
	cr_assert(zero(int, fcntl(fd, F_OFD_SETLK, &l)));
	struct report r = check(PL_CHECK_DROP_IN_USE);
	cr_assert(eq(int, r.result, -EBUSY));
	cr_assert(eq(int, r.exit_code, 37));
	expect_unchanged(before);

	r = check(PL_CHECK_LIVE);
	cr_assert(zero(int, r.exit_code), "a live check looks on");
	expect_unchanged(before);
}
