/* The change bitmap when the disk gets a new top: which image has one afterwards, of which name, with what in it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>
#include <uuid/uuid.h>

#include "layout/ext.h"
#include "tests/support/rig.h"

#define ID_A "11111111-2222-3333-4444-555555555555"
#define ID_B "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

/* A bit is 128 sectors: two clusters. */
static const struct rig_shape shape = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};

static struct pl_loop *loop;
static struct rig *r;

static void setup(void)
{
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	r = rig_new(loop, &shape, 1);
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
}

static void teardown(void)
{
	rig_free(r);
	pl_loop_free(loop);
}

TestSuite(ploop_switch_bitmap, .init = setup, .fini = teardown, .timeout = 60);

static void change_top(bool keep_below, const char *id)
{
	struct pl_switch_options o = {.size = sizeof(o), .keep_bitmap_below = keep_below, .cbt_uuid = id};
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	rig_switch(r, &o);
	cr_assert(rig_wait(r), "%s", r->why);
}

static void write_cluster(uint64_t cluster)
{
	cr_assert(rig_submit(r, PL_WRITE, 0, cluster * RIG_CLUSTER_SECTORS, 8, false) && rig_drain(r), "%s", r->why);
}

static void close_disk(void)
{
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
}

/* The first byte of the bitmap named @id; -1: no bitmap, -2: another name, -3: it cannot be read. */
static int bits(uint32_t place, const char *id)
{
	const struct mem_file *f = &r->chain.at[place].m->now;
	struct lay_feature feature;
	struct lay_fault fault;
	struct lay_header h;
	struct lay_bitmap b;
	uint32_t at = 0;
	uuid_t want;
	cr_assert(lay_header_decode(f->bytes, &h) == LAY_OK);
	if (h.in_use == LAY_CLOSED_V20)
		return -1;
	if (h.in_use != LAY_CLOSED_V21 || lay_ext_check_offset(&h, f->size_bytes, &fault) != LAY_OK)
		return -3;
	const uint8_t *cluster = f->bytes + h.ext_sectors * SECTOR_BYTES;
	if (lay_ext_check(cluster, RIG_CLUSTER_BYTES, &fault) != LAY_OK ||
	    lay_ext_next(cluster, RIG_CLUSTER_BYTES, &at, &feature, &fault) != LAY_OK ||
	    lay_bitmap_decode(&h, f->size_bytes, cluster, &feature, &b, &fault) != LAY_OK)
		return -3;
	uuid_parse(id, want);
	if (memcmp(want, b.id, sizeof(b.id)) != 0)
		return -2;
	uint64_t entry = lay_bitmap_l1_entry(&b, 0);
	return entry > LAY_L1_ONES ? f->bytes[entry * SECTOR_BYTES] : entry == LAY_L1_ONES ? 0xff : 0;
}

/* The disk with its bitmaps opens, reads right and closes. */
static void reopen(void)
{
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	close_disk();
}

Test(ploop_switch_bitmap, none_without_being_asked_for)
{
	change_top(true, NULL);
	close_disk();
	cr_expect(eq(int, bits(0, ID_A), -1));
	cr_expect(eq(int, bits(1, ID_A), -1));
}

Test(ploop_switch_bitmap, begins_empty_with_a_switch)
{
	write_cluster(0);
	change_top(false, ID_A);
	write_cluster(4);
	close_disk();
	cr_expect(eq(int, bits(0, ID_A), -1));
	cr_expect(eq(int, bits(1, ID_A), 1 << 2));
	reopen();
	cr_expect(eq(int, bits(1, ID_A), 1 << 2));
}

Test(ploop_switch_bitmap, moves_to_the_new_top)
{
	change_top(false, ID_A);
	write_cluster(0);
	change_top(false, NULL);
	write_cluster(4);
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), -1));
	cr_expect(eq(int, bits(2, ID_A), 1 | 1 << 2));
	reopen();
}

Test(ploop_switch_bitmap, a_copy_stays_below_when_wanted)
{
	change_top(false, ID_A);
	write_cluster(0);
	change_top(true, NULL);
	write_cluster(4);
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), 1));
	cr_expect(eq(int, bits(2, ID_A), 1 | 1 << 2));
	reopen();
}

Test(ploop_switch_bitmap, stays_below_when_another_begins)
{
	change_top(false, ID_A);
	write_cluster(0);
	change_top(false, ID_B);
	write_cluster(4);
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), 1));
	cr_expect(eq(int, bits(2, ID_B), 1 << 2));
	reopen();
}

/* What a discard has unmapped at the end of the old top must not lie under the bitmap that is put there. */
Test(ploop_switch_bitmap, a_copy_below_lies_behind_the_clusters_in_use)
{
	change_top(false, ID_A);
	for (uint64_t c = 0; c < 8; c++)
		write_cluster(c);
	for (uint64_t c = 2; c < 8; c++)
		cr_assert(rig_submit(r, PL_DISCARD, 0, c * RIG_CLUSTER_SECTORS, RIG_CLUSTER_SECTORS, false));
	cr_assert(rig_drain(r), "%s", r->why);
	change_top(true, NULL);
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), 0xf));
	reopen();
}

Test(ploop_switch_bitmap, a_name_that_is_no_uuid_is_refused)
{
	struct pl_switch_options o = {.size = sizeof(o), .cbt_uuid = "11111111"};
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	r->errors_expected = true;
	rig_switch(r, &o);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, -EINVAL));
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, 0));
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), -1));
}

/* What an attempt that was given up had asked for counts no more. */
Test(ploop_switch_bitmap, each_attempt_asks_anew)
{
	change_top(false, ID_A);
	write_cluster(0);
	struct pl_switch_options brief = {.size = sizeof(brief), .cbt_uuid = ID_B, .wait_ms = 20};
	cr_assert(eq(int, rig_push(r), 0), "%s", pl_error());
	r->errors_expected = true;
	r->chain.at[1].m->stuck = true;
	cr_assert(rig_submit(r, PL_READ, 0, 0, 8, false));
	rig_switch(r, &brief);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(eq(int, r->change.change.res, -EAGAIN));
	r->chain.at[1].m->stuck = false;
	cr_assert(rig_drain(r), "%s", r->why);
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	write_cluster(4);
	close_disk();
	cr_expect(eq(int, bits(1, ID_A), -1));
	cr_expect(eq(int, bits(2, ID_A), 1 | 1 << 2));
}
