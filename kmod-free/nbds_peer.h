/* A client's connection between its socket and its machine: shared by the two halves that move its bytes, nbds_send.c
 * and nbds_io.c, and by nobody else. */
#ifndef PLOOP_NBDS_PEER_H
#define PLOOP_NBDS_PEER_H

#include "nbds_io.h"
#include "nbds_secure.h"

#include <sys/socket.h>

struct nbds_peer {
	struct nbds_conn conn;
	struct nbds_io *io;
	struct nbds_peer *next;
	struct qnode node; /* in dirty or waiting */
	int fd;
	bool queued;         /* @node is in use */
	bool agreed;         /* it began without a handshake */
	bool failed;         /* the socket or TLS is beyond use */
	bool ending;         /* shut down; armed operations are awaited */
	bool sent_this_turn;
	bool expect_more;    /* the last receive brought several requests: more may be there already */
	bool rx_armed, tx_armed;
	uint32_t silent_looks; /* of the watch, without a byte moved */
	struct pl_io rx, tx;
	struct msghdr tx_msg;
	struct iovec tx_iov[NBDS_MAX_IOV];
	struct pl_timer negotiation;
	bool pacing; /* the rest of the replies waits for requests, or for @pace */
	uint32_t pace_misses;
	struct pl_timer pace;
	struct nbds_secure *secure; /* NULL: in the clear */
};

/* Something changed: settle it before the loop sleeps. */
void peer_mark(struct nbds_peer *p);
/* The connection is over; one log line says why. */
void peer_fail(struct nbds_peer *p, const char *what, int err);

/* ---- nbds_send.c */

void tx_init(struct nbds_peer *p);
/* Send what is queued until all is gone, the socket is full (the loop goes on with it), or it is to be paced. */
void tx_flush(struct nbds_peer *p);
/* nbds_backend.wake: the machine finished a request. */
void tx_wake(struct nbds_conn *c);
/* Requests came, or the connection ends: what waits may go. */
void pace_end(struct nbds_peer *p, bool was_answered);

#endif
