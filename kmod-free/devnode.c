#include "kmod-free/devnode.h"

#include "ploop.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool is_device_mapper(dev_t dev)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm", major(dev), minor(dev));
	return access(path, F_OK) == 0;
}

bool devnode_is_free(const char *path)
{
	struct stat st;
	if (lstat(path, &st) != 0)
		return errno == ENOENT;
	return S_ISBLK(st.st_mode) && !is_device_mapper(st.st_rdev);
}

int devnode_make(const char *path, uint64_t dev)
{
	char temporary[PATH_MAX];
	snprintf(temporary, sizeof(temporary), "%s.%d", path, getpid());
	if (mkdir(DEVNODE_DIR, 0755) != 0 && errno != EEXIST)
		return pl_fail(-errno, DEVNODE_DIR ": %s", strerror(errno));
	unlink(temporary);
	if (mknod(temporary, S_IFBLK | 0600, dev) == 0 && rename(temporary, path) == 0)
		return 0;
	int r = pl_fail(-errno, "make %s: %s", path, strerror(errno));
	unlink(temporary);
	return r;
}

uint64_t devnode_number(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && S_ISBLK(st.st_mode) ? st.st_rdev : 0;
}

void devnode_remove(const char *path, uint64_t dev)
{
	if (*path && dev && devnode_number(path) == dev)
		unlink(path);
}
