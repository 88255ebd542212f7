/* Disks over FUSE that run although the registry has no entry of them: somebody wiped the run directory. Their mounts
 * tell. Those over nbd get their entries again (restore.c). */
#include "ploop-serve.h"

#include "base/cleanup.h"
#include "kmod-free/dm.h"
#include "kmod-free/loopdev.h"
#include "kmod-free/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FUSE_FOLDER "/fuse"
#define NAME_BYTES  32

/* Is the mount point RUN/NAME/fuse? */
static bool name_of(const char *mount_point, const char *run, char name[NAME_BYTES])
{
	size_t n = strlen(run), length = strlen(mount_point);
	if (strncmp(mount_point, run, n) != 0 || mount_point[n] != '/' || length < n + 1 + strlen(FUSE_FOLDER) ||
	    strcmp(mount_point + length - strlen(FUSE_FOLDER), FUSE_FOLDER) != 0)
		return false;
	size_t bytes = length - strlen(FUSE_FOLDER) - n - 1;
	if (bytes == 0 || bytes >= NAME_BYTES || memchr(mount_point + n + 1, '/', bytes))
		return false;
	snprintf(name, NAME_BYTES, "%.*s", (int)bytes, mount_point + n + 1);
	return true;
}

static bool is_known(const char *name)
{
	struct pl_device *device = NULL;
	bool known = registry_load(name, &device) == 0;
	pl_device_free(device);
	return known;
}

static void tell(const char *name, const char *folder, void (*each)(void *arg, const char *sentence), void *arg)
{
	char text[1024], file[PATH_MAX], loop[64] = "", mapped[128] = "";
	uint64_t number, dev;
	if (dmt_find(name, &dev))
		snprintf(mapped, sizeof(mapped), "dmsetup remove --verifyudev %sp1 %s; ", name, name);
	snprintf(file, sizeof(file), "%s/disk", folder);
	if (loopdev_find(file, &number) == 0)
		snprintf(loop, sizeof(loop), "losetup -d /dev/loop%llu; ", (unsigned long long)number);
	snprintf(text, sizeof(text),
		 "%s runs, but its entry in the run directory is gone: unmount what is mounted from /dev/mapper/%s, "
		 "then: %s%sumount %s", name, name, mapped, loop, folder);
	each(arg, text);
}

int pl_device_lost(void (*each)(void *arg, const char *sentence), void *arg)
{
	char run[PATH_MAX], mount_point[PATH_MAX], name[NAME_BYTES];
	autofree char *line = NULL;
	size_t line_bytes = 0;
	int r = pl_run_dir(run, sizeof(run));
	if (r < 0)
		return r;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	if (!in)
		return pl_fail(-errno, "/proc/self/mountinfo: %s", strerror(errno));
	while (getline(&line, &line_bytes, in) > 0)
		if (sscanf(line, "%*s %*s %*s %*s %4095s", mount_point) == 1 && name_of(mount_point, run, name) &&
		    !is_known(name))
			tell(name, mount_point, each, arg);
	fclose(in);
	pl_error_clear();
	return 0;
}
