/* A new top under a running disk: requests at every moment of it, and what may go wrong. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout/header.h"
#include "ploop/switch.h"
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

TestSuite(ploop_switch, .init = setup, .fini = teardown, .timeout = 120);

static const struct rig_shape small = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};

static struct rig *open_rig(const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = rig_new(loop, shape, seed);
	cr_assert(eq(str, r->why, ""));
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	return r;
}

static void reopen_and_free(struct rig *r, enum model_event event)
{
	cr_assert(eq(int, rig_settle_lower(r), 0), "%s", pl_error());
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, event), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
	rig_free(r);
}

/* What is there now is there after a close, too. */
static void close_rig(struct rig *r)
{
	cr_assert(rig_drain(r) && rig_wait(r), "%s", r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
	reopen_and_free(r, MODEL_PROCESS_DIED);
}

static uint32_t depth(const struct rig *r)
{
	struct pl_disk_info info;
	pl_disk_get_info(r->disk, &info);
	return info.depth;
}

/* Until requests go to the new top; the old one may not be sealed yet. */
static void push_and_turn_to_switch(struct rig *r)
{
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	rig_switch(r, NULL);
	while (depth(r) < r->chain.depth)
		cr_assert(rig_turn(r), "%s", r->why);
}

static void change_top(struct rig *r)
{
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
}

static void turns(struct rig *r, int n)
{
	while (n--)
		cr_assert(rig_turn(r), "%s", r->why);
}

/* ---- requests go on */

Test(ploop_switch, random_ones_agree_with_the_model_while_the_top_changes)
{
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t last = seed + 60; seed < last; seed++) {
		struct prng p = {seed};
		struct rig_shape shape = rig_random_shape(&p);
		struct rig *r = open_rig(&shape, seed);
		r->changes_percent = 8;
		cr_assert(rig_run(r, 250) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
		close_rig(r);
	}
}

/* @k requests are under way when it begins, and as many follow at once: reads, writes, flushes, all kinds. */
static void switch_among(uint32_t k, uint64_t seed)
{
	struct prng p = {seed};
	struct rig_shape shape = rig_random_shape(&p);
	shape.depth = 1 + shape.depth % 3;
	struct rig *r = open_rig(&shape, seed);
	cr_assert(rig_run(r, 10) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	for (uint32_t i = 0; i < k; i++)
		rig_random_op(r);
	rig_switch(r, NULL);
	for (uint32_t i = 0; i < k; i++)
		rig_random_op(r);
	cr_assert(rig_wait(r) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed, r->why);
	cr_expect(eq(u32, depth(r), shape.depth + 1));
	cr_expect(eq(u32, r->change.done, 1));
	close_rig(r);
}

Test(ploop_switch, any_requests_may_be_under_way_when_it_begins)
{
	uint64_t seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t last = seed + 20; seed < last; seed++)
		for (uint32_t k = 0; k < RIG_SLOTS; k += 1 + k / 4)
			switch_among(k, seed);
}

Test(ploop_switch, a_disk_closes_while_it_changes)
{
	for (uint64_t seed = 1; seed < 80; seed++) {
		struct rig *r = open_rig(&small, seed);
		cr_assert(rig_run(r, 6), "%s", r->why);
		cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
		rig_switch(r, NULL);
		turns(r, (int)(seed % 16));
		cr_assert(eq(int, rig_close(r), 0), "SEED=%llu: %s", (unsigned long long)seed, pl_error());
		cr_assert(eq(int, r->change.kind, RIG_NO_CHANGE));
		cr_assert(rig_check_closed(r), "%s", r->why);
		reopen_and_free(r, MODEL_PROCESS_DIED);
	}
}

Test(ploop_switch, what_is_pushed_can_be_forgotten)
{
	struct rig *r = open_rig(&small, 1);
	for (int i = 0; i < 3; i++) {
		cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
		cr_assert(rig_run(r, 10), "%s", r->why);
		rig_abandon(r);
		cr_assert(rig_run(r, 10), "%s", r->why);
	}
	change_top(r);
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error()); /* still there when the disk is closed */
	close_rig(r);
}

static void in_files(enum pl_backend backend)
{
	char dir[] = "/tmp/switch-XXXXXX", path[64];
	struct pl_loop_options o = {.size = sizeof(o), .backend = backend};
	struct rig_shape shape = {.version = 2, .clusters = 24, .depth = 2, .dir = dir};
	pl_loop_free(loop);
	cr_assert(eq(int, pl_loop_new(&o, &loop), 0), "%s", pl_error());
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	struct rig *r = open_rig(&shape, prng_seed(1));
	for (int i = 0; i < 8; i++) {
		cr_assert(rig_run(r, 30), "%s", r->why);
		cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
		rig_switch(r, NULL);
		cr_assert(rig_run(r, 30) && rig_wait(r), "%s", r->why);
	}
	cr_assert(rig_drain(r) && rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	cr_expect(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	rig_close(r);
	for (uint32_t i = 0; i < r->files; i++) {
		snprintf(path, sizeof(path), "%s/level-%u", dir, i);
		unlink(path);
	}
	rig_free(r);
	rmdir(dir);
}

Test(ploop_switch, works_in_files_on_threads)
{
	in_files(PL_BACKEND_PLAIN);
}

Test(ploop_switch, works_in_files_on_what_the_kernel_offers)
{
	in_files(PL_BACKEND_AUTO);
}

/* ---- durability */

static struct rig *open_journaled(void)
{
	struct rig *r = rig_new(loop, &small, 1);
	rig_start_journal(r, 0);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	return r;
}

/* The power fails now; of what was not durable nothing is left. */
static void lose_power(struct rig *r)
{
	r->power.failed = true;
	for (uint32_t i = 0; i < r->chain.depth; i++)
		r->chain.at[i].m->stuck = false;
	cr_assert(rig_drain(r) && rig_wait(r), "%s", r->why);
	rig_close(r);
	rig_lose_power(r, &r->chain, SURVIVES_NOTHING);
	reopen_and_free(r, MODEL_POWER_FAILED);
}

Test(ploop_switch, D1_a_flush_waits_for_the_old_top_too)
{
	struct rig *r = open_journaled();
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	push_and_turn_to_switch(r);
	r->chain.at[0].m->stuck = true;
	cr_assert(rig_submit(r, PL_WRITE, 0, 3 * RIG_CLUSTER_SECTORS, 8, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false));
	turns(r, 300);
	cr_expect(eq(u32, r->busy, 1), "a flush was acknowledged before the old top was durable");
	r->chain.at[0].m->stuck = false;
	cr_assert(rig_drain(r), "%s", r->why);
	lose_power(r);
}

Test(ploop_switch, D1_fua_zeros_where_the_old_top_had_data_survive)
{
	struct rig *r = open_journaled();
	cr_assert(rig_submit(r, PL_WRITE, PL_FUA, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_DISCARD, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	push_and_turn_to_switch(r);
	r->chain.at[0].m->stuck = true;
	cr_assert(rig_submit(r, PL_WRITE_ZEROES, PL_FUA, 0, 8, false));
	turns(r, 300);
	lose_power(r);
}

Test(ploop_switch, reads_and_writes_go_on_while_the_old_top_is_sealed)
{
	struct rig *r = open_journaled();
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	push_and_turn_to_switch(r);
	r->chain.at[0].m->stuck = true;
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_READ, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(int, r->change.kind, RIG_SWITCH));
	r->chain.at[0].m->stuck = false;
	close_rig(r);
}

/* A sync of the old top fails: the @nth of the seal. */
static void sync_fails(uint32_t nth)
{
	struct fault_plan syncs = {.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &syncs;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, PL_FUA, 0, 8, false) && rig_drain(r), "%s", r->why);
	cr_assert(rig_submit(r, PL_WRITE, 0, RIG_CLUSTER_SECTORS, 8, false) && rig_drain(r), "%s", r->why);
	r->errors_expected = true;
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	syncs.from = syncs.to = syncs.seen + nth;
	syncs.error = -EIO;
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, -EIO));
	cr_expect(ne(str, r->change.change.error, ""));
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, r->refused, 1), "a promise was made after a sync had failed");
	cr_expect(lt(int, rig_close(r), 0));
	r->faults = NULL;
	reopen_and_free(r, MODEL_POWER_FAILED);
}

Test(ploop_switch, D1_nothing_is_promised_after_a_sync_of_the_old_top_failed)
{
	sync_fails(1);
	sync_fails(2);
	sync_fails(3);
}

Test(ploop_switch, D1_a_disk_that_has_failed_gets_no_new_top)
{
	struct fault_plan syncs = {.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &syncs;
	r->errors_expected = true;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false) && rig_drain(r), "%s", r->why);
	syncs.from = syncs.to = syncs.seen + 1;
	syncs.error = -EIO;
	cr_assert(rig_submit(r, PL_FLUSH, 0, 0, 0, false) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u64, r->refused, 1));
	if (rig_push(r) == 0) {
		rig_switch(r, NULL);
		cr_assert(rig_wait(r), "%s", r->why);
		cr_expect(lt(int, r->change.change.res, 0), "the old top was closed, though it has lost data");
	}
	cr_expect(lt(int, rig_close(r), 0));
	rig_free(r);
}

/* ---- refused */

Test(ploop_switch, D8_it_gives_up_when_a_request_does_not_end_and_can_be_asked_again)
{
	struct pl_switch_options brief = {.size = sizeof(brief), .wait_ms = 30};
	struct fault_plan plan = {.kinds = FAULT_KIND(PL_IO_FALLOCATE), .error = -ENOSPC};
	struct rig *r = rig_new(loop, &small, 1);
	r->faults = &plan;
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	plan.from = 1;
	plan.to = UINT64_MAX;
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false));
	turns(r, 100);
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	r->errors_expected = true;
	rig_switch(r, &brief);
	cr_assert(rig_submit(r, PL_READ, 0, 4 * RIG_CLUSTER_SECTORS, 8, false)); /* held for a while */
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, -EAGAIN));
	cr_expect(eq(u32, depth(r), 1));
	turns(r, 100);
	cr_expect(eq(u32, r->busy, 1), "the read does not go on");
	r->errors_expected = false;
	plan.to = 0;
	cr_assert(rig_drain(r), "%s", r->why);
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(u32, depth(r), 2));
	close_rig(r);
}

static void end_of_other(struct pl_change *c)
{
	*(bool *)c->owner = true;
}

/* What another change is answered. */
static int other_change(struct rig *r)
{
	bool over = false;
	struct pl_switch_options o = {.size = sizeof(o)};
	struct pl_change change = {.done = end_of_other, .owner = &over};
	pl_disk_switch(r->disk, &o, &change);
	cr_expect(not(over), "done() ran inside the call");
	while (!over)
		rig_turn(r);
	cr_expect(ne(str, change.error, ""));
	return change.res;
}

Test(ploop_switch, one_change_at_a_time)
{
	struct rig *r = open_rig(&small, 1);
	cr_expect(eq(int, other_change(r), -ENOENT)); /* nothing was pushed */
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	struct medium *second = rig_blank_medium(r);
	cr_expect(eq(int, disk_push_store(r->disk, store_mem_open(loop, second, NULL)), -EBUSY));
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, 8, false));
	rig_switch(r, NULL);
	cr_expect(eq(int, other_change(r), -EBUSY));
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(u32, r->change.done, 1));
	close_rig(r);
}

/* An image that does not fit is refused and stays as it is. */
static void must_refuse(struct rig *r, struct medium *m, int error)
{
	uint8_t before[LAY_HEADER_BYTES + 4], after[sizeof(before)];
	medium_read(m, before, sizeof(before), 0);
	m->sealed = true;
	int res = disk_push_store(r->disk, store_mem_open(loop, m, NULL));
	cr_expect(eq(int, res, error), "%s", pl_error());
	cr_expect(ne(str, (char *)pl_error(), ""));
	medium_read(m, after, sizeof(after), 0);
	cr_expect(zero(int, memcmp(before, after, sizeof(before))));
}

static struct medium *image_of(struct rig *r, uint64_t sectors, uint32_t cluster_sectors, enum lay_version version)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h;
	struct medium *m = rig_blank_medium(r);
	cr_assert(lay_header_compute(sectors, cluster_sectors, version, &h) == LAY_OK);
	lay_header_encode(&h, bytes);
	medium_write(m, bytes, sizeof(bytes), 0);
	medium_set_size(m, (uint64_t)h.first_block_sectors * SECTOR_BYTES);
	return m;
}

Test(ploop_switch, D9_an_image_that_does_not_fit_is_refused)
{
	struct rig *r = open_rig(&small, 1);
	must_refuse(r, image_of(r, r->sectors + 64, RIG_CLUSTER_SECTORS, LAY_V2), -EINVAL);
	must_refuse(r, image_of(r, r->sectors, 2 * RIG_CLUSTER_SECTORS, LAY_V2), -EINVAL);
	must_refuse(r, image_of(r, r->sectors, RIG_CLUSTER_SECTORS, LAY_V1), -EINVAL);
	struct medium *foreign = image_of(r, r->sectors, RIG_CLUSTER_SECTORS, LAY_V2);
	medium_write(foreign, "not ours", 8, 0);
	must_refuse(r, foreign, -EMEDIUMTYPE);
	change_top(r); /* and one that fits is still welcome */
	close_rig(r);
}

static struct medium *image_with_entry(struct rig *r, const char *cluster)
{
	struct medium *m = rig_blank_medium(r);
	medium_write(m, cluster, 1, LAY_HEADER_BYTES);
	return m;
}

Test(ploop_switch, D9_an_image_with_an_entry_is_not_empty)
{
	struct rig *r = open_rig(&small, 1);
	must_refuse(r, image_with_entry(r, "\x40"), -EUCLEAN); /* behind the end of the file */
	struct medium *m = image_with_entry(r, "\1");
	medium_set_size(m, m->now.size_bytes + RIG_CLUSTER_BYTES);
	must_refuse(r, m, -EUCLEAN);
	close_rig(r);
}

Test(ploop_switch, D4_what_lies_behind_the_header_of_an_empty_image_is_never_shown)
{
	static uint8_t garbage[3 * RIG_CLUSTER_BYTES];
	struct rig *r = open_rig(&small, 1);
	struct medium *m = rig_blank_medium(r);
	memset(garbage, 0x5a, sizeof(garbage));
	medium_write(m, garbage, sizeof(garbage) - 512, m->now.size_bytes);
	cr_assert(eq(int, disk_push_store(r->disk, store_mem_open(loop, m, NULL)), 0), "%s", pl_error());
	bool over = false;
	struct pl_switch_options o = {.size = sizeof(o)};
	struct pl_change change = {.done = end_of_other, .owner = &over};
	pl_disk_switch(r->disk, &o, &change);
	while (!over)
		rig_turn(r);
	for (uint64_t c = 0; c < 8; c++)
		rig_submit(r, PL_WRITE, 0, c * RIG_CLUSTER_SECTORS + c, 3, false);
	cr_assert(rig_drain(r), "%s", r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
}

Test(ploop_switch, a_disk_that_is_only_read_gets_no_new_top)
{
	struct rig *r = rig_new(loop, &small, 1);
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	must_refuse(r, rig_blank_medium(r), -EROFS);
	cr_assert(eq(int, rig_close(r), 0));
	rig_free(r);
}

Test(ploop_switch, a_chain_has_an_end)
{
	struct rig *r = open_rig(&small, 1);
	struct pl_switch_options o = {.size = sizeof(o)};
	for (uint32_t n = 1; n < PL_MAX_CHAIN; n++) {
		bool over = false;
		struct pl_change change = {.done = end_of_other, .owner = &over};
		struct store *store = store_mem_open(loop, rig_blank_medium(r), NULL);
		cr_assert(eq(int, disk_push_store(r->disk, store), 0), "%u: %s", n, pl_error());
		pl_disk_switch(r->disk, &o, &change);
		while (!over)
			rig_turn(r);
		cr_assert(eq(int, change.res, 0), "%s", change.error);
		if (n % 16 == 0)
			cr_assert(rig_run(r, 4) && rig_drain(r), "%s", r->why);
	}
	must_refuse(r, rig_blank_medium(r), -E2BIG);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
}
