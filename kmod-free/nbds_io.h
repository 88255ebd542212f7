/* The connected sockets of one NBD server: moves bytes between them and the machine through the engine's loop, and
 * knows nothing of NBD. All on the loop's thread. */
#ifndef PLOOP_NBDS_IO_H
#define PLOOP_NBDS_IO_H

#include "nbds_conn.h"

struct tls_context;
struct nbds_peer;

struct nbds_io {
	/* ---- fixed from init to fini */
	struct pl_loop *loop;
	struct nbds_backend backend; /* wake is ours */
	const struct nbds_export *exports;
	size_t export_count;
	struct tls_context *tls; /* NULL: none; borrowed */
	uint32_t max_peers;
	void (*empty)(struct nbds_io *io); /* the last peer is gone; may be NULL */
	void (*rested)(struct nbds_io *io); /* of nbds_io_rest(), from the loop */

	/* ---- changes */
	struct nbds_peer *peers;
	uint32_t peer_count;
	uint64_t accepted, received_bytes, sent_bytes; /* counters, ever */
	struct queue dirty;   /* peers with something to settle before the loop sleeps */
	struct queue waiting; /* peers to settle in the next turn: they wait for a buffer */
	struct pl_hook hook;
	struct pl_timer watch; /* runs while somebody waits for a buffer */
	bool closing;
	bool resting; /* until all are; they go on, or are handed over … */
	bool rest_told;
	bool leaving; /* @closing, and what began agreed is handed out */
	int left_fd;  /* it was; -1: not yet */
};

void nbds_io_init(struct nbds_io *io);
/* No peer may be left. */
void nbds_io_fini(struct nbds_io *io);

/* Serve the connected socket @fd, which is the io's from here on, also on failure. -ENOMEM, -EBUSY: too many. */
int nbds_io_add(struct nbds_io *io, int fd, enum nbds_tls_policy tls, const char *name);
/* The same for a client that shakes no hands, or did so with somebody else: it is at the beginning of a request to
 * @export. */
int nbds_io_add_agreed(struct nbds_io *io, int fd, const struct nbds_export *export, uint32_t agreement,
		       const char *name, uint16_t *flags);
/* Take no more requests; peers leave when their replies are sent. */
void nbds_io_close(struct nbds_io *io);
/* The same, but the socket of the client that shook no hands stays open, between two requests: @left_fd, the
 * caller's. */
void nbds_io_leave(struct nbds_io *io);
/* Take no more requests; when all peers are between two requests, rested() is called, once. */
void nbds_io_rest(struct nbds_io *io);
void nbds_io_go_on(struct nbds_io *io);
/* They rest: @each gets the socket of each, to copy, and what was agreed; then they leave, and the sockets stay
 * connected. -EBUSY: one is connected with TLS, which cannot go on elsewhere; nothing was done. */
int nbds_io_hand_over(struct nbds_io *io, void (*each)(void *arg, int fd, uint32_t agreement), void *arg);
/* Drop all peers now; they leave when the backend has finished their requests. */
void nbds_io_kill(struct nbds_io *io);
/* A line per peer. */
void nbds_io_dump(const struct nbds_io *io, void (*line)(void *arg, const char *text), void *arg);

#endif
