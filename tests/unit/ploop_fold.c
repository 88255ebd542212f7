/* Folding on memory: what the chain shows is what the destination shows alone, afterwards; the source stays. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "tests/support/fold_pair.h"

static struct pl_loop *loop;
static struct medium *child, *parent;
static struct pair_shape shape;
static uint8_t *want; /* what the chain shows before */
static struct prng prng;

static void setup(void)
{
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
	prng = (struct prng){1};
}

static void unmake(void)
{
	medium_free(child);
	medium_free(parent);
	free(want);
	child = parent = NULL;
	want = NULL;
}

static void teardown(void)
{
	unmake();
	pl_loop_free(loop);
}

TestSuite(ploop_fold, .init = setup, .fini = teardown, .timeout = 60);

static void make(struct pair_shape s)
{
	unmake();
	shape = s;
	child = pair_child(&s, &prng);
	parent = pair_parent(&s, &prng);
	cr_assert(pair_read(child, parent, s.raw_parent, pair_bytes(&s), &want));
}

static const struct pair_shape plain = {
	.version = 2,
	.cluster_sectors = 64,
	.child_clusters = 60,
	.parent_clusters = 60,
	.child_percent = 50,
	.parent_percent = 50,
};

static void expect_shows(const struct medium *c, const struct medium *p, const char *who)
{
	uint8_t *got;
	bool sound = pair_read(c, p, p && shape.raw_parent, pair_bytes(&shape), &got);
	cr_assert(sound, "%s: the BAT is damaged", who);
	cr_assert(zero(int, memcmp(got, want, pair_bytes(&shape))), "%s shows something else", who);
	free(got);
}

static void expect_closed(const struct medium *m, bool has_bitmap)
{
	struct lay_header h = pair_header(m);
	cr_expect(eq(u32, h.in_use, has_bitmap ? LAY_CLOSED_V21 : LAY_CLOSED_V20));
	cr_expect(eq(int, h.ext_sectors != 0, has_bitmap));
	cr_expect(zero(u64, m->now.size_bytes % lay_cluster_bytes(&h)));
	if (has_bitmap)
		cr_expect(pair_bitmap_is_in(m), "the bitmap is there, and what must be carried");
}

static int fold(struct pair_run run)
{
	return pair_fold(loop, &shape, child, parent, &run);
}

static void expect_folds(enum pl_merge_into into)
{
	bool to_parent = into == PL_INTO_PARENT, agrees = false;
	struct medium *from = to_parent ? child : parent, *to = to_parent ? parent : child;
	from->sealed = true;
	cr_assert(zero(int, fold((struct pair_run){.into = into, .agrees = &agrees, .order = &prng})), "%s",
		  pl_error());
	from->sealed = false;
	expect_shows(to_parent ? NULL : to, to_parent ? to : NULL, "the destination alone");
	expect_shows(child, parent, "the chain");
	cr_expect(agrees, "fold_place() names what the BAT does");
	if (to_parent && shape.raw_parent)
		cr_expect(eq(u64, parent->now.size_bytes, pair_bytes(&shape)));
	else
		expect_closed(to, shape.child_bitmap);
}

Test(ploop_fold, destination_alone_shows_what_the_chain_did)
{
	for (uint32_t i = 0; i < 300; i++) {
		make(pair_random_shape(&prng));
		expect_folds(shape.raw_parent || i % 2 ? PL_INTO_PARENT : PL_INTO_CHILD);
	}
}

Test(ploop_fold, folding_again_changes_nothing)
{
	for (uint32_t i = 0; i < 40; i++) {
		make(pair_random_shape(&prng));
		enum pl_merge_into into = shape.raw_parent || i % 2 ? PL_INTO_PARENT : PL_INTO_CHILD;
		expect_folds(into);
		struct medium *once = medium_clone(into == PL_INTO_PARENT ? parent : child);
		expect_folds(into);
		cr_expect(pair_is_same(once, into == PL_INTO_PARENT ? parent : child));
		medium_free(once);
	}
}

Test(ploop_fold, a_smaller_parent_goes_into_its_child)
{
	struct pair_shape s = plain;
	s.parent_clusters = 31;
	make(s);
	expect_folds(PL_INTO_CHILD);
}

Test(ploop_fold, a_child_without_a_cluster_closes_the_parent)
{
	struct pair_shape s = plain;
	s.child_percent = 0;
	make(s);
	expect_folds(PL_INTO_PARENT);
}

Test(ploop_fold, empty_flag_goes_when_there_is_data)
{
	make(plain);
	cr_assert(eq(u32, pair_header(parent).flags, LAY_FLAG_EMPTY));
	expect_folds(PL_INTO_PARENT);
	cr_expect(zero(u32, pair_header(parent).flags));
}

/* ---- it ends early */

static bool is_chain_with_all(int res)
{
	expect_shows(child, parent, "the chain");
	return res == 0;
}

Test(ploop_fold, cancelled_at_any_turn_loses_nothing_and_goes_on)
{
	static const uint32_t clusters[] = {64, 4096};
	for (uint32_t i = 0; i < 4; i++) {
		enum pl_merge_into into = i & 1 ? PL_INTO_PARENT : PL_INTO_CHILD;
		bool whole = false;
		for (uint32_t after = 1; !whole; after++) {
			struct pair_shape s = plain;
			s.cluster_sectors = clusters[i / 2];
			s.child_clusters = s.parent_clusters = i / 2 ? 5 : 60;
			s.child_bitmap = after % 2;
			prng = (struct prng){i};
			make(s);
			int r = fold((struct pair_run){.into = into, .cancel_after = after});
			cr_assert(r == 0 || r == -ECANCELED, "%s", pl_error());
			whole = is_chain_with_all(r);
			struct medium *to = into == PL_INTO_PARENT ? parent : child;
			expect_closed(to, s.child_bitmap && (whole || into == PL_INTO_CHILD));
			expect_folds(into);
		}
	}
}

Test(ploop_fold, no_space_at_any_write_loses_nothing_and_goes_on)
{
	for (uint32_t i = 0; i < 2; i++) {
		enum pl_merge_into into = i & 1 ? PL_INTO_PARENT : PL_INTO_CHILD;
		bool whole = false;
		for (uint64_t at = 1; !whole; at++) {
			struct fault_plan full = {.from = at, .to = UINT64_MAX, .error = -ENOSPC};
			full.kinds = FAULT_KIND(PL_IO_WRITE);
			prng = (struct prng){i};
			make(plain);
			int r = fold((struct pair_run){.into = into, .fault = &full, .order = &prng});
			cr_assert(r == 0 || r == -ENOSPC, "%s", pl_error());
			whole = is_chain_with_all(r);
			expect_folds(into);
		}
	}
}

Test(ploop_fold, no_space_for_a_copy_closes_the_destination)
{
	struct fault_plan full = {FAULT_KIND(PL_IO_WRITE), .from = 4, .to = 5, .error = -ENOSPC};
	make(plain);
	cr_assert(eq(int, fold((struct pair_run){.into = PL_INTO_PARENT, .fault = &full}), -ENOSPC));
	cr_expect(ne(ptr, strstr(pl_error(), "memory: cannot write"), NULL), "%s", pl_error());
	expect_closed(parent, false);
	expect_shows(child, parent, "the chain");
}

Test(ploop_fold, failed_sync_leaves_it_marked)
{
	for (uint64_t at = 1; at <= 3; at++) {
		struct fault_plan bad = {FAULT_KIND(PL_IO_FDATASYNC), .from = at, .to = at, .error = -EIO};
		make(plain);
		cr_assert(eq(int, fold((struct pair_run){.into = PL_INTO_PARENT, .fault = &bad}), -EIO));
		cr_expect(eq(u32, pair_header(parent).in_use, LAY_IN_USE));
		cr_expect(ne(ptr, strstr(pl_error(), "cannot sync"), NULL), "%s", pl_error());
		expect_shows(child, parent, "the chain");
		expect_folds(PL_INTO_PARENT);
	}
}

Test(ploop_fold, operations_cut_short_are_gone_on_with)
{
	for (uint64_t at = 1; at < 60; at++) {
		struct fault_plan cut = {.from = at, .to = at + 3};
		cut.kinds = FAULT_KIND(PL_IO_READ) | FAULT_KIND(PL_IO_WRITE);
		prng = (struct prng){7};
		make(plain);
		cr_assert(zero(int, fold((struct pair_run){.into = PL_INTO_CHILD, .fault = &cut})), "%s", pl_error());
		expect_shows(child, NULL, "the destination alone");
	}
}

static uint32_t delays;
static uint64_t delay(void *arg)
{
	delays++;
	return delays % 3 ? 1000 : 0;
}

Test(ploop_fold, waits_before_each_copy_as_it_is_told)
{
	delays = 0;
	make(plain);
	cr_assert(zero(int, fold((struct pair_run){.into = PL_INTO_PARENT, .delay_ns = delay})));
	expect_shows(NULL, parent, "the destination alone");
	cr_expect(gt(u32, delays, 3));
}

static uint32_t small_step(void *arg)
{
	return 4096;
}

static uint64_t writes_of_a_fold(uint32_t (*step_bytes)(void *arg))
{
	struct fault_plan count = {.kinds = FAULT_KIND(PL_IO_WRITE)};
	prng = (struct prng){7};
	make(plain);
	struct pair_run run = {.into = PL_INTO_PARENT, .fault = &count, .step_bytes = step_bytes};
	cr_assert(zero(int, fold(run)), "%s", pl_error());
	expect_shows(NULL, parent, "the destination alone");
	return count.seen;
}

Test(ploop_fold, copies_in_steps_as_small_as_it_is_told)
{
	cr_expect(gt(u64, writes_of_a_fold(small_step), 4 * writes_of_a_fold(NULL)));
}

/* ---- what is refused */

static void expect_refused(enum pl_merge_into into, int want_res, const char *word)
{
	struct medium *c = medium_clone(child), *p = medium_clone(parent);
	cr_expect(eq(int, fold((struct pair_run){.into = into}), want_res), "%s", pl_error());
	cr_expect(ne(ptr, strstr(pl_error(), word), NULL), "'%s' is not in: %s", word, pl_error());
	cr_expect(pair_is_same(c, child) && pair_is_same(p, parent), "nothing changed");
	medium_free(c);
	medium_free(p);
}

Test(ploop_fold, a_parent_that_must_grow_is_refused)
{
	struct pair_shape s = plain;
	s.parent_clusters = 31;
	make(s);
	expect_refused(PL_INTO_PARENT, -ENOTSUP, "grow");
	s.raw_parent = true;
	make(s);
	expect_refused(PL_INTO_PARENT, -ENOTSUP, "grow");
}

Test(ploop_fold, images_that_do_not_fit_are_refused)
{
	struct pair_shape s = plain;
	s.parent_clusters = 61;
	make(s);
	expect_refused(PL_INTO_PARENT, -EINVAL, "larger");
	expect_refused(PL_INTO_CHILD, -EINVAL, "larger");

	s = plain;
	s.raw_parent = true;
	make(s);
	expect_refused(PL_INTO_CHILD, -EINVAL, "raw");
	shape.cluster_sectors = 128;
	expect_refused(PL_INTO_PARENT, -EINVAL, "clusters of 64");

	struct pair_shape other = plain;
	other.cluster_sectors = 128;
	make(plain);
	medium_free(parent);
	parent = pair_parent(&other, &prng);
	expect_refused(PL_INTO_PARENT, -EINVAL, "clusters of 128");
	other = plain;
	other.version = 1;
	medium_free(parent);
	parent = pair_parent(&other, &prng);
	expect_refused(PL_INTO_CHILD, -EINVAL, "version 1");
}

Test(ploop_fold, damaged_images_are_refused)
{
	uint8_t slot[4];
	struct pair_shape s = plain;
	s.child_percent = s.parent_percent = 100;
	make(s);
	store_le32(slot, 999);
	medium_write(child, slot, sizeof(slot), 64 + 4 * 17);
	expect_refused(PL_INTO_PARENT, -EUCLEAN, "17");
	make(s);
	medium_read(parent, slot, sizeof(slot), 64);
	medium_write(parent, slot, sizeof(slot), 64 + 4 * 5);
	expect_refused(PL_INTO_CHILD, -EUCLEAN, "memory");
	make(s);
	medium_write(parent, "not ours", 8, 0);
	expect_refused(PL_INTO_PARENT, -EMEDIUMTYPE, "memory");
	make(s);
	store_le32(slot, LAY_FLAG_CONVERT);
	medium_write(child, slot, sizeof(slot), 52);
	expect_refused(PL_INTO_PARENT, -EBUSY, "memory");
}

Test(ploop_fold, images_found_in_use_are_checked_and_folded)
{
	uint8_t marker[4];
	store_le32(marker, LAY_IN_USE);
	make(plain);
	medium_write(child, marker, sizeof(marker), LAY_IN_USE_OFFSET);
	medium_write(parent, marker, sizeof(marker), LAY_IN_USE_OFFSET);
	expect_folds(PL_INTO_PARENT);
	cr_expect(eq(u32, pair_header(child).in_use, LAY_IN_USE), "the source is not changed");
}

Test(ploop_fold, damaged_bitmap_is_dropped)
{
	struct pair_shape s = plain;
	s.child_bitmap = true;
	make(s);
	uint64_t at = pair_header(child).ext_sectors * SECTOR_BYTES;
	medium_write(child, "damage", 6, at + 500);
	shape.child_bitmap = false;
	expect_folds(PL_INTO_PARENT);
}
