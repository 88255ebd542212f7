/* Which file clusters are free, and in what order they are taken. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>

#include "ploop/alloc.h"
#include "tests/support/prng.h"

static struct alloc a;

/* First data cluster 2, 8 clusters in the file, no more than 12 ever; 3 and 5 are in use. */
static void setup(void)
{
	cr_assert(eq(int, alloc_init(&a, 2, 12), 0));
	alloc_mark(&a, (struct fclu){3});
	alloc_mark(&a, (struct fclu){5});
	alloc_start(&a, 8);
}

static void teardown(void)
{
	alloc_fini(&a);
}

TestSuite(ploop_alloc, .init = setup, .fini = teardown);

static int take(bool *reused)
{
	struct fclu f;
	int r = alloc_take(&a, &f, reused);
	return r < 0 ? r : (int)f.n;
}

Test(ploop_alloc, D4_clusters_of_the_old_file_are_reused_lowest_first_and_said_to_be)
{
	static const int order[] = {2, 4, 6, 7};
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		bool reused = false;
		cr_expect(eq(int, take(&reused), order[i]));
		cr_expect(reused);
	}
}

Test(ploop_alloc, new_space_must_be_there_first_and_is_fresh)
{
	bool reused;
	for (int i = 0; i < 4; i++)
		take(&reused);
	cr_expect(eq(int, take(&reused), -EAGAIN));
	a.space = 10;
	cr_expect(eq(int, take(&reused), 8));
	cr_expect(not(reused));
	cr_expect(eq(int, take(&reused), 9));
	cr_expect(eq(int, take(&reused), -EAGAIN));
}

Test(ploop_alloc, a_cluster_once_taken_is_no_longer_fresh)
{
	bool reused;
	for (int i = 0; i < 4; i++)
		take(&reused);
	a.space = 10;
	int f = take(&reused);
	alloc_give(&a, (struct fclu){(uint32_t)f});
	cr_expect(eq(int, take(&reused), f));
	cr_expect(reused);
}

Test(ploop_alloc, the_format_has_an_end)
{
	bool reused;
	a.space = 12;
	for (int i = 0; i < 8; i++)
		cr_expect(ge(int, take(&reused), 2));
	cr_expect(eq(int, take(&reused), -ENOSPC));
	alloc_give(&a, (struct fclu){7});
	cr_expect(eq(int, take(&reused), 7));
}

Test(ploop_alloc, the_file_ends_behind_the_last_used_cluster)
{
	cr_expect(eq(u32, alloc_end(&a), 6));
	alloc_give(&a, (struct fclu){5});
	cr_expect(eq(u32, alloc_end(&a), 4));
	alloc_give(&a, (struct fclu){3});
	cr_expect(eq(u32, alloc_end(&a), 2));
}

Test(ploop_alloc, random_takes_and_gives_never_hand_out_a_cluster_twice)
{
	struct alloc big;
	struct prng p = {1};
	static bool taken[3000];
	uint32_t used = 0;
	cr_assert(eq(int, alloc_init(&big, 1, ARRAY_LEN(taken)), 0));
	alloc_start(&big, 1);
	big.space = ARRAY_LEN(taken);
	for (int i = 0; i < 50000; i++) {
		uint32_t f = prng_below(&p, ARRAY_LEN(taken));
		if (prng_percent(&p, 45) && taken[f]) {
			alloc_give(&big, (struct fclu){f});
			taken[f] = false;
			used--;
			continue;
		}
		struct fclu got;
		bool reused;
		if (alloc_take(&big, &got, &reused) < 0)
			continue;
		cr_assert(not(taken[got.n]));
		taken[got.n] = true;
		used++;
		cr_assert(eq(u32, big.used_count, used));
	}
	alloc_fini(&big);
}
