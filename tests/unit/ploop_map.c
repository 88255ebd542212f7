/* The merged map, and its limits. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "ploop.h"
#include "ploop/map.h"

Test(ploop_map, starts_as_one_hole)
{
	struct map m;
	cr_assert(eq(int, map_init(&m, 1000), 0));
	for (uint32_t g = 0; g < m.clusters; g++) {
		cr_assert(eq(u8, map_get(&m, (struct gclu){g}).level, MAP_HOLE));
		cr_assert(not(map_has_below(&m, (struct gclu){g})));
	}
	map_fini(&m);
}

Test(ploop_map, keeps_level_file_cluster_and_what_is_below)
{
	struct map m;
	cr_assert(eq(int, map_init(&m, 130), 0));
	map_set(&m, (struct gclu){64}, PL_MAX_CHAIN, (struct fclu){UINT32_MAX});
	map_set_below(&m, (struct gclu){64});
	cr_expect(eq(u8, map_get(&m, (struct gclu){64}).level, PL_MAX_CHAIN));
	cr_expect(eq(u32, map_get(&m, (struct gclu){64}).file.n, UINT32_MAX));
	cr_expect(map_has_below(&m, (struct gclu){64}));
	cr_expect(not(map_has_below(&m, (struct gclu){63})));
	cr_expect(not(map_has_below(&m, (struct gclu){65})));
	map_clear(&m, (struct gclu){64});
	cr_expect(eq(u8, map_get(&m, (struct gclu){64}).level, MAP_HOLE));
	map_fini(&m);
}

Test(ploop_map, refuses_what_is_over_its_budget_with_the_number)
{
	struct map m;
	cr_expect(eq(int, map_init(&m, UINT32_MAX), -E2BIG));
	cr_expect(ne(ptr, (void *)strstr(pl_error(), "4294967295"), NULL), "%s", pl_error());
}
