#include "nbds_listen.h"

#include "base/cleanup.h"
#include "base/invariant.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ------------------------------------------------------------------ unix */

static int unix_address(const char *path, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	size_t n = strlen(path);
	if (n == 0 || n >= sizeof(out->sun_path))
		return pl_fail(-ENAMETOOLONG, "%s: a socket path has 1 to %zu bytes", path, sizeof(out->sun_path) - 1);
	memcpy(out->sun_path, path, n);
	return 0;
}

/* Is @path free, or does only a dead server's socket lie there? Nobody answers at a dead one. */
static int check_path_is_free(const char *path, const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : pl_fail(-errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return pl_fail(-EEXIST, "%s: exists and is no socket", path);
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return pl_fail(-errno, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return pl_fail(-EADDRINUSE, "%s: another server listens there", path);
	if (errno != ECONNREFUSED)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* The socket is made under a name of its own and renamed over @path, so that at no time is there anything at @path that
 * is not a socket with the right mode and a listener. */
int nbds_socket_unix(const char *path, struct nbds_listener *listener)
{
	struct sockaddr_un address, temporary;
	char name[sizeof(temporary.sun_path) + 16];
	int r = unix_address(path, &address);
	if (r == 0)
		r = check_path_is_free(path, &address);
	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s.%d", path, getpid());
	r = unix_address(name, &temporary);
	if (r < 0)
		return r;

	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return pl_fail(-errno, "socket: %s", strerror(errno));
	fchmod(fd, 0600); /* the mode bind() gives */
	unlink(name);
	if (bind(fd, (struct sockaddr *)&temporary, sizeof(temporary)) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	struct stat st;
	if (listen(fd, NBDS_LISTEN_BACKLOG) < 0 || lstat(name, &st) < 0 || rename(name, path) < 0) {
		r = pl_fail(-errno, "%s: %s", path, strerror(errno));
		unlink(name);
		return r;
	}
	listener->path = realpath(path, NULL); /* a daemon changes its folder */
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	listener->fd = fd_steal(&fd);
	return 0;
}

int nbds_socket_adopt(int fd, const char *path, struct nbds_listener *listener)
{
	struct stat st;
	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return pl_fail(-ENOENT, "%s: its name is gone", path);
	listener->path = strdup(path);
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	listener->fd = fd;
	return 0;
}

void nbds_listener_leave_name(struct nbds_listener *l)
{
	free(l->path);
	l->path = NULL;
}

/* Only the very file we made: another server may have taken the name. */
static void remove_socket(struct nbds_listener *l)
{
	struct stat st;
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	l->path = NULL;
}

/* ------------------------------------------------------------------ TCP */

/* HOST:PORT, [V6]:PORT, :PORT. */
static int split_host_port(const char *text, char *host, size_t host_bytes, const char **port)
{
	const char *colon = strrchr(text, ':');
	if (!colon || colon[1] == '\0')
		return pl_fail(-EINVAL, "%s: want HOST:PORT", text);
	size_t n = (size_t)(colon - text);
	bool bracketed = n >= 2 && text[0] == '[' && text[n - 1] == ']';
	const char *start = bracketed ? text + 1 : text;
	n -= bracketed ? 2 : 0;
	if (n >= host_bytes || (!bracketed && memchr(start, ':', n)))
		return pl_fail(-EINVAL, "%s: want HOST:PORT or [ADDRESS]:PORT", text);
	memcpy(host, start, n);
	host[n] = '\0';
	*port = colon + 1;
	return 0;
}

static int listen_at(const struct addrinfo *a)
{
	int one = 1;
	autofd int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, NBDS_LISTEN_BACKLOG) < 0)
		return -errno;
	return fd_steal(&fd);
}

int nbds_socket_tcp(const char *host_port, int *fds, size_t max)
{
	char host[256];
	const char *port = NULL;
	int r = split_host_port(host_port, host, sizeof(host), &port);
	if (r < 0)
		return r;
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *list = NULL;
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (r != 0)
		return pl_fail(-EINVAL, "%s: %s", host_port, gai_strerror(r));

	size_t n = 0;
	int failed = 0;
	for (const struct addrinfo *a = list; a && n < max; a = a->ai_next) {
		int fd = listen_at(a);
		if (fd >= 0)
			fds[n++] = fd;
		else if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL) /* no IPv6 here */
			failed = fd;
	}
	freeaddrinfo(list);
	if (n > 0 && failed == 0)
		return (int)n;
	while (n > 0)
		close(fds[--n]);
	failed = failed ? failed : -EADDRNOTAVAIL;
	return pl_fail(failed, "%s: %s", host_port, strerror(-failed));
}

/* ------------------------------------------------------------------ accepting */

static void arm(struct nbds_listener *l)
{
	l->armed = true;
	l->poll.arg = POLLIN;
	pl_loop_submit(l->loop, &l->poll);
}

static void on_retry(struct pl_timer *timer)
{
	arm(container_of(timer, struct nbds_listener, retry));
}

static bool is_passing(int err)
{
	return err == EAGAIN || err == EINTR || err == ECONNABORTED || err == EPROTO;
}

static void on_poll(struct pl_io *poll)
{
	struct nbds_listener *l = container_of(poll, struct nbds_listener, poll);
	l->armed = false;
	if (l->closing)
		return;
	for (int fd; (fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
		l->accepted(l->arg, l, fd);
	if (is_passing(errno)) {
		arm(l);
		return;
	}
	pl_log(PL_LOG_WARN, "nbd", "cannot accept a connection: %s", strerror(errno));
	pl_timer_start(l->loop, &l->retry, NBDS_ACCEPT_RETRY_NS);
}

void nbds_listener_start(struct nbds_listener *l)
{
	l->poll = (struct pl_io){.done = on_poll, .fd = l->fd, .kind = PL_IO_POLL, .buf_index = PL_IO_NO_BUFFER};
	l->retry.fire = on_retry;
	arm(l);
}

void nbds_listener_stop(struct nbds_listener *l)
{
	if (l->closing)
		return;
	l->closing = true;
	remove_socket(l);
	pl_timer_stop(l->loop, &l->retry);
	if (l->armed)
		pl_loop_cancel(l->loop, &l->poll);
}

void nbds_listener_free(struct nbds_listener *l)
{
	invariant(!l->armed);
	remove_socket(l);
	close(l->fd);
	free(l);
}

/* ------------------------------------------------------------------ who is there */

static bool uid_is_among(uint32_t uid, const uint32_t *uids, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (uids[i] == uid)
			return true;
	return false;
}

bool nbds_peer_is_allowed(int fd, const uint32_t *uids, size_t uid_count, char *name, size_t name_bytes)
{
	struct sockaddr_storage address = {0};
	socklen_t n = sizeof(address);
	getpeername(fd, (struct sockaddr *)&address, &n);
	if (address.ss_family != AF_UNIX) {
		char host[64] = "?", port[16] = "?";
		getnameinfo((struct sockaddr *)&address, n, host, sizeof(host), port, sizeof(port),
			    NI_NUMERICHOST | NI_NUMERICSERV);
		snprintf(name, name_bytes, "%s:%s", host, port);
		return true;
	}
	struct ucred who;
	n = sizeof(who);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0) {
		snprintf(name, name_bytes, "unix:unknown");
		return false;
	}
	snprintf(name, name_bytes, "unix:uid=%u,pid=%d", who.uid, who.pid);
	return who.uid == 0 || who.uid == geteuid() || uid_is_among(who.uid, uids, uid_count);
}
