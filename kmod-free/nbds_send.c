/* Sending: what has no payload goes out at once or with the next few, reads go with the hook, paced if they would leave
 * the disk idle. When the socket is full the send is armed on the loop; at most one is. */
#include "nbds_peer.h"

#include <errno.h>

static void tx_done(struct pl_io *tx);

static size_t gather(struct nbds_peer *p, size_t *bytes)
{
	if (p->secure)
		return nbds_secure_output(p->secure, &p->conn, p->tx_iov, bytes);
	return nbds_conn_output(&p->conn, p->tx_iov, NBDS_MAX_IOV, bytes);
}

static void sent(struct nbds_peer *p, size_t n)
{
	p->sent_this_turn = true;
	p->silent_looks = 0;
	p->io->sent_bytes += n;
	if (p->secure)
		nbds_secure_sent(p->secure, n);
	else
		nbds_conn_sent(&p->conn, n);
}

static void tx_arm(struct nbds_peer *p)
{
	p->tx_armed = true;
	p->tx = (struct pl_io){.done = tx_done, .fd = p->fd, .kind = PL_IO_SENDMSG, .arg = MSG_NOSIGNAL,
			       .buf = &p->tx_msg, .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(p->io->loop, &p->tx);
}

/* A whole queue of reads came back in one go. Sent in one go it makes the client read all of it before it asks again,
 * and the disk idles meanwhile, turn after turn: the queue is in lockstep. A part of it first, and the client's next
 * requests are at the disk while it reads the rest. */
static bool is_in_lockstep(const struct nbds_peer *p)
{
	const struct nbds_conn *c = &p->conn;
	return c->submitted == 0 && c->out_count >= NBDS_PACE_COUNT && c->out_bytes >= NBDS_PACE_COUNT * KIB &&
	       p->pace_misses < NBDS_PACE_MISSES && !p->secure;
}

static void pace_start(struct nbds_peer *p)
{
	p->tx_msg.msg_iovlen = MAX(p->tx_msg.msg_iovlen / NBDS_PACE_SHARE, 1);
	p->pacing = true;
	pl_timer_start(p->io->loop, &p->pace, NBDS_PACE_NS);
}

void pace_end(struct nbds_peer *p, bool was_answered)
{
	if (!p->pacing)
		return;
	p->pacing = false;
	p->pace_misses = was_answered ? 0 : p->pace_misses + 1;
	pl_timer_stop(p->io->loop, &p->pace);
	peer_mark(p);
}

static void pace_timed_out(struct pl_timer *timer)
{
	pace_end(container_of(timer, struct nbds_peer, pace), false);
}

void tx_flush(struct nbds_peer *p)
{
	size_t bytes;
	while (!p->tx_armed && !p->failed && !p->pacing && (p->tx_msg.msg_iovlen = gather(p, &bytes)) > 0) {
		p->tx_msg.msg_iov = p->tx_iov;
		if (is_in_lockstep(p))
			pace_start(p);
		ssize_t n = sendmsg(p->fd, &p->tx_msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			tx_arm(p);
		else if (n < 0)
			peer_fail(p, "send", errno);
		else
			sent(p, (size_t)n);
	}
}

static void tx_done(struct pl_io *tx)
{
	struct nbds_peer *p = container_of(tx, struct nbds_peer, tx);
	p->tx_armed = false;
	peer_mark(p);
	if (tx->res < 0 && tx->res != -EINTR && tx->res != -EAGAIN)
		peer_fail(p, "send", -tx->res);
	else if (tx->res > 0 && !p->ending)
		sent(p, (size_t)tx->res);
}

/* The decision about latency and batching, in one place: the client should get something to do at once, but not a
 * wake-up per reply. What is not sent here goes out when the peer is settled. */
static bool tx_is_due(const struct nbds_peer *p)
{
	const struct nbds_conn *c = &p->conn;
	if (c->out_bytes >= NBDS_COALESCE_BYTES)
		return true;
	if (c->out_bytes >= NBDS_PREFERRED_BLOCK_BYTES)
		return false; /* reads: the disk may have more of them done */
	return !p->sent_this_turn || c->out_count >= NBDS_COALESCE_COUNT;
}

void tx_wake(struct nbds_conn *c)
{
	struct nbds_peer *p = container_of(c, struct nbds_peer, conn);
	peer_mark(p);
	if (tx_is_due(p) && !p->ending)
		tx_flush(p);
}

void tx_init(struct nbds_peer *p)
{
	p->pace.fire = pace_timed_out;
}
