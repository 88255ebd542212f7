/* Merging neighbours under a running disk: every kind, at any moment, ended early, with faults. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ploop/lock.h"
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

TestSuite(ploop_merge, .init = setup, .fini = teardown, .timeout = 120);

static const struct rig_shape four = {.version = 2, .clusters = 12, .depth = 4, .io_align = 512, .mem_align = 512};

static struct rig *open_rig(const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = rig_new(loop, shape, seed);
	cr_assert(eq(str, r->why, ""));
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	return r;
}

static void reopen(struct rig *r)
{
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
}

/* What is there now is there after a close too, in any chain that the descriptor may name. */
static void close_rig(struct rig *r, uint64_t seed)
{
	cr_assert(rig_drain(r) && rig_wait(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	reopen(r);
	if (r->other.depth > 0) {
		r->chain = r->other;
		reopen(r);
	}
	rig_free(r);
}

static void merge(struct rig *r, uint32_t child, enum pl_merge_into into)
{
	rig_merge(r, child, into);
	cr_assert(rig_wait(r), "%s", r->why);
}

static uint32_t depth(const struct rig *r)
{
	struct pl_disk_info info;
	pl_disk_get_info(r->disk, &info);
	return info.depth;
}

static void turns(struct rig *r, uint64_t n)
{
	while (n--)
		cr_assert(rig_turn(r), "%s", r->why);
}

/* ---- requests go on */

Test(ploop_merge, random_ones_agree_with_the_model_while_images_are_merged)
{
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t last = seed + 50; seed < last; seed++) {
		struct prng p = {seed};
		struct rig_shape shape = rig_random_shape(&p);
		struct rig *r = open_rig(&shape, seed);
		r->changes_percent = 8;
		r->merges = true;
		cr_assert(rig_run(r, 250) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		close_rig(r, seed);
	}
}

/* @k requests are under way when it begins, and more come until it is over. */
static void merge_among(uint32_t child, enum pl_merge_into into, uint32_t k, uint64_t seed)
{
	struct prng p = {seed};
	struct rig_shape shape = rig_random_shape(&p);
	shape.depth = 4;
	shape.raw_base = shape.raw_base && (child != 1 || into == PL_INTO_PARENT);
	struct rig *r = open_rig(&shape, seed);
	cr_assert(rig_run(r, 10), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	for (uint32_t i = 0; i < k; i++)
		rig_random_op(r);
	rig_merge(r, child, into);
	while (r->change.kind != RIG_NO_CHANGE)
		cr_assert(rig_run(r, 3), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_expect(eq(u32, depth(r), 3));
	close_rig(r, seed);
}

static void merge_many(uint32_t child, enum pl_merge_into into)
{
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t last = seed + 12; seed < last; seed++)
		for (uint32_t k = 0; k < RIG_SLOTS; k += 5)
			merge_among(child, into, k, seed);
}

Test(ploop_merge, a_sealed_pair_into_its_parent)
{
	merge_many(1, PL_INTO_PARENT);
	merge_many(2, PL_INTO_PARENT);
}

Test(ploop_merge, a_sealed_pair_into_its_child)
{
	merge_many(1, PL_INTO_CHILD);
	merge_many(2, PL_INTO_CHILD);
}

Test(ploop_merge, the_top_into_its_parent)
{
	merge_many(3, PL_INTO_PARENT);
}

Test(ploop_merge, the_image_below_into_the_top)
{
	merge_many(3, PL_INTO_CHILD);
}

Test(ploop_merge, a_long_chain_becomes_one_image)
{
	for (uint64_t seed = 1; seed < 10; seed++) {
		struct rig_shape shape = four;
		shape.depth = RIG_MAX_DEPTH;
		shape.raw_base = seed % 3 == 0;
		struct rig *r = open_rig(&shape, seed);
		while (depth(r) > 1) {
			uint32_t child = 1 + prng_below(&r->random, depth(r) - 1);
			bool down = (child == 1 && shape.raw_base) || prng_percent(&r->random, 50);
			rig_merge(r, child, down ? PL_INTO_PARENT : PL_INTO_CHILD);
			cr_assert(rig_run(r, 10) && rig_wait(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		}
		cr_expect(eq(u32, r->chain.depth, 1));
		close_rig(r, seed);
	}
}

/* The caller commits the descriptor when it suits him: until then the disk may be opened with both images. */
static void write_after(uint32_t shape_depth, uint32_t child, enum pl_merge_into into, enum pl_op op)
{
	for (uint64_t seed = 1; seed < 6; seed++) {
		struct rig_shape shape = four;
		shape.depth = shape_depth;
		struct rig *r = open_rig(&shape, seed);
		cr_assert(rig_run(r, 20) && rig_drain(r), "%s", r->why);
		merge(r, child, into);
		for (uint64_t c = 0; c < shape.clusters; c++)
			rig_submit(r, op, 0, c * RIG_CLUSTER_SECTORS, RIG_CLUSTER_SECTORS, false);
		close_rig(r, seed);
	}
}

Test(ploop_merge, either_chain_reads_right_after_what_is_written_next)
{
	static const enum pl_op ops[] = {PL_WRITE, PL_WRITE_ZEROES, PL_DISCARD};
	for (uint32_t i = 0; i < ARRAY_LEN(ops); i++)
		for (uint32_t child = 1; child < 4; child++) {
			write_after(4, child, PL_INTO_PARENT, ops[i]);
			write_after(4, child, PL_INTO_CHILD, ops[i]);
		}
	write_after(2, 1, PL_INTO_PARENT, PL_WRITE_ZEROES);
	write_after(2, 1, PL_INTO_CHILD, PL_WRITE_ZEROES);
}

/* ---- ended early */

static void cancel_after(uint32_t child, enum pl_merge_into into, uint32_t after)
{
	struct rig *r = open_rig(&four, after);
	cr_assert(rig_run(r, 8), "%s", r->why);
	rig_merge(r, child, into);
	turns(r, after);
	rig_cancel(r);
	cr_assert(rig_run(r, 5) && rig_wait(r), "%u: %s", after, r->why);
	cr_assert(rig_drain(r) && rig_judge(r, MODEL_PROCESS_DIED), "%u: %s", after, r->why);
	if (r->change.change.res == -ECANCELED)
		merge(r, child, into); /* goes on where it was */
	cr_expect(eq(u32, depth(r), 3));
	close_rig(r, after);
}

Test(ploop_merge, each_kind_may_be_cancelled_at_any_moment)
{
	for (uint32_t after = 0; after < 60; after += 1 + after / 8)
		for (uint32_t child = 1; child < 4; child++) {
			cancel_after(child, PL_INTO_PARENT, after);
			cancel_after(child, PL_INTO_CHILD, after);
		}
}

static void close_after(uint32_t child, enum pl_merge_into into, uint32_t after)
{
	struct rig *r = open_rig(&four, after);
	cr_assert(rig_run(r, 8), "%s", r->why);
	rig_merge(r, child, into);
	turns(r, after);
	cr_assert(eq(int, rig_close(r), 0), "%u: %s", after, pl_error());
	cr_assert(rig_check_closed(r), "%u: %s", after, r->why);
	reopen(r);
	rig_free(r);
}

Test(ploop_merge, a_disk_closes_while_it_merges)
{
	for (uint32_t after = 0; after < 60; after += 1 + after / 8)
		for (uint32_t child = 1; child < 4; child++) {
			close_after(child, PL_INTO_PARENT, after);
			close_after(child, PL_INTO_CHILD, after);
		}
}

/* ---- faults */

/* From the @from-th operation to the @to-th all fail, in any image. What was flushed stays; it can be done again. */
static bool fail_between(uint32_t child, enum pl_merge_into into, uint64_t from, uint64_t to, int error)
{
	struct fault_plan plan = {0};
	struct rig *r = rig_new(loop, &four, 1);
	r->faults = &plan;
	r->faults_everywhere = r->errors_expected = true;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_run(r, 6), "%s", r->why);
	plan = (struct fault_plan){.from = from, .to = to, .error = error};
	rig_merge(r, child, into);
	cr_assert(rig_run(r, 8) && rig_drain(r) && rig_wait(r), "op %llu: %s", (unsigned long long)from, r->why);
	bool reached = plan.seen >= from;
	bool closed = rig_close(r) == 0;
	plan = (struct fault_plan){0};
	cr_assert(eq(int, rig_settle_lower(r), 0), "op %llu: %s", (unsigned long long)from, pl_error());
	cr_assert(eq(int, rig_open(r), 0), "op %llu: %s", (unsigned long long)from, pl_error());
	cr_assert(rig_judge(r, closed ? MODEL_PROCESS_DIED : MODEL_POWER_FAILED), "op %llu: %s",
		  (unsigned long long)from, r->why);
	r->errors_expected = false;
	if (depth(r) == 4) {
		cr_assert(rig_settle(r), "%s", r->why);
		merge(r, child, into);
	}
	cr_assert(eq(int, rig_close(r), 0), "op %llu: %s", (unsigned long long)from, pl_error());
	cr_assert(rig_check_closed(r), "op %llu: %s", (unsigned long long)from, r->why);
	rig_free(r);
	return reached;
}

static void each_may_fail(uint32_t child, enum pl_merge_into into)
{
	for (uint64_t n = 1; fail_between(child, into, n, n, -EIO); n++)
		;
	for (uint64_t n = 1; fail_between(child, into, n, UINT64_MAX, -EIO); n++)
		;
	for (uint64_t n = 1; fail_between(child, into, n, n, 0); n += 3) /* cut short */
		;
}

Test(ploop_merge, each_operation_of_a_sealed_pair_may_fail)
{
	each_may_fail(2, PL_INTO_PARENT);
	each_may_fail(2, PL_INTO_CHILD);
}

Test(ploop_merge, each_operation_of_the_top_into_its_parent_may_fail)
{
	each_may_fail(3, PL_INTO_PARENT);
}

Test(ploop_merge, each_operation_of_a_merge_into_the_top_may_fail)
{
	each_may_fail(3, PL_INTO_CHILD);
}

/* D8: the host is full for a while. The merge may give up; the disk goes on, and then it can be merged. */
static void host_is_full(uint32_t child, enum pl_merge_into into)
{
	struct fault_plan plan = {.kinds = FAULT_KIND(PL_IO_FALLOCATE), .error = -ENOSPC};
	struct rig *r = rig_new(loop, &four, 1);
	r->faults = &plan;
	r->faults_everywhere = r->errors_expected = true;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	plan.from = 1;
	plan.to = UINT64_MAX;
	rig_merge(r, child, into);
	turns(r, 300);
	uint8_t sector[SECTOR_BYTES];
	cr_expect(eq(int, pl_read(r->disk, sector, sizeof(sector), 0), 0), "%s", pl_error());
	plan.to = 0;
	cr_assert(rig_wait(r), "%s", r->why);
	while (depth(r) == 4) /* it looks for space each second */
		merge(r, child, into);
	r->errors_expected = false;
	close_rig(r, 1);
}

Test(ploop_merge, D8_a_full_host_stops_no_disk)
{
	for (uint32_t child = 1; child < 4; child++) {
		host_is_full(child, PL_INTO_PARENT);
		host_is_full(child, PL_INTO_CHILD);
	}
}

/* ---- refused */

static void must_refuse(struct rig *r, uint32_t child, enum pl_merge_into into, int error)
{
	r->errors_expected = true;
	rig_merge(r, child, into);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, error), "%s", r->change.change.error);
	cr_expect(ne(str, r->change.change.error, ""));
	r->errors_expected = false;
}

static void end_of_other(struct pl_change *c)
{
	*(bool *)c->owner = true;
}

static int other_merge(struct rig *r, uint32_t child)
{
	bool over = false;
	struct pl_change change = {.done = end_of_other, .owner = &over};
	pl_disk_merge(r->disk, child, PL_INTO_CHILD, &change);
	cr_expect(not(over), "done() ran inside the call");
	while (!over)
		rig_turn(r);
	cr_expect(ne(str, change.error, ""));
	return change.res;
}

Test(ploop_merge, what_cannot_be_merged_is_refused)
{
	struct rig_shape shape = four;
	shape.raw_base = true;
	struct rig *r = open_rig(&shape, 1);
	cr_expect(eq(int, other_merge(r, 0), -EINVAL));
	cr_expect(eq(int, other_merge(r, 4), -EINVAL));
	cr_expect(eq(int, other_merge(r, UINT32_MAX), -EINVAL));
	must_refuse(r, 1, PL_INTO_CHILD, -EINVAL); /* nothing can follow a raw base but it */
	rig_merge(r, 2, PL_INTO_CHILD);
	cr_expect(eq(int, other_merge(r, 1), -EBUSY));
	cr_assert(rig_wait(r), "%s", r->why);
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	cr_expect(eq(int, other_merge(r, 1), -EBUSY));
	rig_abandon(r);
	close_rig(r, 1);
}

Test(ploop_merge, a_disk_that_is_only_read_is_not_merged)
{
	struct rig *r = rig_new(loop, &four, 1);
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	cr_expect(eq(int, other_merge(r, 2), -EROFS));
	cr_assert(eq(int, rig_close(r), 0));
	rig_free(r);
}

/* ---- in files */

static char dir[64];

static void remove_files(struct rig *r)
{
	char path[128];
	for (uint32_t i = 0; i < r->files; i++) {
		snprintf(path, sizeof(path), "%s/level-%u", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

static struct rig *open_in_files(enum pl_backend backend, uint64_t seed)
{
	struct pl_loop_options o = {.size = sizeof(o), .backend = backend};
	struct rig_shape shape = {.version = 2, .clusters = 24, .depth = 5, .raw_base = seed % 2, .dir = dir};
	snprintf(dir, sizeof(dir), "/tmp/merge-XXXXXX");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	pl_loop_free(loop);
	cr_assert(eq(int, pl_loop_new(&o, &loop), 0), "%s", pl_error());
	return open_rig(&shape, seed);
}

static void in_files(enum pl_backend backend)
{
	for (uint64_t seed = prng_seed(1), last = seed + 4; seed < last; seed++) {
		struct rig *r = open_in_files(backend, seed);
		r->changes_percent = 8;
		r->merges = true;
		cr_assert(rig_run(r, 150) && rig_wait(r) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed,
			  r->why);
		cr_expect(gt(u32, r->change.done, 0));
		cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
		cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
		cr_expect(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
		rig_close(r);
		remove_files(r);
		rig_free(r);
	}
}

Test(ploop_merge, works_in_files_on_threads)
{
	in_files(PL_BACKEND_PLAIN);
}

Test(ploop_merge, works_in_files_on_what_the_kernel_offers)
{
	in_files(PL_BACKEND_AUTO);
}

Test(ploop_merge, D10_an_image_that_somebody_else_reads_is_not_written)
{
	char path[128];
	struct rig *r = open_in_files(PL_BACKEND_AUTO, 2);
	snprintf(path, sizeof(path), "%s/level-1", dir);
	int reader = open(path, O_RDWR);
	cr_assert(eq(int, lock_image(reader, LOCK_READER, 0, path), 0), "%s", pl_error());
	must_refuse(r, 2, PL_INTO_PARENT, -EBUSY);
	must_refuse(r, 1, PL_INTO_CHILD, -EBUSY);
	cr_assert(rig_run(r, 20) && rig_drain(r), "%s", r->why);
	lock_drop(reader);
	close(reader);
	merge(r, 2, PL_INTO_PARENT);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	remove_files(r);
	rig_free(r);
}
