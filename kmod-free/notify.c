#include "kmod-free/notify.h"

#include "base/cleanup.h"
#include "ploop.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int connect_to(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t bytes = strlen(name);
	if ((name[0] != '/' && name[0] != '@') || bytes >= sizeof(address.sun_path))
		return pl_fail(-EINVAL, "%s is no socket that can be told", name);
	memcpy(address.sun_path, name, bytes);
	if (name[0] == '@')
		address.sun_path[0] = '\0'; /* no file; its length counts */
	autofd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes)) < 0)
		return pl_fail(-errno, "%s: %s", name, strerror(errno));
	return fd_steal(&fd);
}

int notify_open(bool background)
{
	const char *name = background ? NULL : getenv("NOTIFY_SOCKET");
	int fd = name ? connect_to(name) : -1;
	if (name && fd < 0)
		pl_log(PL_LOG_WARN, "serve", "the service manager is told nothing: %s", pl_error());
	unsetenv("NOTIFY_SOCKET");
	return fd < 0 ? -1 : fd;
}

void notify_tell(int fd, const char *lines)
{
	if (fd >= 0 && send(fd, lines, strlen(lines), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		pl_log(PL_LOG_WARN, "serve", "the service manager: %s", strerror(errno));
}
