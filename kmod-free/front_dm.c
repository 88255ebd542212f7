/* The names as devices of device-mapper. */
#include "kmod-free/dm.h"
#include "kmod-free/front.h"

#include "base/units.h"
#include "kmod-free/devnode.h"
#include "kmod-free/sysfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* A node that is left of a dead device is replaced. */
static bool dm_is_free(const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), DEVNODE_DIR "/%s", name);
	return !dmt_exists(name) && devnode_is_free(path);
}

static int size_of(uint64_t dev, uint64_t *bytes)
{
	char text[32];
	int r = sysfs_read_line(text, sizeof(text), "/sys/dev/block/%u:%u/size", major(dev), minor(dev));
	if (r < 0)
		return pl_fail(r, "size of block device %u:%u: %s", major(dev), minor(dev), strerror(-r));
	*bytes = strtoull(text, NULL, 10) * SECTOR_BYTES;
	return 0;
}

static int dm_make(struct pl_device *d)
{
	struct dmt_map map = {.below = d->raw_dev, .readonly = d->readonly};
	int r = size_of(d->raw_dev, &map.length_bytes);
	return r == 0 ? dmt_create(d->name, &map, &d->dev) : r;
}

/* Above the disk's own name, so that one exchange of its table moves both. */
static int dm_add_partition(struct pl_device *d, uint64_t offset_bytes, uint64_t length_bytes)
{
	const char *name = d->partition + strlen(DEVNODE_DIR "/");
	struct dmt_map map = {
		.below = d->dev,
		.offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
		.readonly = d->readonly,
	};
	if (d->partition_dev)
		return dmt_switch(name, &map);
	if (!dm_is_free(name))
		return pl_fail(-EBUSY, "%s belongs to somebody else", d->partition);
	return dmt_create(name, &map, &d->partition_dev);
}

static bool dm_recognise(struct pl_device *d)
{
	dmt_find(d->partition + strlen(DEVNODE_DIR "/"), &d->partition_dev);
	return dmt_find(d->name, &d->dev);
}

static int dm_remove(const struct pl_device *d, uint64_t deadline_ns)
{
	return dmt_remove(d->name, deadline_ns);
}

const struct front front_dm = {
	.name = "device-mapper",
	.probe = dmt_probe,
	.is_free = dm_is_free,
	.make = dm_make,
	.add_partition = dm_add_partition,
	.recognise = dm_recognise,
	.remove = dm_remove,
};
