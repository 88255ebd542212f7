/* Power failures while images are folded and grown: at every change and sync, what was not durable is lost, kept or
 * torn. The chain, or the image that grows, must show what it did before, and doing it again must end as if nothing
 * had been.
 *
 *   SEED=n      the first pair's seed
 *   CRASHES=n   how many power failures a test tries at least */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "ploop/grow.h"
#include "tests/support/crash_run.h"
#include "tests/support/fold_pair.h"
#include "tests/support/store_mem.h"

#define OUTCOMES 5u /* of a power failure, that are looked at */
#define GROW_OUTCOMES 40u

static struct pl_loop *loop;

static void setup(void)
{
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
}

static void teardown(void)
{
	pl_loop_free(loop);
}

TestSuite(crash_fold, .init = setup, .fini = teardown, .timeout = 100000);

static enum survivors outcome(uint32_t i)
{
	return i == 0 ? SURVIVES_NOTHING : i == 1 ? SURVIVES_ALL : SURVIVES_SOME;
}

/* ---- folding */

struct pair {
	struct pair_shape shape;
	enum pl_merge_into into;
	struct medium *child, *parent;
	uint8_t *want;
	struct prng random;
	bool sync_lies; /* broken on purpose */
	const char *why;
};

static bool shows(struct pair *p, const struct medium *child, const struct medium *parent, const char *why)
{
	uint8_t *got;
	bool raw = parent && p->shape.raw_parent;
	bool same = pair_read(child, parent, raw, pair_bytes(&p->shape), &got) &&
		    memcmp(got, p->want, pair_bytes(&p->shape)) == 0;
	free(got);
	if (!same)
		p->why = why;
	return same;
}

/* With @to as destination: does the chain show what it did, now and after a fold, and the destination alone too? */
static bool look(struct pair *p, struct medium *to)
{
	bool up = p->into == PL_INTO_PARENT;
	struct medium *child = up ? p->child : to, *parent = up ? to : p->parent;
	struct pair_run again = {.into = p->into};
	if (!shows(p, child, parent, "the chain after power failure"))
		return false;
	if (pair_fold(loop, &p->shape, child, parent, &again) < 0) {
		p->why = pl_error();
		return false;
	}
	return shows(p, up ? NULL : to, up ? to : NULL, "folded again");
}

/* The power fails at change @at. */
static bool fail_at(struct pair *p, uint64_t at, bool *reached)
{
	bool up = p->into == PL_INTO_PARENT, ok = true;
	struct medium *to = medium_clone(up ? p->parent : p->child);
	struct pair_run run = {.into = p->into, .order = at % 2 ? &p->random : NULL};
	if (!up || !p->shape.raw_parent) {
		struct lay_header h = pair_header(to);
		to->data_from = (uint64_t)h.first_block_sectors * SECTOR_BYTES;
	}
	struct power power = {.fails_at_op = at};
	medium_start_journal(to, &power);
	to->lies = p->sync_lies;
	int r = pair_fold(loop, &p->shape, up ? p->child : to, up ? to : p->parent, &run);
	*reached = power.failed;
	if (!*reached && r < 0)
		p->why = pl_error();
	for (uint32_t i = 0; i < OUTCOMES && ok && *reached; i++) {
		struct medium *left = medium_after_crash(to, outcome(i), &p->random);
		ok = look(p, left);
		medium_free(left);
	}
	medium_free(to);
	return ok && !p->why;
}

/* One pair, power failures at all its changes. Returns how many. */
static uint64_t walk(uint64_t seed, bool sync_lies, char *why, size_t why_bytes)
{
	struct pair p = {.random = {seed}, .sync_lies = sync_lies};
	p.shape = pair_random_shape(&p.random);
	p.shape.child_clusters = 1 + prng_below(&p.random, p.shape.cluster_sectors > 256 ? 2 : 24);
	p.shape.parent_clusters = p.shape.child_clusters;
	p.into = p.shape.raw_parent || seed % 2 ? PL_INTO_PARENT : PL_INTO_CHILD;
	if (p.into == PL_INTO_CHILD && prng_percent(&p.random, 30))
		p.shape.parent_clusters = 1 + prng_below(&p.random, p.shape.child_clusters);
	p.child = pair_child(&p.shape, &p.random);
	p.parent = pair_parent(&p.shape, &p.random);
	(p.into == PL_INTO_PARENT ? p.child : p.parent)->sealed = true;
	bool reached = pair_read(p.child, p.parent, p.shape.raw_parent, pair_bytes(&p.shape), &p.want);
	uint64_t at = 1;
	for (; reached && !p.why; at++)
		if (!fail_at(&p, at, &reached))
			snprintf(why, why_bytes, "SEED=%llu, power failed at change %llu: %s",
				 (unsigned long long)seed, (unsigned long long)at, p.why);
	medium_free(p.child);
	medium_free(p.parent);
	free(p.want);
	return at;
}

static uint64_t walk_many(uint64_t wanted, bool sync_lies, char *why, size_t why_bytes)
{
	uint64_t crashes = 0, seed = prng_seed(1);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (; crashes < wanted && !why[0]; seed++)
		crashes += walk(seed, sync_lies, why, why_bytes);
	return crashes;
}

Test(crash_fold, chain_shows_the_same_and_folding_again_ends_it)
{
	char why[768] = "";
	walk_many(crash_count(2000), false, why, sizeof(why));
	cr_expect(eq(str, why, ""));
}

/* A test that cannot fail proves nothing. */
Test(crash_fold, D3_broken_entries_before_data_are_caught)
{
	char why[768] = "";
	uint64_t n = walk_many(20000, true, why, sizeof(why));
	cr_log_info("%llu crashes until: %s", (unsigned long long)n, why);
	cr_expect(ne(str, why, ""));
}

/* ---- growing */

struct growth {
	const struct medium *before;
	const uint8_t *want;
	uint64_t old_bytes, sectors;
	struct prng random;
};

static int grow(struct medium *m, uint64_t sectors, struct prng *order)
{
	struct store *s = store_mem_open(loop, m, &(struct store_mem_options){.order = order});
	int r = grow_image(s, sectors);
	store_close(s);
	return r;
}

/* Is there no entry behind the @first ones? */
static bool ends_with_holes(const struct medium *m, uint32_t first)
{
	struct lay_header h = pair_header(m);
	for (uint32_t i = first; i < lay_guest_clusters(&h); i++) {
		uint8_t slot[LAY_BAT_SLOT_BYTES], zeros[LAY_BAT_SLOT_BYTES] = {0};
		medium_read(m, slot, sizeof(slot), lay_slot_offset_bytes(i));
		if (memcmp(slot, zeros, sizeof(slot)) != 0)
			return false;
	}
	return true;
}

static const char *look_at_image(const struct growth *g, const struct medium *m)
{
	uint8_t *got;
	bool sound = pair_read(m, NULL, false, g->old_bytes, &got);
	bool same = memcmp(got, g->want, g->old_bytes) == 0;
	bool zeros = ends_with_holes(m, (uint32_t)(g->old_bytes / (64 * SECTOR_BYTES)));
	free(got);
	return !sound ? "the BAT is damaged" : !same ? "its data is lost" : !zeros ? "what is new is not zeros" : NULL;
}

static const char *grow_failing(struct growth *g, uint64_t at, bool *reached)
{
	struct medium *m = medium_clone(g->before);
	const char *why = NULL;
	struct power power = {.fails_at_op = at};
	medium_start_journal(m, &power);
	int r = grow(m, g->sectors, at % 2 ? &g->random : NULL);
	*reached = power.failed;
	if (!*reached)
		why = r < 0 ? pl_error() : look_at_image(g, m);
	for (uint32_t i = 0; i < GROW_OUTCOMES && !why && *reached; i++) {
		struct medium *left = medium_after_crash(m, outcome(i), &g->random);
		why = look_at_image(g, left);
		if (!why && grow(left, g->sectors, NULL) < 0)
			why = pl_error();
		if (!why)
			why = pair_header(left).size_sectors == g->sectors ? look_at_image(g, left) : "it did not grow";
		medium_free(left);
	}
	medium_free(m);
	return why;
}

Test(crash_fold, growing_image_shows_the_same_and_growing_again_ends_it)
{
	const char *why = NULL;
	for (uint64_t seed = prng_seed(1), last = seed + 6; seed < last && !why; seed++) {
		struct prng random = {seed};
		struct pair_shape s = {.version = 1 + seed % 2, .cluster_sectors = 64, .child_percent = 70};
		s.child_clusters = 1 + prng_below(&random, 30);
		struct medium *before = pair_image(&s, 1, &random);
		uint8_t *want;
		bool reached = pair_read(before, NULL, false, pair_bytes(&s), &want);
		struct growth g = {before, want, pair_bytes(&s), .random = random};
		g.sectors = (seed % 3 ? 9000 : 40) * UINT64_C(64);
		for (uint64_t at = 1; reached && !why; at++)
			why = grow_failing(&g, at, &reached);
		cr_expect(zero(ptr, (void *)why), "SEED=%llu: %s", (unsigned long long)seed, why ? why : "");
		medium_free(before);
		free(want);
	}
}
