/* Receive, send, end: per peer at most one receive and one send are armed on the loop at a time.
 *
 *     receive   recv right away while it pays, else armed on the loop; then the machine runs and the loop is kicked
 *     send      nbds_send.c
 *     end       shutdown, wait for what is armed, release the machine, wait for its requests, free
 *     leave     the machine comes to rest between two requests, then as end, but for the socket: it goes on elsewhere
 *     rest      the same of all, together: when the last is at rest they are handed over, or go on as they were
 *
 *     watch     while somebody waits for a buffer, who holds one and is silent for 8 s is dropped
 *
 * The rule that keeps it alive: whoever changes a peer marks it dirty, and the hook settles dirty peers before the loop
 * sleeps, so no reply is left queued and no socket unread. Only peer_settle() ends a peer: nothing vanishes under a
 * caller. */
#include "nbds_peer.h"

#include "base/cleanup.h"
#include "base/invariant.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

void peer_mark(struct nbds_peer *p)
{
	if (p->queued)
		return;
	p->queued = true;
	queue_append(&p->io->dirty, &p->node);
}

void peer_fail(struct nbds_peer *p, const char *what, int err)
{
	if (!p->failed && !p->ending)
		pl_log(PL_LOG_INFO, "nbd", "client gone: %s%s%s peer=%s in_flight=%u", what, err ? ": " : "",
		       err ? strerror(err) : "", p->conn.peer, p->conn.in_flight);
	p->failed = true;
	peer_mark(p);
}

/* ------------------------------------------------------------------ receive */

static void rx_done(struct pl_io *rx);

static int sink(struct nbds_peer *p, struct iovec iov[2])
{
	return p->secure ? nbds_secure_sink(p->secure, &p->conn, iov) : nbds_conn_sink(&p->conn, iov);
}

/* The other decision: is asking the socket directly likely to succeed? With one request at a time it never is, and the
 * armed receive costs no system call of its own. */
static bool rx_is_worth_trying(const struct nbds_peer *p)
{
	return p->expect_more || p->conn.expect_bulk;
}

static void rx_arm(struct nbds_peer *p, const struct iovec *iov)
{
	p->rx_armed = true;
	p->rx = (struct pl_io){.done = rx_done, .fd = p->fd, .kind = PL_IO_RECV, .buf = iov->iov_base,
			       .length = iov->iov_len, .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(p->io->loop, &p->rx);
}

/* The client is told by an alert, if it can be sent. */
static void tls_failed(struct nbds_peer *p)
{
	tx_flush(p);
	peer_fail(p, pl_error(), 0);
}

static void rx_deliver(struct nbds_peer *p, size_t n)
{
	uint32_t parsed = p->conn.parsed;
	p->silent_looks = 0;
	p->io->received_bytes += n;
	if (!p->secure)
		nbds_conn_received(&p->conn, n);
	else if (nbds_secure_received(p->secure, &p->conn, n) < 0)
		tls_failed(p);
	p->expect_more = p->conn.parsed - parsed > 1;
	if (rx_is_worth_trying(p))
		pl_loop_kick(p->io->loop); /* the disk works while we look for more */
}

/* false: nothing there, or the end. */
static bool rx_try(struct nbds_peer *p, struct iovec *iov, int pieces)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)pieces};
	ssize_t n = recvmsg(p->fd, &msg, MSG_DONTWAIT);
	if (n > 0) {
		rx_deliver(p, (size_t)n);
		return true;
	}
	if (n == 0)
		peer_fail(p, "end of stream", 0);
	else if (errno != EAGAIN && errno != EINTR)
		peer_fail(p, "receive", errno);
	return false;
}

/* Read on until the machine wants no more or a receive is armed. */
static void rx_pump(struct nbds_peer *p)
{
	struct iovec iov[2];
	int pieces;
	for (unsigned round = 0; !p->rx_armed && !p->failed && (pieces = sink(p, iov)) > 0; round++) {
		if (rx_is_worth_trying(p) && round < NBDS_RECEIVE_ROUNDS && rx_try(p, iov, pieces))
			continue;
		if (!p->failed)
			rx_arm(p, iov);
	}
}

static void rx_done(struct pl_io *rx)
{
	struct nbds_peer *p = container_of(rx, struct nbds_peer, rx);
	p->rx_armed = false;
	peer_mark(p);
	pace_end(p, rx->res > 0);
	if (p->ending)
		return;
	if (rx->res > 0)
		rx_deliver(p, (size_t)rx->res);
	else if (rx->res == 0)
		peer_fail(p, "end of stream", 0);
	else if (rx->res != -EINTR && rx->res != -EAGAIN && rx->res != -ECANCELED)
		peer_fail(p, "receive", -rx->res);
}

/* ------------------------------------------------------------------ settle and end */

static void start_tls(struct nbds_peer *p)
{
	if (nbds_secure_new(p->io->tls, &p->secure) < 0)
		peer_fail(p, pl_error(), 0);
}

static void resume_input(struct nbds_peer *p)
{
	if (!p->secure)
		nbds_conn_resume(&p->conn);
	else if (nbds_secure_resume(p->secure, &p->conn) < 0)
		tls_failed(p);
}

static bool has_output(struct nbds_peer *p)
{
	return p->conn.out_count > 0 || p->conn.text.sent < p->conn.text.bytes ||
	       (p->secure && nbds_secure_has_output(p->secure));
}

static void peer_free(struct nbds_peer *p)
{
	struct nbds_io *io = p->io;
	struct nbds_peer **at = &io->peers;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	io->peer_count--;
	nbds_conn_fini(&p->conn);
	nbds_secure_free(p->secure);
	free(p);
	if (io->peer_count == 0 && io->empty)
		io->empty(io);
}

/* Step by step, whenever one of the awaited things happens. The kernel may still read from the buffers of an armed
 * send, so the machine is released only after it. */
static void peer_end(struct nbds_peer *p)
{
	if (!p->ending) {
		p->ending = true;
		pl_timer_stop(p->io->loop, &p->negotiation);
		pace_end(p, true);
		shutdown(p->fd, SHUT_RDWR);
		if (p->rx_armed)
			pl_loop_cancel(p->io->loop, &p->rx);
		if (p->tx_armed)
			pl_loop_cancel(p->io->loop, &p->tx);
	}
	if (p->rx_armed || p->tx_armed)
		return;
	if (p->fd >= 0) {
		close(p->fd);
		p->fd = -1;
		nbds_conn_kill(&p->conn);
	}
	if (p->conn.submitted == 0 && !p->queued)
		peer_free(p);
}

static bool is_at_rest(struct nbds_peer *p)
{
	return !p->failed && !p->rx_armed && !p->tx_armed && nbds_conn_is_at_rest(&p->conn) && !has_output(p);
}

/* Its socket is somebody else's: it ends without it. */
static int let_go(struct nbds_peer *p)
{
	int fd = fd_steal(&p->fd);
	p->ending = true;
	pace_end(p, true);
	peer_mark(p);
	return fd;
}

static void wind_up(struct nbds_peer *p)
{
	if (p->io->leaving && p->agreed)
		nbds_conn_rest(&p->conn);
	else
		nbds_conn_close(&p->conn);
}

static void peer_settle(struct nbds_peer *p)
{
	p->sent_this_turn = false;
	if (p->ending) {
		peer_end(p);
		return;
	}
	if (p->io->closing && !p->rx_armed)
		wind_up(p);
	else if (p->io->resting)
		nbds_conn_rest(&p->conn);
	tx_flush(p);
	if (nbds_conn_wants_tls(&p->conn) && !p->secure)
		start_tls(p);
	if (!p->rx_armed && !p->failed)
		resume_input(p);
	rx_pump(p);
	bool answers = p->conn.text.bytes > 0;
	tx_flush(p);
	if (answers && p->conn.text.bytes == 0)
		peer_mark(p); /* the next option may have waited behind the answer */

	if (!nbds_conn_is_negotiating(&p->conn))
		pl_timer_stop(p->io->loop, &p->negotiation);
	if (p->io->leaving && is_at_rest(p))
		p->io->left_fd = let_go(p);
	else if (p->failed || (nbds_conn_finished(&p->conn) && !has_output(p)))
		peer_end(p);
	else if (p->conn.stalled && !p->queued) {
		p->queued = true;
		queue_append(&p->io->waiting, &p->node);
		if (!p->io->watch.deadline_ns)
			pl_timer_start(p->io->loop, &p->io->watch, NBDS_WATCH_NS);
	}
}

static bool all_are_at_rest(const struct nbds_io *io)
{
	for (struct nbds_peer *p = io->peers; p; p = p->next)
		if (!is_at_rest(p))
			return false;
	return true;
}

static void settle_all(struct pl_hook *hook)
{
	struct nbds_io *io = container_of(hook, struct nbds_io, hook);
	struct qnode *n;
	struct queue waited;
	queue_move(&waited, &io->waiting);
	while ((n = queue_take(&waited)))
		queue_append(&io->dirty, n);
	while ((n = queue_take(&io->dirty))) {
		struct nbds_peer *p = container_of(n, struct nbds_peer, node);
		p->queued = false;
		peer_settle(p);
	}
	if (io->resting && !io->rest_told && all_are_at_rest(io)) {
		io->rest_told = true;
		io->rested(io);
	}
}

/* ------------------------------------------------------------------ watch */

static bool waits_for_buffer(const struct nbds_peer *p)
{
	return p->conn.stalled && p->conn.in_flight < NBDS_MAX_IN_FLIGHT;
}

/* It has replies it does not read, or half a write it does not finish. */
static bool holds_buffer(const struct nbds_peer *p)
{
	return p->conn.out_count > 0 || p->conn.incoming;
}

/* The pool is bounded, so clients that fell silent could keep the others waiting for ever. As long as nobody waits,
 * silence is fine. */
static void watch(struct pl_timer *timer)
{
	struct nbds_io *io = container_of(timer, struct nbds_io, watch);
	bool somebody_waits = false;
	for (const struct nbds_peer *p = io->peers; p; p = p->next)
		somebody_waits |= waits_for_buffer(p);
	for (struct nbds_peer *p = io->peers; p; p = p->next) {
		if (somebody_waits && holds_buffer(p) && ++p->silent_looks > NBDS_SILENT_LOOKS)
			peer_fail(p, "others wait for the buffers it holds, and it is silent", 0);
		else if (!somebody_waits)
			p->silent_looks = 0;
	}
	if (somebody_waits)
		pl_timer_start(io->loop, timer, NBDS_WATCH_NS);
}

/* ------------------------------------------------------------------ peers */

static void negotiation_is_over(struct pl_timer *timer)
{
	struct nbds_peer *p = container_of(timer, struct nbds_peer, negotiation);
	if (nbds_conn_is_negotiating(&p->conn))
		peer_fail(p, "it did not finish negotiating in 10 s", 0);
}

static int peer_new(struct nbds_io *io, int fd, const char *name, struct nbds_peer **out)
{
	if (io->closing || io->peer_count >= io->max_peers)
		return pl_fail(-EBUSY, "%s: %u connections are open, the limit is %u", name, io->peer_count,
			       io->max_peers);
	struct nbds_peer *p = calloc(1, sizeof(*p));
	if (!p)
		return pl_fail(-ENOMEM, "no memory for a connection of %s", name);
	p->io = io;
	p->fd = fd;
	p->negotiation.fire = negotiation_is_over;
	tx_init(p);
	*out = p;
	return 0;
}

static void peer_start(struct nbds_peer *p)
{
	struct nbds_io *io = p->io;
	p->next = io->peers;
	io->peers = p;
	io->peer_count++;
	io->accepted++;
	peer_mark(p);
}

int nbds_io_add(struct nbds_io *io, int fd, enum nbds_tls_policy tls, const char *name)
{
	autofd int owned = fd;
	autofree struct nbds_peer *p = NULL;
	int r = peer_new(io, fd, name, &p);
	if (r == 0)
		r = nbds_conn_init(&p->conn, &io->backend, io->exports, io->export_count, tls, name);
	if (r < 0)
		return r;
	fd_steal(&owned);
	pl_timer_start(io->loop, &p->negotiation, NBDS_NEGOTIATION_NS);
	peer_start(mem_steal(&p));
	return 0;
}

int nbds_io_add_agreed(struct nbds_io *io, int fd, const struct nbds_export *export, uint32_t agreement,
		       const char *name, uint16_t *flags)
{
	autofd int owned = fd;
	autofree struct nbds_peer *p = NULL;
	int r = peer_new(io, fd, name, &p);
	if (r == 0)
		r = nbds_conn_init_agreed(&p->conn, &io->backend, export, agreement, name);
	if (r < 0)
		return r;
	fd_steal(&owned);
	p->agreed = true;
	*flags = nbds_transmission_flags(&p->conn, export);
	peer_start(mem_steal(&p));
	return 0;
}

void nbds_io_init(struct nbds_io *io)
{
	io->left_fd = -1;
	io->backend.wake = tx_wake;
	io->hook.run = settle_all;
	io->watch.fire = watch;
	pl_loop_add_hook(io->loop, &io->hook);
}

void nbds_io_fini(struct nbds_io *io)
{
	invariant(io->peers == NULL && io->left_fd < 0);
	pl_timer_stop(io->loop, &io->watch);
	pl_loop_remove_hook(io->loop, &io->hook);
}

/* An armed receive may point into a request's buffer: it must end before the machine lets go of that. */
static void stop_receiving(struct nbds_io *io)
{
	for (struct nbds_peer *p = io->peers; p; p = p->next) {
		if (p->rx_armed && !p->ending)
			pl_loop_cancel(io->loop, &p->rx);
		peer_mark(p);
	}
}

void nbds_io_close(struct nbds_io *io)
{
	io->closing = true;
	stop_receiving(io);
}

void nbds_io_rest(struct nbds_io *io)
{
	io->resting = true;
	io->rest_told = false;
	stop_receiving(io);
}

void nbds_io_go_on(struct nbds_io *io)
{
	io->resting = false;
	for (struct nbds_peer *p = io->peers; p; p = p->next) {
		nbds_conn_go_on(&p->conn);
		peer_mark(p);
	}
}

int nbds_io_hand_over(struct nbds_io *io, void (*each)(void *arg, int fd, uint32_t agreement), void *arg)
{
	for (struct nbds_peer *p = io->peers; p; p = p->next)
		if (p->secure)
			return pl_fail(-EBUSY, "%s is connected with TLS, which cannot be handed over", p->conn.peer);
	io->closing = true;
	for (struct nbds_peer *p = io->peers; p; p = p->next) {
		autofd int fd = let_go(p);
		each(arg, fd, nbds_conn_agreement(&p->conn));
	}
	return 0;
}

void nbds_io_leave(struct nbds_io *io)
{
	io->leaving = true;
	nbds_io_close(io);
}

void nbds_io_kill(struct nbds_io *io)
{
	for (struct nbds_peer *p = io->peers; p; p = p->next)
		peer_fail(p, "the server is stopping", 0);
}

void nbds_io_dump(const struct nbds_io *io, void (*line)(void *arg, const char *text), void *arg)
{
	char text[256];
	snprintf(text, sizeof(text), "nbd peers=%u accepted=%llu received_bytes=%llu sent_bytes=%llu", io->peer_count,
		 (unsigned long long)io->accepted, (unsigned long long)io->received_bytes,
		 (unsigned long long)io->sent_bytes);
	line(arg, text);
	for (const struct nbds_peer *p = io->peers; p; p = p->next) {
		const struct nbds_conn *c = &p->conn;
		snprintf(text, sizeof(text),
			 "nbd peer=%s state=%d requests=%u in_flight=%u submitted=%u replies=%u stalled=%d tls=%d",
			 c->peer, c->state, c->parsed, c->in_flight, c->submitted, c->out_count, c->stalled,
			 c->encrypted);
		line(arg, text);
	}
}
