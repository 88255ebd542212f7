/* A host without space (D8), and one whose storage fails: what waits, what is told, what is tried again and when. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "ploop/disk.h"
#include "tests/support/rig.h"

static struct pl_loop *loop;
static char log_text[8192];

static void keep_line(void *arg, enum pl_log_level level, const char *category, const char *line)
{
	size_t at = strlen(log_text);
	snprintf(log_text + at, sizeof(log_text) - at, "%s: %s\n", category, line);
}

static void setup(void)
{
	pl_log_set(keep_line, NULL, PL_LOG_INFO, NULL);
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
}

static void teardown(void)
{
	pl_loop_free(loop);
}

TestSuite(ploop_full, .init = setup, .fini = teardown, .timeout = 120);

static const struct rig_shape small = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};
static struct fault_plan plan;

static struct rig *open_full(uint32_t kind, int error)
{
	struct rig *r = rig_new(loop, &small, 1);
	plan = (struct fault_plan){.kinds = FAULT_KIND(kind), .error = error};
	r->faults = &plan;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	plan.from = 1;
	plan.to = UINT64_MAX;
	return r;
}

static void close_rig(struct rig *r)
{
	plan.to = 0;
	cr_assert(rig_drain(r), "%s", r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
	rig_free(r);
}

static struct pl_disk_stat stat_of(const struct rig *r)
{
	struct pl_disk_stat stat = {.size = sizeof(stat)};
	pl_disk_get_stat(r->disk, &stat);
	return stat;
}

static void write_and_turn(struct rig *r)
{
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false));
	for (int i = 0; i < 100; i++)
		cr_assert(rig_turn(r));
}

static uint32_t lines_with(const char *word)
{
	uint32_t n = 0;
	for (const char *at = log_text; (at = strstr(at, word)); at++)
		n++;
	return n;
}

/* Told once, however often it is tried again; over at once when somebody says so. */
static void waits_and_goes_on_when_told(uint32_t kind, int error)
{
	struct rig *r = open_full(kind, error);
	write_and_turn(r);
	struct pl_disk_stat s = stat_of(r);
	cr_expect(eq(u64, s.full, 1));
	cr_expect(gt(u64, s.full_ns, 0));
	cr_expect(eq(u64, s.full_requests, 1));
	cr_expect(eq(int, s.full_errno, -error));
	cr_expect(ne(ptr, (void *)s.full_path, NULL));
	for (int i = 0; i < 5; i++) {
		pl_disk_retry(r->disk);
		pl_disk_retry(r->disk); /* the first is under way */
		cr_assert(rig_turn(r) && rig_turn(r));
	}
	cr_expect(eq(u64, stat_of(r).full_requests, 1));
	cr_expect(eq(u32, r->busy, 1));
	plan.to = 0;
	uint64_t begin = pl_now_ns();
	pl_disk_retry(r->disk);
	cr_assert(rig_drain(r), "%s", r->why);
	cr_expect(lt(u64, pl_now_ns() - begin, PARK_RETRY_NS), "it waited for the timer");
	s = stat_of(r);
	cr_expect(eq(u64, s.full_ns, 0));
	cr_expect(eq(u64, s.full, 1));
	cr_expect(eq(u64, s.io_errors, 0));
	cr_expect(eq(u32, lines_with("no space on the host"), 1), "%s", log_text);
	cr_expect(eq(u32, lines_with("nothing waits for space any more"), 1), "%s", log_text);
	close_rig(r);
}

Test(ploop_full, D8_a_write_whose_file_cannot_grow_waits_until_told)
{
	waits_and_goes_on_when_told(PL_IO_FALLOCATE, -ENOSPC);
}

Test(ploop_full, D8_a_write_over_quota_waits_until_told)
{
	waits_and_goes_on_when_told(PL_IO_WRITE, -EDQUOT);
}

Test(ploop_full, D8_a_file_at_its_size_limit_waits_until_told)
{
	waits_and_goes_on_when_told(PL_IO_WRITE, -EFBIG);
}

Test(ploop_full, D8_a_round_waits_until_told)
{
	struct rig *r = open_full(PL_IO_WRITE, -ENOSPC);
	plan.to = 0;
	write_and_turn(r);
	plan.to = UINT64_MAX;
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false));
	for (int i = 0; i < 100; i++)
		cr_assert(rig_turn(r));
	cr_expect(gt(u64, stat_of(r).full_ns, 0));
	pl_disk_retry(r->disk);
	pl_disk_retry(r->disk);
	for (int i = 0; i < 10; i++)
		cr_assert(rig_turn(r));
	cr_expect(gt(u64, stat_of(r).full_ns, 0));
	plan.to = 0;
	pl_disk_retry(r->disk);
	cr_assert(rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).full_ns, 0));
	close_rig(r);
}

static void fails_when_asked_to(uint32_t kind)
{
	struct rig *r = open_full(kind, -ENOSPC);
	r->errors_expected = true;
	write_and_turn(r);
	cr_expect(eq(u32, r->busy, 1));
	pl_disk_set_on_full(r->disk, PL_FULL_FAILS);
	cr_assert(rig_drain(r), "%s", r->why);
	struct pl_disk_stat s = stat_of(r);
	cr_expect(eq(u64, s.ops[PL_WRITE].errors, 1));
	cr_expect(eq(u64, s.full_ns, 0));
	cr_expect(eq(int, s.on_full, PL_FULL_FAILS));
	cr_expect(not(s.failed), "the disk goes on");
	cr_assert(rig_submit(r, PL_WRITE, 0, 8, 8, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).ops[PL_WRITE].errors, 2));
	pl_disk_set_on_full(r->disk, PL_FULL_WAITS);
	plan.to = 0;
	cr_assert(rig_submit(r, PL_WRITE, 0, 16, 8, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).ops[PL_WRITE].errors, 2));
	close_rig(r);
}

Test(ploop_full, a_write_fails_when_asked_to_as_the_file_cannot_grow)
{
	fails_when_asked_to(PL_IO_FALLOCATE);
}

Test(ploop_full, a_write_fails_when_asked_to_as_its_bytes_find_no_space)
{
	fails_when_asked_to(PL_IO_WRITE);
}

/* Where, precisely; and one line for many. */
Test(ploop_full, an_error_of_the_storage_is_told_once)
{
	struct rig *r = open_full(PL_IO_READ, -EIO);
	uint8_t data[4096];
	plan.to = 0;
	cr_assert(rig_submit(r, PL_WRITE, 0, RIG_CLUSTER_SECTORS + 16, 8, false) && rig_drain(r), "%s", r->why);
	uint64_t file_offset = ((uint64_t)r->disk->map.file[1] << r->disk->cluster_shift) + 8192;
	plan.to = UINT64_MAX;
	for (int i = 0; i < 10; i++)
		cr_expect(eq(int, pl_read(r->disk, data, 4096, RIG_CLUSTER_BYTES + 8192), -EIO));
	char want[200];
	snprintf(want, sizeof(want),
		 "store: memory: read failed: Input/output error guest_offset=%u file_offset=%llu length=4096",
		 RIG_CLUSTER_BYTES + 8192, (unsigned long long)file_offset);
	cr_expect(eq(u32, lines_with(want), 1), "%s in %s", want, log_text);
	cr_expect(le(u32, lines_with(" failed: "), 2), "%s", log_text); /* it may take longer than a second */
	cr_expect(eq(u64, stat_of(r).io_errors, 10));
	cr_expect(eq(u64, stat_of(r).ops[PL_READ].errors, 10));
	close_rig(r);
}
