#include "kmod-free/sysfs.h"

#include "base/cleanup.h"
#include "ploop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

static int read_line(const char *path, char *out, size_t out_bytes)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, out_bytes - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

int sysfs_read_line(char *out, size_t out_bytes, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	int r = read_line(path, out, out_bytes);
	return r == 0 || r == -ENOENT ? r : pl_fail(r, "%s: %s", path, strerror(-r));
}

int sysfs_read_dev(uint64_t *dev, const char *fmt, ...)
{
	char path[PATH_MAX], text[32];
	unsigned major_number, minor_number;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	int r = read_line(path, text, sizeof(text));
	if (r < 0)
		return pl_fail(r, "%s: %s", path, strerror(-r));
	if (sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
		return pl_fail(-EIO, "%s is not a device number: %s", path, text);
	*dev = makedev(major_number, minor_number);
	return 0;
}

int sysfs_block_name(uint64_t dev, char name[SYSFS_NAME_BYTES])
{
	char path[64], target[PATH_MAX];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return pl_fail(-ENODEV, "there is no block device %u:%u", major(dev), minor(dev));
	target[n] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(name, SYSFS_NAME_BYTES, "%.*s", SYSFS_NAME_BYTES - 1, slash ? slash + 1 : target);
	return 0;
}

int sysfs_open_block(uint64_t dev, int flags)
{
	char name[SYSFS_NAME_BYTES], path[SYSFS_NAME_BYTES + 8];
	int r = sysfs_block_name(dev, name);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/dev/%s", name);
	int fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? pl_fail(-errno, "%s: %s", path, strerror(errno)) : fd;
}
