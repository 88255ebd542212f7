#include "kmod-free/blkpart.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "kmod-free/sysfs.h"
#include "ploop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/blkpg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

static int blkpg(int fd, int op, int number, uint64_t offset_bytes, uint64_t length_bytes)
{
	struct blkpg_partition part = {
		.start = (long long)offset_bytes,
		.length = (long long)length_bytes,
		.pno = number,
	};
	struct blkpg_ioctl_arg arg = {.op = op, .datalen = sizeof(part), .data = &part};
	return ioctl(fd, BLKPG, &arg) == 0 ? 0 : -errno;
}

int blkpart_add(uint64_t dev, uint64_t offset_bytes, uint64_t length_bytes, uint64_t *partition_dev)
{
	char name[SYSFS_NAME_BYTES];
	autofd int fd = sysfs_open_block(dev, O_RDONLY);
	if (fd < 0)
		return fd;
	int r = sysfs_block_name(dev, name);
	if (r < 0)
		return r;
	blkpg(fd, BLKPG_DEL_PARTITION, 1, 0, 0);
	r = blkpg(fd, BLKPG_ADD_PARTITION, 1, offset_bytes, length_bytes);
	if (r < 0)
		return pl_fail(r, "partition at %llu of %llu bytes on %s: %s", (unsigned long long)offset_bytes,
			       (unsigned long long)length_bytes, name, strerror(-r));
	return sysfs_read_dev(partition_dev, "/sys/block/%s/%sp1/dev", name, name);
}

/* The number of the partition whose folder of sysfs lies there: -ENOENT: it is none. */
static int partition_number(uint64_t dev, const char *folder)
{
	char text[16];
	if (sysfs_read_line(text, sizeof(text), "/sys/dev/block/%u:%u/%s/partition", major(dev), minor(dev),
			    folder) < 0)
		return -ENOENT;
	return (int)strtol(text, NULL, 10);
}

static int remove_each(uint64_t dev, DIR *folders)
{
	autofd int fd = -1;
	int r = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(folders))) {
		int number = entry->d_name[0] == '.' ? -ENOENT : partition_number(dev, entry->d_name);
		if (number <= 0)
			continue;
		if (fd < 0)
			fd = sysfs_open_block(dev, O_RDONLY);
		if (fd < 0)
			return fd;
		r = blkpg(fd, BLKPG_DEL_PARTITION, number, 0, 0);
		if (r == -ENXIO)
			r = 0; /* gone meanwhile */
		if (r < 0)
			r = pl_fail(r, "%s: %s", entry->d_name, strerror(-r));
	}
	return r;
}

int blkpart_remove_all(uint64_t dev, uint64_t deadline_ns)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	struct wait wait = WAIT_UNTIL(deadline_ns);
	int r;
	do {
		DIR *folders = opendir(path);
		if (!folders)
			return 0; /* the device is gone */
		r = remove_each(dev, folders);
		closedir(folders);
	} while (r == -EBUSY && wait_a_moment(&wait, pl_now_ns()));
	return r;
}
