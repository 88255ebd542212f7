/* Growing an image by itself: what it showed it shows, zeros follow, clusters in the way of the BAT have moved. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "ploop/grow.h"
#include "tests/support/fold_pair.h"
#include "tests/support/store_mem.h"

static struct pl_loop *loop;
static struct medium *image;
static struct prng prng;

static void setup(void)
{
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
	prng = (struct prng){1};
}

static void teardown(void)
{
	medium_free(image);
	pl_loop_free(loop);
}

TestSuite(ploop_grow, .init = setup, .fini = teardown, .timeout = 60);

static int grow(uint64_t clusters, struct fault_plan *fault)
{
	struct store_mem_options o = {.io_align = 512, .mem_align = 512};
	struct store *s = store_mem_open(loop, image, &o);
	uint64_t sectors = clusters * pair_header(image).cluster_sectors;
	if (fault)
		s = store_fault_wrap(s, fault);
	int r = grow_image(s, sectors);
	store_close(s);
	return r;
}

static void make(struct pair_shape s)
{
	medium_free(image);
	image = pair_image(&s, 1, &prng);
}

static const struct pair_shape plain = {
	.version = 2,
	.cluster_sectors = 64,
	.child_clusters = 60,
	.child_percent = 60,
};
#define MORE 70000u /* clusters: nine of BAT instead of one */

static uint8_t *shown(uint64_t bytes)
{
	uint8_t *out;
	cr_assert(pair_read(image, NULL, false, bytes, &out), "the BAT is damaged");
	return out;
}

static void expect_grown(const uint8_t *want, uint64_t old_bytes, uint64_t clusters)
{
	struct lay_header h = pair_header(image), like;
	uint64_t bytes = clusters * lay_cluster_bytes(&h);
	cr_assert(zero(int, lay_header_compute(bytes / SECTOR_BYTES, h.cluster_sectors, h.version, &like)));
	like.flags = h.flags;
	cr_expect(zero(int, memcmp(&like, &h, sizeof(h))), "the header is the one of a new image of that size");
	autofree uint8_t *got = shown(bytes);
	cr_assert(zero(int, memcmp(got, want, old_bytes)));
	bool zeros = got[old_bytes] == 0 && memcmp(got + old_bytes, got + old_bytes + 1, bytes - old_bytes - 1) == 0;
	cr_assert(zeros, "what is new is zeros");
}

static void expect_slots_behind_are_zero(void)
{
	struct lay_header h = pair_header(image);
	uint8_t slot[LAY_BAT_SLOT_BYTES];
	for (uint64_t i = lay_guest_clusters(&h); i < lay_bat_slots(&h); i++) {
		medium_read(image, slot, sizeof(slot), lay_slot_offset_bytes((uint32_t)i));
		if (load_le32(slot) != 0)
			cr_fail("slot %lu", (unsigned long)i);
	}
}

Test(ploop_grow, shows_the_same_and_zeros_behind)
{
	static const uint32_t to[] = {61, 8176, 8177, 17000};
	for (uint32_t i = 0; i < 40; i++) {
		struct pair_shape s = plain;
		s.version = 1 + i % 2;
		s.child_clusters = 1 + prng_below(&prng, 60);
		s.child_percent = prng_below(&prng, 101);
		make(s);
		autofree uint8_t *want = shown(pair_bytes(&s));
		cr_assert(zero(int, grow(to[i % 4], NULL)), "%s", pl_error());
		expect_grown(want, pair_bytes(&s), to[i % 4]);
		expect_slots_behind_are_zero();
	}
}

Test(ploop_grow, blocks_move_as_the_stock_tool_moves_them)
{
	struct pair_shape s = plain;
	s.child_clusters = 3200;
	s.child_percent = 0;
	make(s);
	image->now.size_bytes = round_down_pow2(image->now.size_bytes, 32768);
	struct lay_header h = pair_header(image);
	medium_set_size(image, 32768);
	for (uint32_t g = 0; g < 4; g++) {
		uint8_t slot[LAY_BAT_SLOT_BYTES], data[32768];
		memset(data, (int)g + 1, sizeof(data));
		store_le32(slot, lay_slot_from_cluster(&h, (struct fclu){g + 1}));
		medium_write(image, slot, sizeof(slot), lay_slot_offset_bytes(g));
		medium_write(image, data, sizeof(data), (g + 1) * sizeof(data));
	}
	cr_assert(zero(int, grow(65536, NULL)), "%s", pl_error());
	h = pair_header(image);
	cr_expect(eq(u32, h.first_block_sectors, 576));
	for (uint32_t g = 0; g < 4; g++) {
		uint8_t slot[LAY_BAT_SLOT_BYTES];
		medium_read(image, slot, sizeof(slot), lay_slot_offset_bytes(g));
		cr_expect(eq(u32, load_le32(slot), 9 + g));
	}
	expect_slots_behind_are_zero();
}

Test(ploop_grow, slots_behind_the_last_never_become_entries)
{
	uint8_t slot[LAY_BAT_SLOT_BYTES];
	for (uint32_t to = 2000; to <= MORE; to += MORE - 2000) {
		make(plain);
		autofree uint8_t *want = shown(pair_bytes(&plain));
		store_le32(slot, 3);
		medium_write(image, slot, sizeof(slot), lay_slot_offset_bytes(60));
		medium_write(image, slot, sizeof(slot), lay_slot_offset_bytes(1999));
		cr_assert(zero(int, grow(to, NULL)), "%s", pl_error());
		expect_grown(want, pair_bytes(&plain), to);
	}
}

Test(ploop_grow, empty_flag_stays_only_without_data)
{
	struct pair_shape s = plain;
	make(s);
	cr_assert(zero(int, grow(MORE, NULL)));
	cr_expect(zero(u32, pair_header(image).flags));
	s.child_percent = 0;
	make(s);
	cr_assert(zero(int, grow(MORE, NULL)));
	cr_expect(eq(u32, pair_header(image).flags, LAY_FLAG_EMPTY));
}

Test(ploop_grow, same_size_changes_nothing)
{
	make(plain);
	struct medium *before = medium_clone(image);
	cr_expect(zero(int, grow(60, NULL)));
	cr_expect(pair_is_same(before, image));
	medium_free(before);
}

static void expect_refused(uint64_t clusters, const char *word)
{
	struct medium *before = medium_clone(image);
	cr_expect(eq(int, grow(clusters, NULL), -EINVAL));
	cr_expect(ne(ptr, strstr(pl_error(), word), NULL), "%s", pl_error());
	cr_expect(pair_is_same(before, image), "nothing changed");
	medium_free(before);
}

Test(ploop_grow, sizes_that_cannot_be_are_refused)
{
	struct pair_shape s = plain;
	make(s);
	expect_refused(59, "smaller");
	expect_refused(UINT64_C(1) << 33, "address");
	expect_refused(UINT64_MAX / 64, "address");
	s.version = 1;
	make(s);
	expect_refused(UINT64_C(1) << 26, "address");

	struct store *store = store_mem_open(loop, image, NULL);
	cr_expect(eq(int, grow_image(store, 60 * 64 + 1), -EINVAL));
	cr_expect(ne(ptr, strstr(pl_error(), "multiple"), NULL), "%s", pl_error());
	store_close(store);
}

Test(ploop_grow, failure_anywhere_loses_nothing_and_goes_on)
{
	int r = -ENOSPC;
	for (uint64_t at = 1; r < 0; at++) {
		struct fault_plan full = {.from = at, .to = UINT64_MAX, .error = -ENOSPC};
		full.kinds = FAULT_KIND(PL_IO_WRITE) | FAULT_KIND(PL_IO_FDATASYNC);
		prng = (struct prng){3};
		make(plain);
		autofree uint8_t *want = shown(pair_bytes(&plain));
		r = grow(9000, &full);
		cr_assert(r == 0 || r == -ENOSPC, "%s", pl_error());
		autofree uint8_t *got = shown(pair_bytes(&plain));
		cr_assert(zero(int, memcmp(got, want, pair_bytes(&plain))));
		cr_assert(zero(int, grow(9000, NULL)), "%s", pl_error());
		expect_grown(want, pair_bytes(&plain), 9000);
	}
}

Test(ploop_grow, raw_gets_a_hole_behind)
{
	image = medium_new();
	medium_write(image, "begin", 5, 0);
	medium_set_size(image, 4096);
	struct store *s = store_mem_open(loop, image, NULL);
	cr_expect(zero(int, grow_raw(s, 100)));
	cr_expect(eq(u64, image->now.size_bytes, 51200));
	cr_expect(eq(int, grow_raw(s, 99), -EINVAL));
	cr_expect(eq(int, grow_raw(s, UINT64_MAX / 2), -EINVAL));
	store_close(s);
}
