#include "kmod-free/loopdev.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "base/wait.h"
#include "kmod-free/kmodule.h"
#include "kmod-free/sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define CONTROL "/dev/loop-control"
#define RACES   64 /* lost against others who take the same free device */

int loopdev_probe(void)
{
	int r = access(CONTROL, F_OK) == 0 ? 0 : kmodule_load("loop");
	if (r < 0)
		return r;
	autofd int fd = open(CONTROL, O_RDWR | O_CLOEXEC);
	return fd < 0 ? pl_fail(-errno, CONTROL ": %s", strerror(errno)) : 0;
}

static int open_loop(uint64_t number, int flags)
{
	char path[32];
	snprintf(path, sizeof(path), "/dev/loop%llu", (unsigned long long)number);
	int fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? pl_fail(-errno, "%s: %s", path, strerror(errno)) : fd;
}

static int configure(uint64_t number, const char *file, int file_fd, uint32_t flags)
{
	autofd int fd = open_loop(number, O_RDWR);
	if (fd < 0)
		return fd;
	struct loop_config config = {.fd = (uint32_t)file_fd, .info.lo_flags = flags};
	snprintf((char *)config.info.lo_file_name, sizeof(config.info.lo_file_name), "%s", file);
	if (ioctl(fd, LOOP_CONFIGURE, &config) != 0)
		return errno == EBUSY ? -EBUSY
				      : pl_fail(-errno, "loop device %llu on %s: %s", (unsigned long long)number, file,
						strerror(errno));
	return 0;
}

static int take_free(const char *file, int file_fd, uint32_t flags, uint64_t *number)
{
	autofd int control = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (control < 0)
		return pl_fail(-errno, CONTROL ": %s", strerror(errno));
	for (int i = 0; i < RACES; i++) {
		int free_number = ioctl(control, LOOP_CTL_GET_FREE);
		if (free_number < 0)
			return pl_fail(-errno, "no free loop device: %s", strerror(errno));
		int r = configure((uint64_t)free_number, file, file_fd, flags);
		if (r != -EBUSY) {
			*number = (uint64_t)free_number;
			return r;
		}
	}
	return pl_fail(-EBUSY, "others took each of %d free loop devices first", RACES);
}

int loopdev_attach(const char *file, bool readonly, uint64_t *number, uint64_t *dev)
{
	autofd int file_fd = open(file, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	if (file_fd < 0)
		return pl_fail(-errno, "%s: %s", file, strerror(errno));
	int r = take_free(file, file_fd, LO_FLAGS_DIRECT_IO | (readonly ? LO_FLAGS_READ_ONLY : 0), number);
	if (r < 0)
		return r;
	return sysfs_read_dev(dev, "/sys/block/loop%llu/dev", (unsigned long long)*number);
}

/* By the name that it was given: the path in sysfs changes when the file's mount is detached from the tree. */
static bool is_attached(uint64_t number, const char *file)
{
	struct loop_info64 info;
	autofd int fd = open_loop(number, O_RDONLY);
	return fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
	       strncmp((const char *)info.lo_file_name, file, sizeof(info.lo_file_name) - 1) == 0;
}

/* While others have the disk open, detaching only notes that it shall go with the last of them. */
static int try_detach(uint64_t number)
{
	autofd int fd = open_loop(number, O_RDONLY);
	if (fd < 0)
		return fd;
	if (ioctl(fd, LOOP_CLR_FD) != 0 && errno != ENXIO && errno != EBUSY)
		return pl_fail(-errno, "detach loop device %llu: %s", (unsigned long long)number, strerror(errno));
	return 0;
}

int loopdev_detach(uint64_t number, const char *file, uint64_t deadline_ns)
{
	struct wait wait = WAIT_UNTIL(deadline_ns);
	while (is_attached(number, file)) {
		int r = try_detach(number);
		if (r < 0)
			return r;
		if (is_attached(number, file) && !wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-EBUSY, "loop device %llu is still open", (unsigned long long)number);
	}
	return 0;
}

int loopdev_find(const char *file, uint64_t *number)
{
	DIR *dir = opendir("/sys/block");
	if (!dir)
		return -errno;
	int r = -ENOENT;
	struct dirent *entry;
	while (r < 0 && (entry = readdir(dir))) {
		unsigned long long n;
		if (sscanf(entry->d_name, "loop%llu", &n) == 1 && is_attached(n, file)) {
			*number = n;
			r = 0;
		}
	}
	closedir(dir);
	return r;
}
