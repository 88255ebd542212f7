/* Limits of a disk: the rate is kept, both sides get on, nobody who waits is lost. And the figures. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>

#include "ploop/disk.h"
#include "tests/support/rig.h"

static struct pl_loop *loop;

static void setup(void)
{
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
}

static void teardown(void)
{
	pl_loop_free(loop);
}

TestSuite(ploop_door, .init = setup, .fini = teardown, .timeout = 120);

static const struct rig_shape small = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};

static struct rig *open_rig(void)
{
	struct rig *r = rig_new(loop, &small, 1);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	return r;
}

static void close_rig(struct rig *r)
{
	cr_assert(rig_drain(r), "%s", r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
	rig_free(r);
}

static void limit(struct rig *r, uint64_t bytes, uint64_t requests, uint32_t burst_ms)
{
	struct pl_limits limits = {sizeof(limits), bytes, requests, burst_ms};
	cr_assert(eq(int, pl_disk_set_limits(r->disk, &limits), 0), "%s", pl_error());
}

static struct pl_disk_stat stat_of(const struct rig *r)
{
	struct pl_disk_stat stat = {.size = sizeof(stat)};
	pl_disk_get_stat(r->disk, &stat);
	return stat;
}

static uint64_t run_ns(struct rig *r, uint32_t requests, uint32_t sectors)
{
	uint64_t begin = pl_now_ns();
	for (uint32_t i = 0; i < requests; i++)
		cr_assert(rig_submit(r, i % 2 ? PL_READ : PL_WRITE, 0, i % 64, sectors, false), "%s", r->why);
	cr_assert(rig_drain(r), "%s", r->why);
	return pl_now_ns() - begin;
}

/* A slow machine makes it longer, nothing makes it shorter. */
Test(ploop_door, no_more_requests_than_the_limit_says)
{
	struct rig *r = open_rig();
	limit(r, 0, 1000, 10);
	cr_expect(ge(u64, run_ns(r, 300, 8), 289 * NS_PER_MS));
	cr_expect(ge(u64, stat_of(r).limited, 280));
	close_rig(r);
}

Test(ploop_door, no_more_bytes_than_the_limit_says)
{
	struct rig *r = open_rig();
	limit(r, 1 << 20, 0, 10);
	cr_expect(ge(u64, run_ns(r, 40, 16), (40 - 1) * NS_PER_S / 128 - 11 * NS_PER_MS));
	close_rig(r);
}

Test(ploop_door, what_a_pause_left_over_may_be_used_up_to_the_burst)
{
	struct rig *r = open_rig();
	limit(r, 0, 100, 100);
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false) && rig_drain(r), "%s", r->why);
	for (uint64_t until = pl_now_ns() + 200 * NS_PER_MS; pl_now_ns() < until;)
		pl_loop_step(loop, false);
	uint64_t before = stat_of(r).limited;
	for (uint32_t i = 0; i < 11; i++) /* the burst, and the one that is allowed anyhow */
		cr_assert(rig_submit(r, PL_WRITE, 0, i, 1, false), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).limited_now, 0));
	cr_assert(rig_submit(r, PL_WRITE, 0, 20, 1, false), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).limited_now, 1));
	cr_assert(rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).limited, before + 1));
	close_rig(r);
}

static const struct rig_slot *order[RIG_SLOTS];
static uint32_t ended;

static void note_end(struct pl_req *req)
{
	order[ended++] = req->owner;
}

/* Six writes wait; reads that come later do not wait for all of them. */
Test(ploop_door, reads_and_writes_take_turns)
{
	struct rig *r = open_rig();
	static struct pl_req requests[12];
	static uint8_t data[4096];
	limit(r, 1 << 20, 0, 1);
	for (uint32_t i = 0; i < 12; i++) {
		requests[i] = (struct pl_req){.done = note_end, .owner = &r->slots[i], .op = i < 6 ? PL_WRITE : PL_READ,
					      .buf_index = PL_IO_NO_BUFFER, .buf = data, .length_bytes = sizeof(data)};
		pl_submit(r->disk, &requests[i]);
	}
	ended = 0;
	while (ended < 12)
		cr_assert(eq(int, pl_loop_step(loop, true), 0));
	uint32_t reads_in_first_half = 0;
	for (uint32_t i = 0; i < 6; i++)
		reads_in_first_half += order[i] >= &r->slots[6];
	cr_expect(ge(u32, reads_in_first_half, 2));
	cr_expect(le(u32, reads_in_first_half, 4));
	cr_expect(rig_settle(r), "%s", r->why);
	close_rig(r);
}

Test(ploop_door, a_flush_is_free)
{
	struct rig *r = open_rig();
	limit(r, 0, 1, 1);
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE, 0, 8, 8, false), "%s", r->why);
	cr_expect(eq(int, pl_flush(r->disk), 0));
	cr_expect(eq(u64, stat_of(r).limited_now, 1));
	limit(r, 0, 0, 0);
	close_rig(r);
}

Test(ploop_door, who_waits_obeys_the_new_limit)
{
	struct rig *r = open_rig();
	limit(r, 0, 1, 1);
	for (uint32_t i = 0; i < 10; i++)
		cr_assert(rig_submit(r, PL_WRITE, 0, i, 1, false), "%s", r->why);
	cr_expect(ge(u64, stat_of(r).limited_now, 8));
	limit(r, 0, 0, 0);
	cr_expect(eq(u64, stat_of(r).limited_now, 0));
	close_rig(r);
}

Test(ploop_door, who_waits_is_served_before_the_disk_closes)
{
	struct rig *r = open_rig();
	limit(r, 0, 1, 1);
	for (uint32_t i = 0; i < 10; i++)
		cr_assert(rig_submit(r, PL_WRITE, 0, i, 1, false), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_expect(eq(u32, r->busy, 0));
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	close_rig(r);
}

Test(ploop_door, who_waits_outlives_a_switch)
{
	struct rig *r = open_rig();
	limit(r, 0, 50, 1);
	for (uint32_t i = 0; i < 10; i++)
		cr_assert(rig_submit(r, PL_WRITE, 0, i, 1, false), "%s", r->why);
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(u32, r->change.done, 1));
	close_rig(r);
}

Test(ploop_door, a_burst_has_a_limit)
{
	struct rig *r = open_rig();
	struct pl_limits limits = {sizeof(limits), 1, 1, DOOR_MAX_BURST_MS + 1};
	cr_expect(eq(int, pl_disk_set_limits(r->disk, &limits), -EINVAL));
	cr_expect(eq(u64, stat_of(r).limits.requests_per_s, 0));
	close_rig(r);
}

static uint64_t sum_of(const struct pl_op_stat *op)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < PL_LATENCY_BUCKETS; i++)
		sum += op->latency[i];
	return sum;
}

Test(ploop_door, figures_count_what_the_guest_asked_for)
{
	struct rig *r = open_rig();
	struct pl_disk_stat before = stat_of(r);
	for (uint32_t i = 0; i < 5; i++)
		cr_assert(rig_submit(r, PL_WRITE, 0, i * RIG_CLUSTER_SECTORS, 8, false), "%s", r->why);
	cr_expect(eq(u64, stat_of(r).in_flight, 5));
	cr_assert(rig_submit(r, PL_READ, 0, 0, 24, false) && rig_submit(r, PL_FLUSH, 0, 0, 0, false), "%s", r->why);
	cr_assert(rig_submit(r, PL_DISCARD, 0, 0, 8, false) && rig_drain(r), "%s", r->why);
	struct pl_disk_stat s = stat_of(r);
	static const struct {
		enum pl_op op;
		uint64_t requests, bytes;
	} rows[] = {{PL_WRITE, 5, 5 * 4096}, {PL_READ, 1, 24 * 512}, {PL_FLUSH, 1, 0}, {PL_DISCARD, 1, 4096}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct pl_op_stat *op = &s.ops[rows[i].op], *was = &before.ops[rows[i].op];
		cr_expect(eq(u64, op->requests - was->requests, rows[i].requests), "row %zu", i);
		cr_expect(eq(u64, op->bytes - was->bytes, rows[i].bytes), "row %zu", i);
		cr_expect(eq(u64, sum_of(op), op->requests), "row %zu", i);
		cr_expect(eq(u64, op->errors, 0), "row %zu", i);
	}
	cr_expect(eq(u64, s.in_flight, 0));
	cr_expect(eq(u64, s.first_writes, 5));
	cr_expect(gt(u64, s.rounds, before.rounds));
	cr_expect(gt(u64, s.ops[PL_WRITE].time_ns, 0));
	close_rig(r);
}

Test(ploop_door, a_smaller_struct_gets_what_fits)
{
	struct rig *r = open_rig();
	struct pl_disk_stat s = {.size = offsetof(struct pl_disk_stat, in_flight), .in_flight = 4711};
	pl_disk_get_stat(r->disk, &s);
	cr_expect(eq(u64, s.in_flight, 4711));
	cr_expect(eq(u64, s.size, offsetof(struct pl_disk_stat, in_flight)));
	close_rig(r);
}
