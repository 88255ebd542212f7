#include "control_full.h"

#include "ploop-serve.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static int name_file(const char *socket, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s" CONTROL_FULL_SUFFIX, socket);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

void control_full_note(const char *socket, const struct pl_disk_stat *stat)
{
	char path[PATH_MAX];
	if (name_file(socket, path) < 0)
		return;
	autofd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || dprintf(fd, "%d %s\n", stat->full_errno, stat->full_path) < 0)
		pl_log(PL_LOG_WARN, "control", "%s: %s", path, strerror(errno));
}

void control_full_clear(const char *socket)
{
	char path[PATH_MAX];
	if (name_file(socket, path) == 0)
		unlink(path);
}

void pl_full_sentence(int err, const char *path, uint64_t seconds, char *out, size_t bytes)
{
	snprintf(out, bytes, "no space on the host for %s (%s): writes wait, for %llu s", path, strerror(err),
		 (unsigned long long)seconds);
}
