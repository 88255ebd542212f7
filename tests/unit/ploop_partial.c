/* Partial clusters on disks in memory: what the engine promises about them, one by one. */
#include "ploop/fill.h"
#include "tests/unit/partial_rig.h"

TestSuite(ploop_partial, .init = setup, .fini = teardown, .timeout = 120);

/* Operations of @kind, of all images, while @op runs. */
static uint64_t operations(struct rig *r, enum pl_io_kind kind, enum pl_op op, uint64_t first, uint64_t count)
{
	plan = (struct fault_plan){.kinds = FAULT_KIND(kind)};
	request(r, op, 0, first, count);
	return plan.seen;
}

static uint32_t partial(const struct rig *r)
{
	return r->disk->writer->partials->count;
}

static bool is_valid(const struct rig *r, uint32_t cluster, uint32_t unit)
{
	const struct partials *p = r->disk->writer->partials;
	uint32_t slot = partial_find(p, (struct gclu){cluster});
	return slot != PARTIAL_NONE && partial_unit_is_valid(p, slot, unit);
}

/* ---- writes and reads */

Test(ploop_partial, first_write_of_units_reads_nothing_and_writes_once)
{
	struct rig *r = open_full(1);
	cr_expect(zero(u64, operations(r, PL_IO_READ, PL_WRITE, UNIT, UNIT)), "while the fence comes up");
	cr_expect(zero(u64, operations(r, PL_IO_READ, PL_WRITE, CLUSTER, UNIT)));
	cr_expect(eq(u64, operations(r, PL_IO_WRITE, PL_WRITE, 2 * CLUSTER, 3 * UNIT), 1));
	cr_expect(eq(u64, operations(r, PL_IO_FDATASYNC, PL_WRITE, 3 * CLUSTER, UNIT), 0));
	cr_expect(eq(u32, partial(r), 4));
	finish_rig(r);
}

Test(ploop_partial, a_part_of_a_unit_is_merged_with_what_is_below)
{
	struct rig *r = open_full(1);
	write_at(r, 7 * CLUSTER, UNIT); /* the fence is up */
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, 3, 1), 1), "the unit, once");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, 5, 2), 0), "it is valid now");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, CLUSTER + 3, 3 * UNIT), 2), "both ends");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, 2 * CLUSTER + 3, UNIT - 3), 1), "one end");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, 3 * CLUSTER, UNIT + 1), 1), "the other end");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_WRITE, UNIT - 2, 4), 2), "one is valid, one is not");
	finish_rig(r);
}

Test(ploop_partial, whole_clusters_are_never_read_and_never_partial)
{
	struct rig *r = open_full(1);
	cr_expect(zero(u64, operations(r, PL_IO_READ, PL_WRITE, CLUSTER, 3 * CLUSTER)));
	cr_expect(zero(u32, partial(r)));
	write_at(r, 5 * CLUSTER, UNIT);
	cr_expect(zero(u64, operations(r, PL_IO_READ, PL_WRITE, 5 * CLUSTER, CLUSTER)), "over a partial one");
	cr_expect(zero(u32, partial(r)), "it is whole");
	finish_rig(r);
}

Test(ploop_partial, the_last_missing_unit_makes_it_whole)
{
	struct rig *r = open_full(1);
	for (uint64_t at = 0; at < CLUSTER; at += UNIT) {
		cr_expect(eq(u32, partial(r), at > 0));
		write_at(r, at, UNIT);
	}
	cr_expect(zero(u32, partial(r)));
	finish_rig(r);
}

Test(ploop_partial, a_read_takes_an_operation_for_each_piece)
{
	struct rig *r = open_full(1);
	write_at(r, 2 * UNIT, 2 * UNIT);
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_READ, 0, CLUSTER), 3), "below, top, below");
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_READ, 2 * UNIT, 2 * UNIT), 1));
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_READ, 4 * UNIT, 4 * UNIT), 1));
	cr_expect(eq(u64, operations(r, PL_IO_READ, PL_READ, 2 * UNIT + 1, 2 * UNIT), 2), "not at units");
	finish_rig(r);
}

/* ---- durability */

Test(ploop_partial, D1_a_flush_takes_two_syncs_and_one_write)
{
	struct rig *r = open_full(1);
	write_at(r, 0, UNIT);
	request(r, PL_FLUSH, 0, 0, 0);
	for (uint64_t i = 1; i < 6; i++)
		write_at(r, i * CLUSTER + i * UNIT, UNIT);
	plan = (struct fault_plan){.kinds = FAULT_KIND(PL_IO_FDATASYNC)};
	request(r, PL_FLUSH, 0, 0, 0);
	cr_expect(eq(u64, plan.seen, 2));
	write_at(r, 6 * CLUSTER, UNIT);
	cr_expect(eq(u64, operations(r, PL_IO_WRITE, PL_FLUSH, 0, 0), 1), "the record");
	write_at(r, 6 * CLUSTER, UNIT);
	cr_expect(eq(u64, operations(r, PL_IO_WRITE, PL_FLUSH, 0, 0), 0), "nothing new is valid");
	finish_rig(r);
}

/* Its BAT entry and the plain header must not be written between the same two syncs. */
Test(ploop_partial, D7_the_fence_outlasts_the_round_of_the_last_entry)
{
	struct rig *r = open_full(1);
	struct journal *j = &r->disk->writer->journal;
	write_at(r, 0, UNIT);
	request(r, PL_FLUSH, 0, 0, 0);
	write_at(r, UNIT, CLUSTER - UNIT);
	cr_expect(zero(u32, partial(r)));
	j->unwanted = true;
	request(r, PL_FLUSH, 0, 0, 0);
	cr_expect(j->fenced, "its entry has just become durable");
	request(r, PL_FLUSH, 0, 0, 0);
	cr_expect(not(j->fenced));
	finish_rig(r);
}

static void lose_power(struct rig *r, enum survivors what)
{
	r->power.failed = true;
	rig_drain(r);
	rig_close(r);
	rig_lose_power(r, &r->chain, what);
	cr_assert(eq(int, rig_settle_lower(r), 0), "%s", pl_error());
	open_rig(r, 0);
	cr_assert(rig_judge(r, MODEL_POWER_FAILED), "%s", r->why);
}

Test(ploop_partial, D1_flushed_units_that_are_overwritten_stay_valid)
{
	for (enum survivors what = SURVIVES_NOTHING; what <= SURVIVES_SOME; what++) {
		struct rig *r = full(what + 1);
		rig_start_journal(r, 0);
		open_rig(r, 0);
		write_at(r, UNIT, 2 * UNIT);
		request(r, PL_FLUSH, 0, 0, 0);
		write_at(r, UNIT, UNIT);
		write_at(r, 5 * UNIT, UNIT); /* not flushed */
		lose_power(r, what);
		cr_expect(is_valid(r, 0, 1) && is_valid(r, 0, 2));
		cr_expect(what == SURVIVES_SOME || !is_valid(r, 0, 5));
		cr_assert(rig_settle(r));
		finish_rig(r);
	}
}

Test(ploop_partial, a_disk_of_partial_clusters_only_is_replayed)
{
	struct rig *r = full(3);
	rig_start_journal(r, 0);
	open_rig(r, 0);
	for (uint64_t round = 0; round < 4; round++) {
		for (uint64_t g = 0; g < small.clusters; g++)
			write_at(r, g * CLUSTER + round * UNIT, UNIT);
		request(r, PL_FLUSH, 0, 0, 0);
	}
	lose_power(r, SURVIVES_NOTHING);
	cr_expect(eq(u32, partial(r), small.clusters));
	finish_rig(r);
}

Test(ploop_partial, D1_a_journal_without_room_begins_anew)
{
	struct rig_shape shape = small;
	shape.clusters = 64;
	struct rig *r = rig_new(loop, &shape, 1);
	rig_start_journal(r, 0);
	open_rig(r, 0);
	fill_stop(r->disk); /* seconds may pass here under a sanitizer */
	write_at(r, 0, UNIT);
	struct fclu first = r->disk->writer->journal.area.first;
	for (uint64_t i = 0; i < 7 * CLUSTER; i++) {
		write_at(r, i % shape.clusters * CLUSTER + i / shape.clusters * UNIT, UNIT);
		request(r, PL_FLUSH, 0, 0, 0);
	}
	cr_expect(ne(u32, r->disk->writer->journal.area.first.n, first.n));
	lose_power(r, SURVIVES_NOTHING);
	cr_expect(eq(u32, partial(r), shape.clusters));
	finish_rig(r);
}

/* ---- zeros and discard */

Test(ploop_partial, zeroes_and_discard_go_by_units)
{
	struct rig *r = open_full(1);
	cr_expect(zero(u64, operations(r, PL_IO_READ, PL_WRITE_ZEROES, 2 * UNIT, UNIT)));
	cr_expect(is_valid(r, 0, 2) && !is_valid(r, 0, 3));
	request(r, PL_WRITE_ZEROES, 0, 4 * UNIT + 1, 2);
	cr_expect(is_valid(r, 0, 4), "merged");
	request(r, PL_WRITE_ZEROES, PL_NO_HOLE, 6 * UNIT, UNIT);
	cr_expect(is_valid(r, 0, 6));
	request(r, PL_DISCARD, 0, 0, 2 * UNIT + 3);
	cr_expect(is_valid(r, 0, 0) && is_valid(r, 0, 1), "or what is below would show again");
	request(r, PL_DISCARD, 0, 7 * UNIT + 1, 2);
	cr_expect(zero(int, is_valid(r, 0, 7)), "no whole unit");
	request(r, PL_DISCARD, 0, CLUSTER, CLUSTER);
	cr_expect(eq(u32, partial(r), 1), "nothing is made for a discard");
	request(r, PL_DISCARD, 0, 0, CLUSTER);
	cr_expect(zero(u32, partial(r)), "whole");
	finish_rig(r);
}

/* ---- without partial clusters */

Test(ploop_partial, without_them_whole_clusters_are_copied)
{
	struct rig *r = full(1);
	open_rig(r, PL_OPEN_NO_PARTIAL);
	cr_expect(operations(r, PL_IO_READ, PL_WRITE, UNIT, UNIT) > 0);
	cr_expect(zero(u32, partial(r)));
	cr_expect(zero(int, r->disk->writer->journal.fenced));
	finish_rig(r);
}

Test(ploop_partial, when_the_table_is_full_whole_clusters_are_copied)
{
	struct rig *r = open_full(1);
	struct partials *p = r->disk->writer->partials;
	write_at(r, 0, UNIT);
	uint32_t others = p->capacity - p->shm->end + p->free_count;
	p->reserved += others;
	cr_expect(operations(r, PL_IO_READ, PL_WRITE, CLUSTER, UNIT) > 0);
	cr_expect(eq(u32, partial(r), 1));
	p->reserved -= others;
	write_at(r, 2 * CLUSTER, UNIT);
	cr_expect(eq(u32, partial(r), 2), "there is room again");
	finish_rig(r);
}

Test(ploop_partial, D8_without_space_for_the_journal_whole_clusters_are_copied)
{
	struct rig *r = open_full(1);
	plan = (struct fault_plan){.kinds = FAULT_KIND(PL_IO_FALLOCATE), .from = 1, .to = UINT64_MAX, .error = -ENOSPC};
	cr_assert(rig_submit(r, PL_WRITE, 0, UNIT, UNIT, false));
	for (int i = 0; i < 200; i++)
		cr_assert(rig_turn(r), "%s", r->why);
	cr_expect(eq(u32, r->busy, 1), "it waits");
	plan = (struct fault_plan){0};
	for (int i = 0; i < 1000 && r->busy; i++) {
		rig_let_time_pass(r);
		cr_assert(rig_turn(r), "%s", r->why);
	}
	cr_assert(rig_drain(r), "%s", r->why);
	cr_expect(zero(u32, partial(r)), "copied");
	write_at(r, CLUSTER, UNIT);
	cr_expect(eq(u32, partial(r), 1), "the next one tries again");
	finish_rig(r);
}

/* ---- leaving, finishing */

Test(ploop_partial, D7_what_is_left_is_partial_when_it_is_opened_again)
{
	struct rig *r = left_unfinished(1);
	cr_expect(zero(u32, load_le32(r->top->now.bytes + 28)), "stock tools see no cluster size");
	open_rig(r, 0);
	cr_expect(eq(u32, partial(r), 5));
	cr_expect(is_valid(r, 3, 3) && !is_valid(r, 3, 4));
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	write_at(r, 3 * CLUSTER + 4 * UNIT, UNIT);
	leave(r);
	open_rig(r, 0);
	cr_expect(is_valid(r, 3, 3) && is_valid(r, 3, 4));
	finish_rig(r);
}

Test(ploop_partial, a_reader_replays_in_memory_and_writes_nothing)
{
	struct rig *r = left_unfinished(1);
	open_rig(r, PL_OPEN_READONLY); /* a write aborts: the medium is sealed */
	cr_expect(eq(u32, partial(r), 5));
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_expect(zero(int, rig_close(r)));
	open_rig(r, 0);
	cr_expect(eq(u32, partial(r), 5));
	finish_rig(r);
}

Test(ploop_partial, an_unfinished_image_without_the_one_below_is_refused)
{
	struct rig *r = left_unfinished(1);
	struct rig_chain chain = r->chain, lone = {.at = {chain.at[1]}, .depth = 1};
	r->chain = lone;
	cr_expect(eq(int, rig_open(r), -EUCLEAN));
	cr_expect(ne(ptr, strstr(pl_error(), "no image below has the rest"), NULL), "%s", pl_error());
	r->chain = chain;
	open_rig(r, 0);
	finish_rig(r);
}

/* A write of a unit needs nothing of the image below, if it may leave the rest to be filled. */
Test(ploop_partial, nothing_becomes_partial_while_the_disk_is_finished)
{
	struct rig *r = open_full(1);
	write_at(r, 0, UNIT);
	r->chain.at[0].m->stuck = true;
	rig_finish(r);
	cr_assert(rig_submit(r, PL_WRITE, 0, 6 * CLUSTER, UNIT, false), "%s", r->why);
	for (int i = 0; i < 100; i++)
		cr_assert(rig_turn(r), "%s", r->why);
	cr_expect(eq(u32, r->busy, 1), "it waits for the copy of its cluster");
	r->chain.at[0].m->stuck = false;
	cr_assert(rig_drain(r) && rig_wait(r), "%s", r->why);
	cr_expect(zero(u32, partial(r)));
	finish_rig(r);
}

Test(ploop_partial, finishing_leaves_a_plain_image_while_requests_go_on)
{
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct rig *r = open_full(seed);
		for (uint64_t g = 0; g < small.clusters; g++)
			write_at(r, g * CLUSTER + g % 8 * UNIT, UNIT);
		rig_finish(r);
		r->small_percent = 50;
		cr_assert(rig_run(r, 30) && rig_wait(r) && rig_drain(r), "SEED=%llu: %s", (unsigned long long)seed,
			  r->why);
		rig_finish(r);
		cr_assert(rig_wait(r), "%s", r->why);
		cr_expect(zero(u32, partial(r)));
		cr_expect(zero(int, r->disk->writer->journal.fenced));
		cr_expect(eq(u32, load_le32(r->top->now.bytes + 28), RIG_CLUSTER_SECTORS));
		finish_rig(r);
	}
}

Test(ploop_partial, with_time_they_are_filled_and_the_fence_goes)
{
	struct rig *r = open_full(1);
	for (uint64_t g = 0; g < 6; g++)
		write_at(r, g * CLUSTER + g * UNIT, UNIT);
	for (int i = 0; i < 100000 && r->disk->writer->journal.fenced; i++) {
		rig_let_time_pass(r);
		cr_assert(rig_turn(r), "%s", r->why);
	}
	cr_expect(zero(u32, partial(r)));
	cr_expect(zero(int, r->disk->writer->journal.fenced));
	finish_rig(r);
}

/* ---- the chain changes */

static void push_and_turn_to_switch(struct rig *r)
{
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	uint32_t depth = r->disk->depth;
	rig_switch(r, NULL);
	while (r->disk->depth == depth)
		cr_assert(rig_turn(r), "%s", r->why);
}

Test(ploop_partial, a_snapshot_does_not_wait_for_them_and_a_cluster_may_be_partial_twice)
{
	struct rig *r = open_full(1);
	for (uint64_t g = 0; g < small.clusters; g++)
		write_at(r, g * CLUSTER + UNIT, 2 * UNIT);
	struct medium *old = r->top;
	push_and_turn_to_switch(r);
	cr_assert(ne(ptr, r->disk->leaving, NULL));
	cr_expect(eq(u32, r->disk->leaving->partials->count, small.clusters), "none is filled yet");
	for (uint64_t g = 0; g < 4; g++)
		rig_submit(r, PL_WRITE, 0, g * CLUSTER + 2 * UNIT, UNIT, false);
	rig_submit(r, PL_READ, 0, 0, 4 * CLUSTER, false);
	cr_assert(rig_wait(r) && rig_drain(r), "%s", r->why);
	cr_expect(eq(u32, partial(r), 4));
	cr_expect(eq(u32, load_le32(old->now.bytes + 28), RIG_CLUSTER_SECTORS), "the old top is plain");
	cr_expect(zero(u32, load_le32(old->now.bytes + 44)), "and closed");
	finish_rig(r);
}

Test(ploop_partial, writes_go_on_while_the_old_top_is_filled)
{
	struct rig *r = open_full(1);
	for (uint64_t g = 0; g < small.clusters; g++)
		write_at(r, g * CLUSTER + UNIT, 2 * UNIT);
	struct medium *old = r->top;
	push_and_turn_to_switch(r);
	while (!fill_runs(r->disk, r->disk->leaving))
		cr_assert(rig_turn(r), "%s", r->why);
	old->stuck = true;
	for (uint64_t g = 0; g < small.clusters; g++)
		cr_assert(rig_submit(r, PL_WRITE, 0, g * CLUSTER + UNIT, UNIT, false), "%s", r->why);
	cr_expect(rig_drain(r), "%s", r->why);
	cr_expect(eq(u32, partial(r), small.clusters));
	old->stuck = false;
	cr_assert(rig_wait(r), "%s", r->why);
	finish_rig(r);
}

/* What is filled into the old top is what lay below it then, though the new top has the cluster by now. */
Test(ploop_partial, a_snapshot_keeps_what_was_when_it_was_made)
{
	static uint8_t before[8 * RIG_CLUSTER_BYTES], after[sizeof(before)];
	for (uint64_t seed = 1; seed < 8; seed++) {
		struct rig *r = open_full(seed);
		for (uint64_t g = 0; g < small.clusters; g++)
			write_at(r, g * CLUSTER + g * UNIT, UNIT);
		cr_assert(zero(int, pl_read(r->disk, before, sizeof(before), 0)));
		push_and_turn_to_switch(r);
		for (uint64_t g = small.clusters; g-- > 0;)
			cr_assert(rig_submit(r, PL_WRITE, 0, g * CLUSTER, CLUSTER, false), "%s", r->why);
		cr_assert(rig_wait(r) && rig_drain(r), "%s", r->why);
		cr_assert(zero(int, rig_close(r)));
		struct rig_chain chain = r->chain;
		r->chain.depth--;
		open_rig(r, PL_OPEN_READONLY);
		cr_assert(zero(int, pl_read(r->disk, after, sizeof(after), 0)));
		cr_expect(zero(int, memcmp(before, after, sizeof(before))), "SEED=%llu", (unsigned long long)seed);
		rig_close(r);
		r->chain = chain;
		open_rig(r, 0);
		finish_rig(r);
	}
}

/* The top is filled in the background while the old top, all of it filled, is not closed yet. */
Test(ploop_partial, the_upper_of_two_levels_is_filled_from_the_lower)
{
	for (uint64_t seed = 1; seed < 8; seed++) {
		struct rig *r = open_full(seed);
		for (uint64_t g = 0; g < small.clusters; g++)
			write_at(r, g * CLUSTER + UNIT, 2 * UNIT);
		push_and_turn_to_switch(r);
		for (uint64_t g = 0; g < small.clusters; g++)
			cr_assert(rig_submit(r, PL_WRITE, 0, g * CLUSTER + 2 * UNIT, UNIT, false), "%s", r->why);
		while (r->disk->leaving) {
			rig_let_time_pass(r);
			cr_assert(rig_turn(r), "%s", r->why);
		}
		cr_assert(rig_wait(r), "%s", r->why);
		finish_rig(r);
	}
}

static void merge_with_parts(uint32_t child, enum pl_merge_into into, uint64_t seed)
{
	struct rig_shape shape = small;
	shape.depth = 3;
	struct rig *r = rig_new(loop, &shape, seed);
	open_rig(r, 0);
	for (uint64_t g = 0; g < small.clusters; g++)
		write_at(r, g * CLUSTER + g % 4 * UNIT, (1 + g % 3) * UNIT);
	rig_merge(r, child, into);
	r->small_percent = 70;
	cr_assert(rig_run(r, 25) && rig_wait(r), "child %u into %d, SEED=%llu: %s", child, into,
		  (unsigned long long)seed, r->why);
	cr_expect(eq(u32, r->disk->depth, 2));
	finish_rig(r);
}

Test(ploop_partial, merges_move_them)
{
	for (uint64_t seed = 1; seed < 12; seed++) {
		merge_with_parts(2, PL_INTO_CHILD, seed);
		merge_with_parts(2, PL_INTO_PARENT, seed);
		merge_with_parts(1, PL_INTO_CHILD, seed);
		merge_with_parts(1, PL_INTO_PARENT, seed);
	}
}

/* The power fails while the old top is being sealed. */
Test(ploop_partial, a_reader_replays_an_image_below_the_top_too)
{
	struct rig *r = full(1);
	rig_start_journal(r, 0);
	open_rig(r, 0);
	for (uint64_t g = 0; g < small.clusters; g++)
		write_at(r, g * CLUSTER + UNIT, 2 * UNIT);
	request(r, PL_FLUSH, 0, 0, 0);
	push_and_turn_to_switch(r);
	for (uint64_t g = 0; g < 4; g++)
		cr_assert(rig_submit(r, PL_WRITE, 0, g * CLUSTER + 2 * UNIT, 2 * UNIT, false), "%s", r->why);
	r->power.failed = true;
	rig_drain(r);
	rig_close(r);
	rig_lose_power(r, &r->chain, SURVIVES_NOTHING);
	open_rig(r, PL_OPEN_READONLY); /* a write aborts: all media are sealed */
	cr_assert(ne(ptr, r->disk->leaving, NULL));
	cr_expect(eq(u32, r->disk->leaving->partials->count, small.clusters));
	cr_assert(rig_judge(r, MODEL_POWER_FAILED), "%s", r->why);
	cr_expect(zero(int, rig_close(r)));
	cr_assert(eq(int, rig_settle_lower(r), 0), "%s", pl_error());
	open_rig(r, 0);
	cr_assert(rig_judge(r, MODEL_POWER_FAILED) && rig_settle(r), "%s", r->why);
	finish_rig(r);
}
