/* switch_table NAME MAJOR:MINOR: from here on /dev/mapper/NAME maps that block device, though it is in use. */
#include "base/units.h"
#include "kmod-free/dm.h"
#include "kmod-free/sysfs.h"
#include "ploop.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

int main(int argc, char **argv)
{
	unsigned major_number, minor_number;
	char sectors[32];
	if (argc != 3 || sscanf(argv[2], "%u:%u", &major_number, &minor_number) != 2)
		return 2;
	struct dmt_map map = {.below = makedev(major_number, minor_number)};
	int r = sysfs_read_line(sectors, sizeof(sectors), "/sys/dev/block/%s/size", argv[2]);
	if (r == 0) {
		map.length_bytes = strtoull(sectors, NULL, 10) * SECTOR_BYTES;
		r = dmt_switch(argv[1], &map);
	}
	if (r < 0)
		fprintf(stderr, "switch_table: %s\n", pl_error());
	return r < 0;
}
