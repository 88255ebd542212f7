/* Per client at most one receive and one send are armed on the loop. Handlers only note what came; the hook, which runs
 * before the loop sleeps, does the rest: nothing vanishes under a caller, and no line is run inside another. */
#include "control_server.h"

#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/wait.h"
#include "nbds_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define RECEIVE_BYTES  1024
#define LISTEN_WAIT_NS (2 * NS_PER_S)

struct peer {
	struct control_conn conn;
	struct control_server *server;
	struct peer *next;
	int fd;
	bool rx_armed, tx_armed;
	bool eof;    /* it says no more; what it said is still answered */
	bool failed; /* nothing moves any more */
	struct pl_io rx, tx;
	struct iovec tx_iov;
	struct msghdr tx_msg;
	char name[64];
	char received[RECEIVE_BYTES];
};

struct control_server {
	struct pl_loop *loop;
	struct control_backend backend;
	struct control control;
	struct nbds_listener *listener;
	struct pl_hook hook;
	struct peer *peers;
	uint32_t peer_count;
};

/* ------------------------------------------------------------------ bytes */

static bool is_passing(int res)
{
	return res == -EINTR || res == -EAGAIN || res == -ECANCELED;
}

static void on_received(struct pl_io *rx)
{
	struct peer *p = container_of(rx, struct peer, rx);
	p->rx_armed = false;
	if (rx->res > 0 && !p->failed)
		control_conn_received(&p->conn, p->received, (size_t)rx->res);
	else if (rx->res == 0)
		p->eof = true;
	else if (!is_passing(rx->res))
		p->failed = true;
}

static void receive(struct peer *p)
{
	size_t room = MIN(control_conn_room(&p->conn), sizeof(p->received));
	if (p->rx_armed || p->eof || p->failed || room == 0)
		return;
	p->rx_armed = true;
	p->rx = (struct pl_io){.done = on_received, .fd = p->fd, .kind = PL_IO_RECV, .buf = p->received, .length = room,
			       .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(p->server->loop, &p->rx);
}

static void on_sent(struct pl_io *tx)
{
	struct peer *p = container_of(tx, struct peer, tx);
	p->tx_armed = false;
	if (tx->res > 0)
		control_conn_sent(&p->conn, (size_t)tx->res);
	else if (!is_passing(tx->res))
		p->failed = true;
}

static void send_output(struct peer *p)
{
	struct iovec output = control_conn_output(&p->conn);
	if (p->tx_armed || p->failed || output.iov_len == 0)
		return;
	p->tx_armed = true;
	p->tx_iov = output;
	p->tx_msg = (struct msghdr){.msg_iov = &p->tx_iov, .msg_iovlen = 1};
	p->tx = (struct pl_io){.done = on_sent, .fd = p->fd, .kind = PL_IO_SENDMSG, .buf = &p->tx_msg,
			       .arg = MSG_NOSIGNAL, .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(p->server->loop, &p->tx);
}

/* ------------------------------------------------------------------ clients */

static void free_peer(struct peer *p)
{
	struct control_server *s = p->server;
	struct peer **at = &s->peers;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	s->peer_count--;
	control_conn_fini(&p->conn);
	close(p->fd);
	pl_log(PL_LOG_DEBUG, "control", "client gone peer=%s", p->name);
	free(p);
}

/* The kernel may still use the buffers of what is armed. */
static void end_peer(struct peer *p)
{
	if (!p->failed)
		shutdown(p->fd, SHUT_RDWR);
	p->failed = true;
	if (p->rx_armed)
		pl_loop_cancel(p->server->loop, &p->rx);
	if (p->tx_armed)
		pl_loop_cancel(p->server->loop, &p->tx);
	if (!p->rx_armed && !p->tx_armed)
		free_peer(p);
}

/* Nothing more to wait for: it is gone, does not speak the protocol, or we are closing. The answers go first; who hangs
 * up while his change runs is not waited for. */
static bool is_at_end(const struct peer *p)
{
	const struct control_conn *c = &p->conn;
	bool leaving = p->eof || c->refused || c->control->closing;
	return p->failed || (leaving && control_conn_is_idle(c)) || (p->eof && c->control->changer == c);
}

static void settle_peer(struct peer *p)
{
	control_conn_run(&p->conn);
	send_output(p);
	receive(p);
	if (is_at_end(p))
		end_peer(p);
}

static void settle(struct pl_hook *hook)
{
	struct control_server *s = container_of(hook, struct control_server, hook);
	if (s->control.calling)
		return; /* turned by the call */
	for (struct peer *p = s->peers, *next; p; p = next) {
		next = p->next;
		settle_peer(p);
	}
	control_settle(&s->control);
}

static int add_peer(struct control_server *s, int fd, const char *name)
{
	struct peer *p = calloc(1, sizeof(*p));
	if (!p)
		return pl_fail(-ENOMEM, "no memory for a client");
	p->server = s;
	p->fd = fd;
	p->next = s->peers;
	s->peers = p;
	s->peer_count++;
	snprintf(p->name, sizeof(p->name), "%s", name);
	control_conn_init(&p->conn, &s->control);
	pl_log(PL_LOG_DEBUG, "control", "client peer=%s", name);
	return 0;
}

static void on_accepted(void *arg, struct nbds_listener *listener, int fd)
{
	struct control_server *s = arg;
	autofd int owned = fd;
	char name[64];
	if (!nbds_peer_is_allowed(fd, NULL, 0, name, sizeof(name)))
		pl_log(PL_LOG_WARN, "control", "refused: %s is neither root nor the user of this server", name);
	else if (s->peer_count < CONTROL_MAX_SOCKETS && add_peer(s, fd, name) == 0)
		fd_steal(&owned);
}

/* ------------------------------------------------------------------ begin and end */

/* We have the disk, so who still listens there has lost it: a killed server that the kernel is cleaning up. */
static int listen_at(const char *path, struct nbds_listener *l)
{
	struct wait w = WAIT_UNTIL(pl_now_ns() + LISTEN_WAIT_NS);
	int r;
	do
		r = nbds_socket_unix(path, l);
	while (r == -EADDRINUSE && wait_a_moment(&w, pl_now_ns()));
	return r;
}

/* @fd: a predecessor's, or -1. */
static int start(struct pl_loop *loop, const struct control_backend *backend, const char *path, int fd,
		 struct control_server **out)
{
	autofd int owned = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	autofree struct control_server *s = calloc(1, sizeof(*s));
	autofree struct nbds_listener *l = calloc(1, sizeof(*l));
	if (!s || !l)
		return pl_fail(-ENOMEM, "no memory for the control of a disk");
	int r = fd < 0 ? listen_at(path, l) : nbds_socket_adopt(owned, path, l);
	if (r < 0)
		return r;
	fd_steal(&owned);
	s->loop = loop;
	s->backend = *backend;
	s->hook.run = settle;
	control_init(&s->control, &s->backend);
	pl_loop_add_hook(loop, &s->hook);
	l->loop = loop;
	l->accepted = on_accepted;
	l->arg = s;
	s->listener = mem_steal(&l);
	nbds_listener_start(s->listener);
	*out = mem_steal(&s);
	return 0;
}

int control_server_start(struct pl_loop *loop, const struct control_backend *backend, const char *path,
			 struct control_server **out)
{
	return start(loop, backend, path, -1, out);
}

int control_server_take_over(struct pl_loop *loop, const struct control_backend *backend, const char *path, int fd,
			     struct control_server **out)
{
	return start(loop, backend, path, fd, out);
}

int control_server_socket(const struct control_server *s)
{
	return s->listener->fd;
}

bool control_server_is_busy(const struct control_server *s)
{
	return s->control.changing || s->control.pushed || s->control.calling;
}

void control_server_leave_socket(struct control_server *s)
{
	nbds_listener_leave_name(s->listener);
}

void control_server_dump(const struct control_server *s, void (*line)(void *arg, const char *text), void *arg)
{
	const struct control *k = &s->control;
	const struct pl_change *change = &k->change;
	char text[256];
	snprintf(text, sizeof(text),
		 "control clients=%u pushed=%d change=%s done_bytes=%llu total_bytes=%llu waited_for=%d", s->peer_count,
		 k->pushed, k->changing ? control_method_word(k->what.method) : "none",
		 k->changing ? (unsigned long long)change->done_bytes : 0,
		 k->changing ? (unsigned long long)change->total_bytes : 0, k->changer != NULL);
	line(arg, text);
}

void control_server_close(struct control_server *s)
{
	nbds_listener_stop(s->listener);
	control_close(&s->control);
}

/* A client that does not read its last answer is not waited for. */
static int drop_peers(struct control_server *s)
{
	int r = pl_loop_step(s->loop, false);
	for (struct peer *p = s->peers; p; p = p->next)
		p->failed = true;
	settle(&s->hook);
	while (r == 0 && (s->peers || s->listener->armed)) {
		r = pl_loop_step(s->loop, true);
		settle(&s->hook);
	}
	return r;
}

void control_server_stop(struct control_server *s)
{
	if (!s)
		return;
	control_server_close(s);
	int r = 0;
	while (r == 0 && s->control.changing)
		r = pl_loop_step(s->loop, true);
	if (r == 0)
		r = drop_peers(s);
	pl_loop_remove_hook(s->loop, &s->hook);
	if (r < 0)
		return; /* the loop is broken: the kernel may still use our memory */
	nbds_listener_free(s->listener);
	free(s);
}
