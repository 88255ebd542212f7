/* The map of a chain, in memory: guest cluster → (level, file cluster). A lookup costs the same at any depth.
 * Five bytes and a bit per cluster; pages that were never written are never touched: an empty disk costs nothing. */
#ifndef PLOOP_MAP_H
#define PLOOP_MAP_H

#include "base/units.h"

/* Where a guest cluster lives. */
struct map_entry {
	uint8_t level; /* MAP_HOLE, or 1 + index of the image in the chain */
	struct fclu file;
};
#define MAP_HOLE 0

struct map {
	uint32_t clusters;
	uint32_t *file;   /* file cluster, valid where level is no hole */
	uint8_t *level;
	uint64_t *below;  /* bit: a delta below the top has it, so that a hole in the top would uncover it */
};

/* -E2BIG: @clusters is over the budget (pl_error says it) · -ENOMEM */
int map_init(struct map *map, uint32_t clusters);
void map_fini(struct map *map);

static inline struct map_entry map_get(const struct map *map, struct gclu g)
{
	return (struct map_entry){.level = map->level[g.n], .file = {map->file[g.n]}};
}

static inline void map_set(struct map *map, struct gclu g, uint8_t level, struct fclu f)
{
	map->file[g.n] = f.n;
	map->level[g.n] = level;
}

static inline void map_clear(struct map *map, struct gclu g)
{
	map->level[g.n] = MAP_HOLE;
}

/* What @level has is below from now on. */
void map_lower(struct map *map, uint8_t level);
/* Nothing is below any more. */
void map_clear_below(struct map *map);

static inline bool map_has_below(const struct map *map, struct gclu g)
{
	return map->below[g.n / 64] >> (g.n % 64) & 1;
}

static inline void map_set_below(struct map *map, struct gclu g)
{
	map->below[g.n / 64] |= UINT64_C(1) << (g.n % 64);
}

#endif
