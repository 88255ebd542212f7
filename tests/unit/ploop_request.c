/* Requests on disks in memory: what the engine promises about them, one by one; and random ones against the model. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "layout/header.h"
#include "ploop/disk_open.h"
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

TestSuite(ploop_request, .init = setup, .fini = teardown, .timeout = 120);

static const struct rig_shape small = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};

static struct rig *open_rig(const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = rig_new(loop, shape, seed);
	cr_assert(eq(str, r->why, ""));
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

Test(ploop_request, random_ones_agree_with_the_model)
{
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t last = seed + 60; seed < last; seed++) {
		struct prng p = {seed};
		struct rig_shape shape = rig_random_shape(&p);
		struct rig *r = open_rig(&shape, seed);
		cr_assert(rig_run(r, 200) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		close_rig(r);
	}
}

Test(ploop_request, what_was_written_is_there_after_close_and_open)
{
	for (uint64_t seed = 1; seed < 30; seed++) {
		struct prng p = {seed};
		struct rig_shape shape = rig_random_shape(&p);
		struct rig *r = open_rig(&shape, seed);
		for (int life = 0; life < 3; life++) {
			cr_assert(rig_run(r, 40) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
			cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
			cr_assert(rig_check_closed(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
			cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
			cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		}
		close_rig(r);
	}
}

/* ---- alignment */

Test(ploop_request, long_run_with_an_unaligned_end_stays_within_its_bounce_buffer)
{
	struct lay_header h;
	uint8_t bytes[LAY_HEADER_BYTES];
	struct medium *m = medium_new();
	uint32_t sectors = LAY_DEFAULT_CLUSTER_SECTORS;
	cr_assert(lay_header_compute(4 * sectors, sectors, LAY_V2, &h) == LAY_OK);
	lay_header_encode(&h, bytes);
	medium_write(m, bytes, sizeof(bytes), 0);
	medium_set_size(m, MIB);
	struct store *s = store_mem_open(loop, m, &(struct store_mem_options){.io_align = 4096, .mem_align = 4096});
	struct pl_image_ref ref = {.path = "memory", .dir_fd = -1};
	struct pl_chain_spec spec = {.size = sizeof(spec), .images = &ref, .count = 1};
	struct pl_open_options options = {.size = sizeof(options)};
	struct pl_disk *d;
	cr_assert(eq(int, disk_open_stores(loop, &s, &spec, &options, &d), 0), "%s", pl_error());

	uint64_t length = 3 * MIB + SECTOR_BYTES;
	uint8_t *data = aligned_alloc(4096, 4 * MIB), *back = aligned_alloc(4096, 4 * MIB);
	for (int turn = 1; turn <= 2; turn++) { /* first write, then in place and in one run */
		memset(data, turn, 4 * MIB);
		cr_assert(eq(int, pl_write(d, data, length, 0, 0), 0), "%s", pl_error());
		cr_assert(eq(int, pl_read(d, back, length, 0), 0), "%s", pl_error());
		cr_expect(zero(int, memcmp(data, back, length)));
	}
	cr_assert(eq(int, pl_disk_close(d), 0), "%s", pl_error());
	medium_free(m);
	free(data);
	free(back);
}

Test(ploop_request, neighbours_in_one_block_do_not_undo_each_other)
{
	static const struct rig_shape shape = {
		.version = 2, .clusters = 4, .depth = 1, .io_align = 4096, .mem_align = 4096};
	for (uint64_t seed = 1; seed < 100; seed++) {
		struct rig *r = open_rig(&shape, seed);
		cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
		rig_submit(r, PL_WRITE_ZEROES, 0, 0, 3, false);
		rig_submit(r, PL_WRITE, 0, 3, 1, false);
		rig_submit(r, PL_WRITE, 0, 4, 2, false);
		rig_submit(r, PL_WRITE_ZEROES, PL_NO_HOLE, 6, 2, false);
		close_rig(r);
	}
}

Test(ploop_request, zeroes_need_no_fallocate_at_any_alignment)
{
	struct rig_shape shape = {.version = 1, .clusters = 4, .depth = 2, .io_align = 4096, .mem_align = 4096};
	shape.no_punch = shape.no_zero_range = shape.no_allocate = true;
	struct rig *r = open_rig(&shape, 1);
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE_ZEROES, 0, 3, 9, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE_ZEROES, 0, 16, 8, false) && rig_drain(r), "%s", r->why);
	close_rig(r);
}

/* ---- durability */

/* The power fails now, and nothing that was not durable is left. */
static void lose_power(struct rig *r)
{
	r->power.failed = true;
	cr_assert(rig_drain(r), "%s", r->why);
	rig_close(r);
	rig_lose_power(r, &r->chain, SURVIVES_NOTHING);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, MODEL_POWER_FAILED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
}

static struct rig *open_journaled(void)
{
	struct rig *r = rig_new(loop, &small, 1);
	rig_start_journal(r, 0);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false) && rig_drain(r), "%s", r->why);
	return r;
}

Test(ploop_request, D1_flush_survives_power_failure)
{
	lose_power(open_journaled());
}

Test(ploop_request, D1_fua_write_of_zeros_over_a_fresh_discard_survives_power_failure)
{
	struct rig *r = open_journaled();
	cr_assert(rig_submit(r, PL_DISCARD, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE, PL_FUA, 0, 8, true) && rig_drain(r), "%s", r->why);
	lose_power(r);
}

Test(ploop_request, D1_fua_write_zeroes_survives_power_failure)
{
	struct rig *r = open_journaled();
	cr_assert(rig_submit(r, PL_WRITE_ZEROES, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE_ZEROES, PL_FUA, 8, 8, false) && rig_drain(r), "%s", r->why);
	lose_power(r);
}

Test(ploop_request, D1_first_flush_of_a_raw_disk_syncs_what_a_dead_server_wrote)
{
	struct rig_shape shape = small;
	shape.raw_base = true;
	struct fault_plan syncs = {.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
	struct rig *r = rig_new(loop, &shape, 1);
	r->faults = &syncs;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(eq(int, pl_flush(r->disk), 0));
	cr_expect(gt(u64, syncs.seen, 0));
	close_rig(r);
}

Test(ploop_request, D1_nothing_is_promised_after_a_failed_sync)
{
	for (uint64_t seed = 1; seed < 40; seed++) {
		struct fault_plan syncs = {.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
		struct rig *r = rig_new(loop, &small, seed);
		r->faults = &syncs;
		r->errors_expected = true;
		cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
		syncs.from = syncs.to = syncs.seen + 1;
		syncs.error = -EIO;
		for (uint64_t c = 0; c < 4; c++) {
			rig_submit(r, PL_WRITE, PL_FUA, c * RIG_CLUSTER_SECTORS, 8, false);
			rig_turn(r);
		}
		cr_assert(rig_drain(r), "%s", r->why);
		cr_expect(eq(u64, r->refused, 4));
		cr_expect(lt(int, rig_close(r), 0));
		rig_free(r);
	}
}

/* How many syncs a flush takes after a first write to cluster @c. */
static uint64_t syncs_of_a_first_write(struct rig *r, uint64_t c)
{
	uint64_t before = r->faults->seen;
	cr_assert(rig_submit(r, PL_WRITE, PL_FUA, c * RIG_CLUSTER_SECTORS, 8, false) && rig_drain(r), "%s", r->why);
	return r->faults->seen - before;
}

Test(ploop_request, D3_entry_goes_beside_its_data_only_into_durable_fresh_space_onto_a_hole)
{
	struct fault_plan syncs = {.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &syncs;
	rig_start_journal(r, 0);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_expect(eq(u64, syncs_of_a_first_write(r, 0), 2), "the file grew");
	cr_expect(eq(u64, syncs_of_a_first_write(r, 1), 1));
	cr_assert(rig_submit(r, PL_DISCARD, PL_FUA, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, syncs_of_a_first_write(r, 2), 2), "the space is not fresh");
	cr_expect(eq(u64, syncs_of_a_first_write(r, 3), 1));
	lose_power(r);
}

/* ---- space */

Test(ploop_request, discards_and_writes_without_a_flush_do_not_run_out_of_file)
{
	struct rig *r = open_rig(&small, 1);
	static const uint8_t data[RIG_CLUSTER_BYTES] = {1};
	for (int i = 0; i < 3000; i++) {
		cr_assert(eq(int, pl_write(r->disk, data, sizeof(data), 0, 0), 0), "%s", pl_error());
		cr_assert(eq(int, pl_discard(r->disk, sizeof(data), 0), 0), "%s", pl_error());
	}
	cr_expect(lt(u64, r->top->now.size_bytes, 700 * RIG_CLUSTER_BYTES));
	close_rig(r);
}

Test(ploop_request, D4_bytes_behind_the_last_whole_cluster_are_never_shown)
{
	struct rig *r = rig_new(loop, &small, 1);
	uint8_t garbage[4096];
	memset(garbage, 0x5a, sizeof(garbage));
	medium_write(r->top, garbage, sizeof(garbage), r->top->now.size_bytes);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, 0, 60, 4, false) && rig_drain(r), "%s", r->why);
	close_rig(r);
}

static void runs_out_of_space(uint32_t kind)
{
	struct fault_plan plan = {.kinds = FAULT_KIND(kind), .error = -ENOSPC};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &plan;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	plan.from = 1;
	plan.to = UINT64_MAX;
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false));
	for (int i = 0; i < 100; i++)
		rig_turn(r);
	cr_expect(eq(u32, r->busy, 1));
	uint8_t sector[SECTOR_BYTES];
	cr_expect(eq(int, pl_read(r->disk, sector, sizeof(sector), 4 * RIG_CLUSTER_BYTES), 0)); /* reads go on */
	plan.to = 0;
	close_rig(r);
}

Test(ploop_request, D8_write_waits_while_the_file_cannot_grow)
{
	runs_out_of_space(PL_IO_FALLOCATE);
}

Test(ploop_request, D8_write_waits_while_its_bytes_find_no_space)
{
	runs_out_of_space(PL_IO_WRITE);
}

Test(ploop_request, D8_flush_waits_while_the_bat_finds_no_space)
{
	struct fault_plan plan = {.kinds = FAULT_KIND(PL_IO_WRITE), .error = -ENOSPC};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &plan;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false) && rig_drain(r), "%s", r->why);
	plan.from = 1;
	plan.to = UINT64_MAX;
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false));
	for (int i = 0; i < 100; i++)
		rig_turn(r);
	cr_expect(eq(u32, r->busy, 1));
	plan.to = 0;
	close_rig(r);
}

/* ---- what else can go wrong */

Test(ploop_request, operations_cut_short_are_completed)
{
	for (uint64_t seed = 1; seed < 60; seed++) {
		struct prng p = {seed};
		struct rig_shape shape = rig_random_shape(&p);
		struct fault_plan plan = {.from = 1, .to = UINT64_MAX}; /* each */
		struct rig *r = rig_new(loop, &shape, seed);
		r->faults = &plan;
		cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
		cr_assert(rig_run(r, 80) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		close_rig(r);
	}
}

/* The N-th operation fails, or all from it on. What was flushed stays; what was acknowledged too, if the close says so.
 */
static bool fail_from(uint64_t seed, uint64_t from, uint64_t to, int error)
{
	struct prng p = {seed};
	struct rig_shape shape = rig_random_shape(&p);
	struct fault_plan plan = {.from = from, .to = to, .error = error};
	struct rig *r = rig_new(loop, &shape, seed);
	r->faults = &plan;
	r->errors_expected = true;
	bool closed = false;
	if (rig_open(r) == 0) {
		rig_run(r, 25);
		cr_assert(rig_drain(r), "SEED=%llu, op %llu: %s", (unsigned long long)seed, (unsigned long long)from,
			  r->why);
		closed = rig_close(r) == 0;
	}
	bool clean = plan.seen < from;
	plan = (struct fault_plan){0};
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, closed ? MODEL_PROCESS_DIED : MODEL_POWER_FAILED), "SEED=%llu, op %llu: %s",
		  (unsigned long long)seed, (unsigned long long)from, r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "SEED=%llu, op %llu: %s", (unsigned long long)seed, (unsigned long long)from,
		  r->why);
	rig_free(r);
	return clean;
}

Test(ploop_request, each_operation_may_fail)
{
	for (uint64_t seed = 1; seed < 12; seed++)
		for (uint64_t n = 1; !fail_from(seed, n, n, -EIO); n++)
			;
}

Test(ploop_request, a_device_may_die_at_any_operation)
{
	for (uint64_t seed = 1; seed < 12; seed++)
		for (uint64_t n = 1; !fail_from(seed, n, UINT64_MAX, -EIO); n++)
			;
}

Test(ploop_request, D9_open_without_locks_is_for_reading_only)
{
	struct pl_open_options options = {.size = sizeof(options), .flags = PL_OPEN_PEEK};
	struct pl_image_ref ref = {.path = "/nonexistent", .dir_fd = -1};
	struct pl_chain_spec spec = {.size = sizeof(spec), .images = &ref, .count = 1};
	struct pl_disk *d;
	cr_expect(eq(int, pl_disk_open(loop, &spec, &options, &d), -EINVAL));
}
