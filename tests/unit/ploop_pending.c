/* The table of map changes that are not durable: slots, rounds, limits. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ploop/pending.h"

#define CLUSTERS 5000000u

static struct pending *p;
static struct pending_shm *shm;
static uint32_t pages[PENDING_MAX_PAGES];

static void setup(void)
{
	int fd;
	cr_assert(eq(int, pending_shm_new(CLUSTERS, 1 << 20, &fd, &shm), 0));
	close(fd);
	cr_assert(eq(int, pending_new(shm, CLUSTERS, &p), 0));
}

static void teardown(void)
{
	pending_free(p);
}

TestSuite(ploop_pending, .init = setup, .fini = teardown);

static void set(uint32_t g, uint32_t f)
{
	cr_assert(eq(int, pending_reserve(p), 0));
	pending_set(p, (struct gclu){g}, (struct fclu){f});
}

/* What a reader of the shared memory finds for @g; UINT32_MAX: nothing. */
static uint32_t shared(uint32_t g)
{
	uint32_t found = UINT32_MAX;
	for (uint32_t s = 0; s < PENDING_SLOTS; s++) {
		if (shm->slots[s] == PENDING_EMPTY || shm->slots[s] >> 32 != g)
			continue;
		cr_expect(eq(u32, found, UINT32_MAX), "two slots for one cluster");
		found = (uint32_t)shm->slots[s];
	}
	return found;
}

Test(ploop_pending, D2_a_change_is_in_shared_memory_when_it_is_set)
{
	set(7, 100);
	cr_expect(eq(u32, shared(7), 100));
	set(7, 0);
	cr_expect(eq(u32, shared(7), 0));
	cr_expect(not(pending_shm_is_empty(shm)));
}

Test(ploop_pending, a_change_leaves_when_its_round_is_durable)
{
	set(7, 100);
	cr_expect(eq(u32, pending_cut(p, pages), 1));
	cr_expect(pending_has(p, (struct gclu){7}));
	cr_expect(eq(u32, shared(7), 100));
	pending_settle(p);
	cr_expect(not(pending_has(p, (struct gclu){7})));
	cr_expect(pending_shm_is_empty(shm));
}

Test(ploop_pending, what_changes_during_a_round_stays_for_the_next)
{
	set(7, 100);
	pending_cut(p, pages);
	set(7, 200);
	set(8, 300);
	pending_settle(p);
	cr_expect(eq(u32, shared(7), 200));
	cr_expect(eq(u32, p->live_count, 2));
	cr_expect(eq(u32, pending_cut(p, pages), 1));
	pending_settle(p);
	cr_expect(pending_shm_is_empty(shm));
}

Test(ploop_pending, a_failed_round_keeps_everything)
{
	set(7, 100);
	set(2000, 101);
	pending_cut(p, pages);
	set(7, 200);
	pending_unsettle(p);
	cr_expect(eq(u32, p->live_count, 2));
	cr_expect(eq(u32, shared(7), 200));
	cr_expect(eq(u32, pending_cut(p, pages), 2));
}

Test(ploop_pending, a_cut_names_each_dirty_page_of_the_bat_once_in_order)
{
	static const uint32_t gs[] = {4194303, 0, 1007, 1008, 2031, 2032};
	for (size_t i = 0; i < ARRAY_LEN(gs); i++)
		set(gs[i], 1 + (uint32_t)i);
	cr_assert(eq(u32, pending_cut(p, pages), 4));
	cr_expect(eq(u32, pages[0], 0));
	cr_expect(eq(u32, pages[1], 1));
	cr_expect(eq(u32, pages[2], 2));
	cr_expect(eq(u32, pages[3], 4096));
}

Test(ploop_pending, no_more_is_promised_than_one_round_can_write)
{
	uint32_t n = 0;
	while (pending_reserve(p) == 0) {
		pending_set(p, (struct gclu){n * 1024}, (struct fclu){n + 1});
		n++;
	}
	cr_expect(eq(u32, n, PENDING_MAX_PAGES));
	cr_expect(pending_is_tight(p));
	cr_expect(eq(u32, pending_cut(p, pages), PENDING_MAX_PAGES));
	cr_expect(eq(int, pending_reserve(p), -EAGAIN));
	pending_settle(p);
	cr_expect(eq(int, pending_reserve(p), 0));
	pending_unreserve(p);
}

Test(ploop_pending, slots_end_and_come_back)
{
	uint32_t n = 0;
	for (; pending_reserve(p) == 0; n++)
		pending_set(p, (struct gclu){n}, (struct fclu){n + 1});
	cr_expect(eq(u32, n, PENDING_SLOTS));
	pending_cut(p, pages);
	pending_settle(p);
	cr_expect(pending_shm_is_empty(shm));
	cr_expect(eq(u32, p->free_count, PENDING_SLOTS));
}

Test(ploop_pending, D2_a_successor_finds_what_was_left_and_makes_it_durable)
{
	set(7, 100);
	set(9, 0);
	pending_cut(p, pages); /* the server died in a round */
	struct pending *next;
	cr_assert(eq(int, pending_new(shm, CLUSTERS, &next), 0));
	cr_expect(eq(u32, next->live_count, 2));
	cr_expect(pending_has(next, (struct gclu){9}));
	cr_expect(eq(u32, pending_cut(next, pages), 1));
	pending_settle(next);
	cr_expect(pending_shm_is_empty(shm));
	free(next->dirty_pages);
	free(next);
}

Test(ploop_pending, D9_a_table_that_no_round_can_write_is_refused)
{
	struct pending *next;
	for (uint32_t i = 0; i <= PENDING_MAX_PAGES; i++)
		shm->slots[i] = (uint64_t)(i * 1024) << 32 | (i + 1);
	cr_expect(eq(int, pending_new(shm, CLUSTERS, &next), -EUCLEAN));
}

static void count_line(void *arg, const char *text)
{
	(*(uint32_t *)arg)++;
	cr_expect(ne(ptr, (void *)strstr(text, "event"), NULL), "%s", text);
}

Test(ploop_pending, the_last_events_are_kept)
{
	uint32_t lines = 0;
	for (uint32_t i = 0; i < PENDING_EVENTS + 10; i++)
		pending_event(shm, "event", i, 0);
	pending_dump(shm, count_line, &lines);
	cr_expect(eq(u32, lines, PENDING_EVENTS));
}
