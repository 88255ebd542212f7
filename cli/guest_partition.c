/* The one file that knows libblkid: it reads every kind of table there is. What it says is bounded by the disk here. */
#include "cli/guest_partition.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "ploop.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

DEFINE_AUTO(blkid_probe, probe, blkid_free_probe, NULL)

static int take_range(const char *node, uint64_t disk_bytes, blkid_partition part, uint64_t *offset_bytes,
		      uint64_t *length_bytes)
{
	uint64_t start = (uint64_t)blkid_partition_get_start(part);
	uint64_t sectors = (uint64_t)blkid_partition_get_size(part);
	if (!checked_mul(start, SECTOR_BYTES, offset_bytes) || !checked_mul(sectors, SECTOR_BYTES, length_bytes) ||
	    !range_fits(*offset_bytes, *length_bytes, disk_bytes))
		return pl_fail(-EUCLEAN,
			       "%s: partition 1 at sector %" PRIu64 " of %" PRIu64 " sectors leaves a disk of %" PRIu64
			       " bytes", node, start, sectors, disk_bytes);
	return 0;
}

int guest_find_partition(const char *node, uint64_t *offset_bytes, uint64_t *length_bytes)
{
	errno = 0;
	__attribute__((cleanup(probe_autop))) blkid_probe probe = blkid_new_probe_from_filename(node);
	if (!probe)
		return pl_fail(errno ? -errno : -EIO, "%s: %s", node, strerror(errno));
	blkid_probe_enable_superblocks(probe, 0);
	blkid_probe_enable_partitions(probe, 1);
	*offset_bytes = *length_bytes = 0;
	blkid_partlist list = blkid_probe_get_partitions(probe);
	blkid_partition part = list ? blkid_partlist_get_partition_by_partno(list, 1) : NULL;
	if (!part)
		return 0;
	return take_range(node, (uint64_t)blkid_probe_get_size(probe), part, offset_bytes, length_bytes);
}
