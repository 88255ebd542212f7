/* The folder for sockets and state of this user's servers. */
#include "ploop.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int name_run_dir(char *out, size_t out_bytes)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;
	if (geteuid() == 0)
		n = snprintf(out, out_bytes, "/run/ploop");
	else if (runtime && *runtime == '/')
		n = snprintf(out, out_bytes, "%s/ploop", runtime);
	else
		n = snprintf(out, out_bytes, "/tmp/ploop-%u", (unsigned)geteuid());
	if (n < 0 || (size_t)n >= out_bytes)
		return pl_fail(-ENAMETOOLONG, "run directory: its path is longer than %zu bytes", out_bytes);
	return 0;
}

/* Somebody else may have made it first, in /tmp even on purpose. Readable by others is harmless (the sockets are
 * 0600, and stock ploop makes its /run/ploop 0755); writable or owned by others is not. */
static int check_ours(const char *path)
{
	autofd int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP
			       ? pl_fail(-EACCES, "run directory %s: it is not a directory", path)
			       : pl_fail(-errno, "run directory %s: %s", path, strerror(errno));
	struct stat st;
	if (fstat(fd, &st))
		return pl_fail(-errno, "run directory %s: %s", path, strerror(errno));
	if (st.st_uid != geteuid())
		return pl_fail(-EACCES, "run directory %s: it belongs to user %u, not to us (%u)", path,
			       (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return pl_fail(-EACCES, "run directory %s: others may write to it (mode %04o)", path,
			       (unsigned)st.st_mode & 07777);
	return 0;
}

int pl_run_dir(char *out, size_t out_bytes)
{
	char path[4096];
	int r = name_run_dir(path, out_bytes < sizeof(path) ? out_bytes : sizeof(path));
	if (r)
		return r;
	if (mkdir(path, 0700) && errno != EEXIST)
		return pl_fail(-errno, "run directory %s: mkdir: %s", path, strerror(errno));
	r = check_ours(path);
	if (r)
		return r;
	memcpy(out, path, strlen(path) + 1);
	return 0;
}
