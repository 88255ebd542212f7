/* The one file that knows libblkid: it reads every kind of table there is. What it says is bounded by the disk here. */
#include "cli/guest_partition.h"

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "ploop.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <string.h>

DEFINE_AUTO(blkid_probe, probe, blkid_free_probe, NULL)

static int bound(const char *node, blkid_probe probe, blkid_partition part, uint64_t *offset_bytes, uint64_t *length_bytes)
{
	uint64_t size = (uint64_t)blkid_probe_get_size(probe);
	if (!checked_mul((uint64_t)blkid_partition_get_start(part), SECTOR_BYTES, offset_bytes) ||
	    !checked_mul((uint64_t)blkid_partition_get_size(part), SECTOR_BYTES, length_bytes) ||
	    !range_fits(*offset_bytes, *length_bytes, size))
		return pl_fail(-EUCLEAN, "%s: partition 1 at sector %lld of %lld sectors leaves the disk, which has %llu bytes",
			       node, (long long)blkid_partition_get_start(part), (long long)blkid_partition_get_size(part),
			       (unsigned long long)size);
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
	return part ? bound(node, probe, part, offset_bytes, length_bytes) : 0;
}
