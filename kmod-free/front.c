#include "kmod-free/front.h"

#include "base/units.h"
#include "kmod-free/blkpart.h"
#include "kmod-free/devnode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The best first; the last works everywhere. */
static const struct front *const fronts[] = {&front_dm, &front_nodes};

int front_find(const char *name, const struct front **out)
{
	for (size_t i = 0; i < ARRAY_LEN(fronts); i++) {
		if (strcmp(fronts[i]->name, name) == 0) {
			*out = fronts[i];
			return 0;
		}
	}
	return pl_fail(-EINVAL, "no such kind of device: %s", name);
}

const struct front *front_choose(void)
{
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(fronts) && fronts[i]->probe() < 0)
		i++;
	pl_error_clear();
	return fronts[i];
}

void front_recognise(struct pl_device *d)
{
	size_t i = 0;
	while (!fronts[i]->recognise(d))
		i++;
	snprintf(d->front, sizeof(d->front), "%s", fronts[i]->name);
	pl_error_clear();
}

/* ------------------------------------------------------------------ plain nodes */

static int nodes_probe(void)
{
	return 0;
}

static bool nodes_are_free(const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), DEVNODE_DIR "/%s", name);
	return devnode_is_free(path);
}

static int nodes_make(struct pl_device *d)
{
	d->dev = d->raw_dev;
	return devnode_make(d->node, d->dev);
}

static int nodes_add_partition(struct pl_device *d, uint64_t offset_bytes, uint64_t length_bytes)
{
	int r = blkpart_add(d->raw_dev, offset_bytes, length_bytes, &d->partition_dev);
	return r == 0 ? devnode_make(d->partition, d->partition_dev) : r;
}

static bool nodes_recognise(struct pl_device *d)
{
	d->dev = d->raw_dev;
	d->partition_dev = devnode_number(d->partition);
	return true;
}

static int nodes_remove(const struct pl_device *d, uint64_t deadline_ns)
{
	int r = d->raw_dev ? blkpart_remove_all(d->raw_dev, deadline_ns) : 0;
	if (r < 0)
		return r;
	devnode_remove(d->partition, d->partition_dev);
	return 0;
}

const struct front front_nodes = {
	.name = "nodes",
	.probe = nodes_probe,
	.is_free = nodes_are_free,
	.make = nodes_make,
	.add_partition = nodes_add_partition,
	.recognise = nodes_recognise,
	.remove = nodes_remove,
};
