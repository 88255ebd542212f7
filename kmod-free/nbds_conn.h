/* One NBD connection as a machine without sockets: bytes in, requests to a backend, replies out.
 *
 * Whoever moves the bytes asks nbds_conn_sink() where the next ones must land, puts any number of them there, and
 * says nbds_conn_received(). What is to be sent it takes from nbds_conn_output() and confirms with nbds_conn_sent().
 * The backend's wake() is called when a request finished: there may be output, or input may go on.
 *
 * Not thread-safe: a connection belongs to the thread of its loop. No function here blocks.
 */
#ifndef PLOOP_NBDS_CONN_H
#define PLOOP_NBDS_CONN_H

#include "base/list.h"
#include "nbds_limits.h"
#include "nbds_proto.h"
#include "ploop.h"

#include <sys/uio.h>

/* name, bytes wanted (0: set by the handler before, bounded), where they land, exits (DEAD is always one) */
#define CONN_STATES(X)                                                                                                 \
	X(HELLO, 4, IN_PLACE, BIT(CONN_OPT_HEAD))      /* client flags */                                             \
	X(OPT_HEAD, 16, IN_PLACE, BIT(CONN_OPT_DATA) | BIT(CONN_CLOSING)) /* magic, option, length */                 \
	X(OPT_DATA, 0, IN_PLACE, BIT(CONN_OPT_HEAD) | BIT(CONN_TLS) | BIT(CONN_REQ_HEAD) | BIT(CONN_CLOSING))         \
	X(TLS, 0, NONE, BIT(CONN_OPT_HEAD))            /* the mover of bytes shakes hands */                          \
	X(REQ_HEAD, 28, IN_PLACE, BIT(CONN_REQ_HEAD) | BIT(CONN_REQ_DATA) | BIT(CONN_REQ_SKIP) | BIT(CONN_CLOSING))   \
	X(REQ_DATA, 0, PAYLOAD, BIT(CONN_REQ_HEAD) | BIT(CONN_CLOSING)) /* into the request's own buffer */           \
	X(REQ_SKIP, 0, NOWHERE, BIT(CONN_REQ_HEAD) | BIT(CONN_CLOSING)) /* payload of a refused write */              \
	X(CLOSING, 0, NONE, 0)                         /* no more input; replies drain */                             \
	X(DEAD, 0, NONE, 0)                            /* nothing moves any more */

enum conn_state {
#define X(name, bytes, landing, exits) CONN_##name,
	CONN_STATES(X)
#undef X
};

struct nbds_export {
	const char *name;        /* "" is the default export */
	const char *description; /* NULL: none */
	uint64_t size_bytes;     /* a multiple of 512 */
	bool readonly;
	void *disk; /* the backend's */
};

enum nbds_tls_policy { NBDS_TLS_OFF, NBDS_TLS_OFFERED, NBDS_TLS_REQUIRED };

struct nbds_conn;

/* What the machine needs of the world. */
struct nbds_backend {
	void (*submit)(const struct nbds_export *export, struct pl_req *req); /* as pl_submit() */
	size_t (*map)(const struct nbds_export *export, uint64_t offset_bytes, uint64_t length_bytes,
		      struct pl_extent *out, size_t max); /* as pl_map() */
	struct pl_buf *(*buf_get)(void *arg, uint32_t bytes); /* NULL: none now, nbds_conn_resume() later */
	void (*buf_put)(void *arg, struct pl_buf *buf);
	void (*wake)(struct nbds_conn *c); /* must not call back into the machine's input side */
	void *arg;
};

/* One request, from its header to the last byte of its reply. */
struct nbds_slot {
	struct pl_req req;
	struct qnode node; /* on the free list or in the output queue */
	struct nbds_conn *conn;
	struct pl_buf *buf;
	uint64_t cookie;
	uint16_t type, flags; /* as on the wire */
	uint8_t head_bytes;   /* reply: head, then payload */
	uint8_t head[NBDS_CHUNK_HEAD_BYTES + 12];
	uint32_t payload_bytes;
	const void *payload;
};

struct nbds_conn {
	/* ---- fixed from init to fini */
	const struct nbds_backend *backend;
	const struct nbds_export *exports;
	size_t export_count;
	enum nbds_tls_policy tls_policy;
	char peer[64]; /* for log lines */

	/* ---- negotiated; forgotten when TLS starts, fixed during transmission */
	const struct nbds_export *export;
	const struct nbds_export *meta_export; /* the contexts were asked for this one */
	uint32_t contexts;                     /* BIT(enum nbds_context) */
	bool fixed_newstyle, no_zeroes, structured, encrypted;

	/* ---- input: in[in_start, in_end) is here and not understood yet */
	enum conn_state state;
	uint32_t option;  /* of the option whose data is awaited */
	uint32_t want;    /* bytes missing for the state's handler */
	uint8_t *landing; /* REQ_DATA: where the next payload byte goes */
	struct nbds_slot *incoming; /* REQ_DATA, REQ_SKIP: whose payload it is */
	struct {                    /* REQ_SKIP: the answer, when the payload is gone */
		uint32_t code;
		const char *text;
	} refusal;
	bool stalled;     /* no slot or no buffer: the header waits in @in */
	bool resting;     /* no further request is begun */
	bool expect_bulk; /* the last request was a large write: leave the next payload in the socket */
	uint32_t parsed;  /* requests understood, ever; wraps */
	uint32_t in_start, in_end;
	uint8_t *in; /* NBDS_INPUT_BYTES */

	/* ---- output */
	struct {
		uint8_t *data;
		size_t bytes, capacity, sent;
	} text; /* negotiation: goes before the queue */
	struct queue out;
	size_t out_sent; /* of the first in the queue */
	size_t out_bytes;
	uint32_t out_count;

	/* ---- requests */
	struct queue free_slots;
	struct slot_chunk *chunks;
	uint32_t slot_count;
	uint32_t in_flight; /* slots taken: header read, reply not sent */
	uint32_t submitted; /* of them with the backend */
};

enum { NBDS_AGREED_NOTHING = 0, NBDS_AGREED_STRUCTURED = 1, NBDS_AGREED_CONTEXTS_SHIFT = 1 };

enum nbds_context { NBDS_BASE_ALLOCATION, NBDS_ALLOCATION_DEPTH, NBDS_CONTEXT_COUNT };

/* Start a connection: the greeting is in the output. -ENOMEM. @exports and @backend must outlive it. */
int nbds_conn_init(struct nbds_conn *c, const struct nbds_backend *backend, const struct nbds_export *exports,
		   size_t export_count, enum nbds_tls_policy tls, const char *peer);
/* Start one where a handshake has ended, at the beginning of a request; @agreement is what it settled. -ENOMEM. */
int nbds_conn_init_agreed(struct nbds_conn *c, const struct nbds_backend *backend, const struct nbds_export *export,
			  uint32_t agreement, const char *peer);
/* What the handshake of @c settled, for another machine to go on with. NBDS_AGREED_NOTHING: simple replies alone. */
uint32_t nbds_conn_agreement(const struct nbds_conn *c);
/* Release everything. Nothing may be submitted. */
void nbds_conn_fini(struct nbds_conn *c);

/* Where the next bytes must land: 0, 1 or 2 pieces. 0: not now. The answer holds until the next call of
 * nbds_conn_received() or nbds_conn_resume(); completions do not change it. */
int nbds_conn_sink(struct nbds_conn *c, struct iovec iov[2]);
/* @n bytes landed there, in order. */
void nbds_conn_received(struct nbds_conn *c, size_t n);
/* Try again what stalled. */
void nbds_conn_resume(struct nbds_conn *c);

/* What is to be sent: up to @max pieces, their count; *@bytes is their sum. */
size_t nbds_conn_output(struct nbds_conn *c, struct iovec *iov, size_t max, size_t *bytes);
void nbds_conn_sent(struct nbds_conn *c, size_t n);

/* TLS has been asked for and its acknowledgement sent: shake hands, then say so. */
bool nbds_conn_wants_tls(const struct nbds_conn *c);
void nbds_conn_tls_started(struct nbds_conn *c);

/* Take no more input; replies drain. A client that still negotiates is dropped. */
void nbds_conn_close(struct nbds_conn *c);
/* Take no more input than the request needs that has begun to come: the rest stays where it is, for somebody else. A
 * handshake goes on. */
void nbds_conn_rest(struct nbds_conn *c);
/* Nobody else came. */
void nbds_conn_go_on(struct nbds_conn *c);
/* It came to rest: between two requests, and all are answered. */
bool nbds_conn_is_at_rest(const struct nbds_conn *c);
/* Drop everything that is not with the backend. The memory stays needed until submitted is 0. */
void nbds_conn_kill(struct nbds_conn *c);

/* All said: the connection may be closed. */
static inline bool nbds_conn_finished(const struct nbds_conn *c)
{
	return c->state == CONN_DEAD ||
	       (c->state == CONN_CLOSING && c->in_flight == 0 && c->text.bytes == c->text.sent);
}

static inline bool nbds_conn_is_negotiating(const struct nbds_conn *c)
{
	return c->state < CONN_REQ_HEAD;
}

void nbds_conn_check(const struct nbds_conn *c);

/* ------------------------------------------------------------------ between the machine's own files */

/* One log line; returns CONN_DEAD, so that a handler can write: return nbds_drop(c, "…"). */
enum conn_state nbds_drop(struct nbds_conn *c, const char *fmt, ...) PL_PRINTF(2, 3);

/* nbds_option.c */
enum conn_state nbds_on_hello(struct nbds_conn *c, const uint8_t *p);
enum conn_state nbds_on_option_head(struct nbds_conn *c, const uint8_t *p);
enum conn_state nbds_on_option_data(struct nbds_conn *c, const uint8_t *p);

/* nbds_request.c. CONN_REQ_HEAD with c->stalled set: nothing was consumed. */
enum conn_state nbds_on_request_head(struct nbds_conn *c, const uint8_t *p);
enum conn_state nbds_on_request_data(struct nbds_conn *c, const uint8_t *p);
enum conn_state nbds_on_request_skipped(struct nbds_conn *c, const uint8_t *p);
uint16_t nbds_transmission_flags(const struct nbds_conn *c, const struct nbds_export *export);
uint32_t nbds_error_code(int err); /* negative errno to the wire */

/* nbds_reply.c: each queues the reply of @s. */
void nbds_reply_done(struct nbds_slot *s);
void nbds_reply_data(struct nbds_slot *s);
void nbds_reply_hole(struct nbds_slot *s);
void nbds_reply_error(struct nbds_slot *s, uint32_t code, const char *text);
void nbds_reply_status(struct nbds_slot *s);
struct nbds_slot *nbds_slot_get(struct nbds_conn *c);
void nbds_slot_put(struct nbds_slot *s);
void nbds_slots_free(struct nbds_conn *c);
/* Negotiation text; false: no memory. */
bool nbds_text_add(struct nbds_conn *c, const void *data, size_t bytes);

#endif
