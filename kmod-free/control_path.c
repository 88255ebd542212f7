/* Where the control socket of a bundle's server is: named after the folder, whatever paths lead there. */
#include "control_client.h"
#include "ploop-serve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

void control_path_forget(const char *descriptor)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (pl_control_path(descriptor, address.sun_path, sizeof(address.sun_path)) < 0)
		return;
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno == ECONNREFUSED)
		unlink(address.sun_path);
}

int pl_control_path(const char *descriptor, char *out, size_t out_bytes)
{
	char folder[PATH_MAX], run[PATH_MAX];
	struct stat st;
	const char *slash = strrchr(descriptor, '/');
	size_t n = slash ? (size_t)(slash - descriptor) + 1 : 0;
	if (n + 2 > sizeof(folder))
		return pl_fail(-ENAMETOOLONG, "%s: the path is too long", descriptor);
	snprintf(folder, sizeof(folder), "%.*s.", (int)n, descriptor);
	if (stat(folder, &st) != 0)
		return pl_fail(-errno, "%s: %s", folder, strerror(errno));
	int r = pl_run_dir(run, sizeof(run));
	if (r < 0)
		return r;
	int bytes = snprintf(out, out_bytes, "%s/ctl-%llx-%llu", run, (unsigned long long)st.st_dev,
			     (unsigned long long)st.st_ino);
	if (bytes < 0 || (size_t)bytes >= out_bytes)
		return pl_fail(-ENAMETOOLONG, "%s: too long for a control socket's name", run);
	return 0;
}
