#include "ploop/map.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "ploop.h"

/* 2^28 clusters: 256 TiB in clusters of 1 MiB, 8 TiB in clusters of 32 KiB; 1.3 GiB of memory if all are used. */
#define MAP_MAX_CLUSTERS (UINT32_C(1) << 28)

static size_t bitmap_bytes(uint32_t clusters)
{
	return div_up(clusters, 64) * sizeof(uint64_t);
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_DONTFORK);
	return p;
}

int map_init(struct map *map, uint32_t clusters)
{
	if (clusters > MAP_MAX_CLUSTERS)
		return pl_fail(-E2BIG, "the disk has %u clusters, the map holds up to %u: larger clusters are needed",
			       clusters, MAP_MAX_CLUSTERS);
	*map = (struct map){
		.clusters = clusters,
		.file = reserve(clusters * sizeof(uint32_t)),
		.level = reserve(clusters),
		.below = reserve(bitmap_bytes(clusters)),
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
	madvise(map->below, bitmap_bytes(map->clusters), MADV_DONTNEED);
}

void map_fini(struct map *map)
{
	if (map->file)
		munmap(map->file, map->clusters * sizeof(uint32_t));
	if (map->level)
		munmap(map->level, map->clusters);
	if (map->below)
		munmap(map->below, bitmap_bytes(map->clusters));
	memset(map, 0, sizeof(*map));
}
