/* The NBD server: exports over the engine's disks, listeners, connections, and their common end. */
#include "ploop-serve.h"

#include "base/cleanup.h"
#include "base/invariant.h"
#include "nbds_io.h"
#include "nbds_listen.h"
#include "tls_openssl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_TCP_ADDRESSES 16

struct pl_server {
	struct nbds_io io;
	struct nbds_export *exports;
	struct nbds_listener *listeners;
	struct tls_context *tls;
	uint32_t *allow_uids;
	size_t allow_uid_count;
	bool insecure_tcp;
	uint64_t refused_at_ns; /* a log line a second about connections turned away */
	void (*drained)(void *arg);
	void (*rested)(void *arg);
	void *arg;
};

/* ------------------------------------------------------------------ the engine as backend */

static void submit(const struct nbds_export *e, struct pl_req *req)
{
	pl_submit(e->disk, req);
}

static size_t map(const struct nbds_export *e, uint64_t offset_bytes, uint64_t length_bytes, struct pl_extent *out,
		  size_t max)
{
	return pl_map(e->disk, offset_bytes, length_bytes, out, max);
}

static struct pl_buf *buf_get(void *loop, uint32_t bytes)
{
	return pl_buf_get(loop, bytes);
}

static void buf_put(void *loop, struct pl_buf *buf)
{
	pl_buf_put(loop, buf);
}

/* ------------------------------------------------------------------ new and free */

static void on_empty(struct nbds_io *io)
{
	struct pl_server *s = container_of(io, struct pl_server, io);
	if ((io->closing || !s->listeners) && s->drained)
		s->drained(s->arg);
}

static void on_rested(struct nbds_io *io)
{
	struct pl_server *s = container_of(io, struct pl_server, io);
	s->rested(s->arg);
}

static int copy_exports(struct pl_server *s, const struct pl_server_options *o)
{
	s->exports = calloc(o->export_count, sizeof(*s->exports));
	if (!s->exports)
		return pl_fail(-ENOMEM, "no memory for the exports");
	for (size_t i = 0; i < o->export_count; i++) {
		struct pl_disk_info info;
		pl_disk_get_info(o->exports[i].disk, &info);
		s->exports[i] = (struct nbds_export){
			.name = o->exports[i].name ? o->exports[i].name : "",
			.description = o->exports[i].description,
			.size_bytes = info.size_bytes,
			.readonly = info.readonly,
			.disk = o->exports[i].disk,
		};
		if (strlen(s->exports[i].name) > NBDS_MAX_NAME_BYTES)
			return pl_fail(-EINVAL, "an export name has more than %u bytes", NBDS_MAX_NAME_BYTES);
	}
	return 0;
}

static int copy_uids(struct pl_server *s, const struct pl_server_options *o)
{
	if (o->allow_uid_count == 0)
		return 0;
	s->allow_uids = calloc(o->allow_uid_count, sizeof(*s->allow_uids));
	if (!s->allow_uids)
		return pl_fail(-ENOMEM, "no memory for %zu users", o->allow_uid_count);
	memcpy(s->allow_uids, o->allow_uids, o->allow_uid_count * sizeof(*s->allow_uids));
	s->allow_uid_count = o->allow_uid_count;
	return 0;
}

static int start_tls(struct pl_server *s, const struct pl_server_options *o)
{
	if (!o->tls_certificates && !o->tls_psk_file)
		return o->tls_verify_peer ? pl_fail(-EINVAL, "clients cannot be verified without TLS") : 0;
	struct tls_options t = {o->tls_certificates, o->tls_psk_file, o->tls_verify_peer};
	return tls_context_new(&t, &s->tls);
}

static void release(struct pl_server *s)
{
	tls_context_free(s->tls);
	free(s->exports);
	free(s->allow_uids);
	free(s);
}

int pl_server_new(struct pl_loop *loop, const struct pl_server_options *o, struct pl_server **out)
{
	struct pl_server *s = calloc(1, sizeof(*s));
	if (!s)
		return pl_fail(-ENOMEM, "no memory for a server");
	int r = copy_exports(s, o);
	if (r == 0)
		r = copy_uids(s, o);
	if (r == 0)
		r = start_tls(s, o);
	if (r < 0) {
		release(s);
		return r;
	}
	s->insecure_tcp = o->insecure_tcp;
	s->drained = o->drained;
	s->rested = o->rested;
	s->arg = o->arg;
	s->io = (struct nbds_io){
		.loop = loop,
		.backend = {.submit = submit, .map = map, .buf_get = buf_get, .buf_put = buf_put, .arg = loop},
		.exports = s->exports,
		.export_count = o->export_count,
		.tls = s->tls,
		.max_peers = o->max_connections ? o->max_connections : NBDS_MAX_CONNECTIONS,
		.empty = on_empty,
		.rested = on_rested,
	};
	nbds_io_init(&s->io);
	*out = s;
	return 0;
}

static bool any_listener_is_armed(const struct pl_server *s)
{
	for (const struct nbds_listener *l = s->listeners; l; l = l->next)
		if (l->armed)
			return true;
	return false;
}

void pl_server_free(struct pl_server *s)
{
	if (!s)
		return;
	for (struct nbds_listener *l = s->listeners; l; l = l->next)
		nbds_listener_stop(l);
	while (any_listener_is_armed(s))
		pl_loop_step(s->io.loop, true);
	for (struct nbds_listener *l; (l = s->listeners);) {
		s->listeners = l->next;
		nbds_listener_free(l);
	}
	if (s->io.left_fd >= 0)
		close(fd_steal(&s->io.left_fd));
	nbds_io_fini(&s->io);
	release(s);
}

/* ------------------------------------------------------------------ connections */

/* Turned away, but not at the price of a full log. */
static void log_refusal(struct pl_server *s, const char *why)
{
	uint64_t now = pl_now_ns();
	if (s->refused_at_ns && now - s->refused_at_ns < NS_PER_S)
		return;
	s->refused_at_ns = now;
	pl_log(PL_LOG_WARN, "nbd", "connection refused: %s", why);
}

static int serve_connected(struct pl_server *s, int fd, enum nbds_tls_policy tls)
{
	autofd int owned = fd;
	char name[64];
	int one = 1;
	if (!nbds_peer_is_allowed(fd, s->allow_uids, s->allow_uid_count, name, sizeof(name)))
		return pl_fail(-EACCES, "%s is neither root nor the user of this server", name);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* a unix socket declines */
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	return nbds_io_add(&s->io, fd_steal(&owned), tls, name);
}

static void on_accepted(void *arg, struct nbds_listener *l, int fd)
{
	struct pl_server *s = arg;
	if (serve_connected(s, fd, l->tls) < 0)
		log_refusal(s, pl_error());
}

/* ------------------------------------------------------------------ listening */

static enum nbds_tls_policy tls_policy(const struct pl_server *s, bool is_unix)
{
	if (!s->tls)
		return NBDS_TLS_OFF;
	return is_unix || s->insecure_tcp ? NBDS_TLS_OFFERED : NBDS_TLS_REQUIRED;
}

static int check_tcp_is_wanted(const struct pl_server *s)
{
	if (!s->tls && !s->insecure_tcp)
		return pl_fail(-EPERM, "TCP without TLS lets anybody read and write the disk: give certificates or "
				       "keys, or say --insecure-tcp");
	return 0;
}

static void start_listener(struct pl_server *s, struct nbds_listener *l, bool is_unix)
{
	l->loop = s->io.loop;
	l->tls = tls_policy(s, is_unix);
	l->accepted = on_accepted;
	l->arg = s;
	l->next = s->listeners;
	s->listeners = l;
	nbds_listener_start(l);
}

int pl_server_listen_unix(struct pl_server *s, const char *path)
{
	autofree struct nbds_listener *l = calloc(1, sizeof(*l));
	if (!l)
		return pl_fail(-ENOMEM, "no memory for a listener");
	int r = nbds_socket_unix(path, l);
	if (r < 0)
		return r;
	start_listener(s, l, true);
	l = NULL;
	return 0;
}

static int listen_on(struct pl_server *s, int fd, bool is_unix)
{
	struct nbds_listener *l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return pl_fail(-ENOMEM, "no memory for a listener");
	}
	l->fd = fd;
	start_listener(s, l, is_unix);
	return 0;
}

int pl_server_listen_tcp(struct pl_server *s, const char *host_port)
{
	int fds[MAX_TCP_ADDRESSES];
	int r = check_tcp_is_wanted(s);
	int n = r < 0 ? r : nbds_socket_tcp(host_port, fds, MAX_TCP_ADDRESSES);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		int one = listen_on(s, fds[i], false);
		r = r < 0 ? r : one;
	}
	return r;
}

static int get_option(int fd, int option)
{
	int value = 0;
	socklen_t n = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, option, &value, &n) < 0 ? -errno : value;
}

int pl_server_take_fd(struct pl_server *s, int fd)
{
	autofd int owned = fd;
	int type = get_option(fd, SO_TYPE);
	if (type != SOCK_STREAM)
		return pl_fail(type < 0 ? type : -EPROTOTYPE, "inherited descriptor %d is no stream socket", fd);
	bool is_unix = get_option(fd, SO_DOMAIN) == AF_UNIX;
	bool listens = get_option(fd, SO_ACCEPTCONN) > 0;
	int r = is_unix ? 0 : check_tcp_is_wanted(s);
	if (r < 0)
		return r;
	int flags = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, listens ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
	if (listens)
		return listen_on(s, fd_steal(&owned), is_unix);
	return serve_connected(s, fd_steal(&owned), tls_policy(s, is_unix));
}

int pl_server_take_kernel(struct pl_server *s, int fd, uint16_t *flags)
{
	return nbds_io_add_agreed(&s->io, fd, &s->exports[0], NBDS_AGREED_NOTHING, "kernel", flags);
}

/* ------------------------------------------------------------------ from one server to the next */

/* Names of what is handed over. */
#define NAMED_SOCKET   PL_SERVER_HANDED "socket" /* listens at a path that is the server's to remove */
#define NAMED_LISTENER PL_SERVER_HANDED "listen%hhu"
#define NAMED_CLIENT   PL_SERVER_HANDED "%hhu.%x" /* and what its handshake settled */

void pl_server_rest(struct pl_server *s)
{
	nbds_io_rest(&s->io);
}

void pl_server_go_on(struct pl_server *s)
{
	nbds_io_go_on(&s->io);
}

struct handing {
	void (*each)(void *arg, const char *name, int fd);
	void *arg;
	uint8_t number;
};

static void hand_client(void *arg, int fd, uint32_t agreement)
{
	struct handing *h = arg;
	char name[24];
	snprintf(name, sizeof(name), NAMED_CLIENT, h->number++, agreement);
	h->each(h->arg, name, fd);
}

static void hand_listener(struct handing *h, struct nbds_listener *l)
{
	char name[24];
	snprintf(name, sizeof(name), l->path ? NAMED_SOCKET : NAMED_LISTENER, h->number++);
	h->each(h->arg, name, l->fd);
	nbds_listener_leave_name(l);
}

int pl_server_hand_over(struct pl_server *s, void (*each)(void *arg, const char *name, int fd), void *arg)
{
	struct handing h = {each, arg, 0};
	int r = nbds_io_hand_over(&s->io, hand_client, &h);
	for (struct nbds_listener *l = s->listeners; r == 0 && l; l = l->next) {
		hand_listener(&h, l);
		nbds_listener_stop(l);
	}
	return r;
}

static int take_client(struct pl_server *s, int fd, uint32_t agreement)
{
	char name[64];
	uint16_t flags;
	nbds_peer_is_allowed(fd, s->allow_uids, s->allow_uid_count, name, sizeof(name)); /* it was */
	return nbds_io_add_agreed(&s->io, fd, &s->exports[0], agreement, name, &flags);
}

/* Its name may have been removed meanwhile: then there is none to remove. */
static int take_socket(struct pl_server *s, int fd, const char *path)
{
	struct nbds_listener *l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		return pl_fail(-ENOMEM, "no memory for a listener");
	}
	l->fd = fd;
	if (nbds_socket_adopt(fd, path, l) < 0)
		pl_log(PL_LOG_WARN, "nbd", "%s", pl_error());
	start_listener(s, l, true);
	return 0;
}

int pl_server_take_over(struct pl_server *s, const char *name, int fd, const char *path)
{
	uint8_t number;
	uint32_t agreement;
	if (sscanf(name, NAMED_CLIENT, &number, &agreement) == 2)
		return take_client(s, fd, agreement);
	if (strcmp(name, NAMED_SOCKET) == 0 && path)
		return take_socket(s, fd, path);
	if (sscanf(name, NAMED_LISTENER, &number) == 1)
		return pl_server_take_fd(s, fd);
	close(fd);
	return pl_fail(-EINVAL, "%s: not a name of what a server hands over", name);
}

/* ------------------------------------------------------------------ the end */

static void end(struct pl_server *s, void (*end_connections)(struct nbds_io *io))
{
	if (s->io.closing)
		return;
	for (struct nbds_listener *l = s->listeners; l; l = l->next)
		nbds_listener_stop(l);
	end_connections(&s->io);
	if (s->io.peer_count == 0 && s->drained)
		s->drained(s->arg);
}

void pl_server_close(struct pl_server *s)
{
	end(s, nbds_io_close);
}

void pl_server_leave(struct pl_server *s)
{
	end(s, nbds_io_leave);
}

int pl_server_left_kernel(struct pl_server *s)
{
	return fd_steal(&s->io.left_fd);
}

void pl_server_kill(struct pl_server *s)
{
	pl_server_close(s);
	nbds_io_kill(&s->io);
}

uint32_t pl_server_connections(const struct pl_server *s)
{
	return s->io.peer_count;
}

void pl_server_dump(const struct pl_server *s, void (*line)(void *arg, const char *text), void *arg)
{
	nbds_io_dump(&s->io, line, arg);
}
