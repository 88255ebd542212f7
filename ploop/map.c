#include "ploop/map.h"

#include <errno.h>
#include <string.h>

#include "base/reserve.h"
#include "ploop.h"

/* 2^28 clusters: 256 TiB in clusters of 1 MiB, 8 TiB in clusters of 32 KiB; 1.3 GiB of memory if all are used. */
#define MAP_MAX_CLUSTERS (UINT32_C(1) << 28)

static size_t bitmap_bytes(uint32_t clusters)
{
	return div_up(clusters, 64) * sizeof(uint64_t);
}

int map_init(struct map *map, uint32_t clusters)
{
	if (clusters > MAP_MAX_CLUSTERS)
		return pl_fail(-E2BIG, "the disk has %u clusters, the map holds up to %u: larger clusters are needed",
			       clusters, MAP_MAX_CLUSTERS);
	*map = (struct map){
		.clusters = clusters,
		.file = space_reserve(clusters * sizeof(uint32_t)),
		.level = space_reserve(clusters),
		.below = space_reserve(bitmap_bytes(clusters)),
	};
	if (map->file && map->level && map->below)
		return 0;
	map_fini(map);
	return pl_fail(-ENOMEM, "no memory for a map of %u clusters", clusters);
}

void map_lower(struct map *map, uint8_t level)
{
	for (uint32_t i = 0; i < map->clusters; i++)
		if (map->level[i] == level)
			map_set_below(map, (struct gclu){i});
}

void map_clear_below(struct map *map)
{
	space_clear(map->below, bitmap_bytes(map->clusters));
}

void map_fini(struct map *map)
{
	space_release(map->file, map->clusters * sizeof(uint32_t));
	space_release(map->level, map->clusters);
	space_release(map->below, bitmap_bytes(map->clusters));
	memset(map, 0, sizeof(*map));
}
