/* The control of one disk, and its clients as machines without sockets: bytes in, calls to the disk, lines out.
 *
 *     a client    bytes -> control_conn_received() -> control_conn_run(): line by line, while nothing waits to be sent
 *     a change    idle -> switch, merge or finish runs -> done: its client, if it is still there, gets the answer
 *     the top     none -> pushed by a client -> switched, or abandoned by it or because it is gone
 *
 * Whoever moves the bytes asks control_conn_room() how many are welcome and sends what control_conn_output() names. A
 * call to the disk may turn the loop (pl_disk_push() opens files), so bytes may arrive while one is made; lines are run
 * only when none is: @calling. All on the loop's thread. */
#ifndef PLOOP_CONTROL_CONN_H
#define PLOOP_CONTROL_CONN_H

#include "base/list.h"
#include "control_message.h"

#include <sys/uio.h>

/* What the control asks of the disk: the calls of ploop.h, "the chain of an open disk". */
struct control_backend {
	size_t (*members)(void *arg, struct pl_member *out, size_t max);
	int (*push)(void *arg, const char *name); /* a plain name of a file beside the disk's images */
	void (*abandon)(void *arg);
	void (*switch_top)(void *arg, const struct pl_switch_options *options, struct pl_change *change);
	void (*merge)(void *arg, uint32_t child, enum pl_merge_into into, struct pl_change *change);
	/* A plain name, too. */
	void (*replace)(void *arg, uint32_t place, const char *name, struct pl_change *change);
	void (*finish)(void *arg, struct pl_change *change);
	void (*cancel)(void *arg);
	void (*info)(void *arg, struct control_info *out);
	void (*get_stat)(void *arg, struct pl_disk_stat *out);
	int (*set)(void *arg, const struct pl_limits *limits);
	void (*set_on_full)(void *arg, enum pl_on_full what);
	void (*retry)(void *arg);
	void (*hand_over)(void *arg, struct pl_change *change); /* pause_ns: how long so far */
	void *arg;
	bool no_changes; /* only questions are answered */
};

/* The backend whose calls are the functions of their names where this stands. */
#define CONTROL_BACKEND(whose)                                                                                         \
	(struct control_backend)                                                                                       \
	{                                                                                                              \
		.members = members, .push = push, .abandon = abandon, .switch_top = switch_top, .merge = merge,        \
		.replace = replace, .finish = finish, .cancel = cancel, .info = info, .get_stat = get_stat,            \
		.set = set, .set_on_full = set_on_full, .retry = retry, .hand_over = hand_over, .arg = (whose),        \
	}

struct control_conn;

struct control {
	const struct control_backend *backend;
	struct control_conn *conns;
	bool calling; /* a call to the disk is being made */
	bool closing; /* no more requests */
	bool pushed;  /* an image waits to become the top … */
	struct control_conn *pusher; /* … for this client; NULL: it is gone */
	bool changing;               /* @change runs … */
	struct control_conn *changer; /* … for this client; NULL: it is gone */
	struct control_request what; /* its request */
	struct pl_change change;
	uint64_t progress_ns; /* when its client was told last */
};

struct control_conn {
	struct control *control;
	struct control_conn *next;
	bool greeted;
	bool refused; /* it does not speak the protocol: no more input */
	char in[CONTROL_REQUEST_BYTES];
	size_t in_bytes;
	struct queue out; /* lines */
};

void control_init(struct control *k, const struct control_backend *backend);
/* Take no more requests and cancel what runs. */
void control_close(struct control *k);
/* Abandon what a gone client pushed. Call it when clients have gone or changes are done, not from inside a call. */
void control_settle(struct control *k);

void control_conn_init(struct control_conn *c, struct control *k);
/* The client is gone: cancel its merge or finish, forget it. Not while a call is being made. */
void control_conn_fini(struct control_conn *c);

/* How many bytes it can take now; it only grows until they come. */
size_t control_conn_room(const struct control_conn *c);
void control_conn_received(struct control_conn *c, const char *data, size_t bytes);
/* Run the lines that are here, as far as the answers can be sent. */
void control_conn_run(struct control_conn *c);

/* What is to be sent; length 0: nothing. The place is the same until it is sent. */
struct iovec control_conn_output(const struct control_conn *c);
void control_conn_sent(struct control_conn *c, size_t bytes);
/* An error that belongs to no request. */
void control_conn_refuse(struct control_conn *c, int err, const char *text);

/* It waits for nothing: a line is not here, an answer is not due. */
bool control_conn_is_idle(const struct control_conn *c);

/* ------------------------------------------------------------------ between the machine's own files */

enum { CONTROL_LATER = 1 }; /* the answer comes when the change is done */

/* control_methods.c: fill @reply, or CONTROL_LATER, or a negative errno and the sentence. */
int control_run_method(struct control_conn *c, const struct control_request *q, struct control_reply *reply);

void control_answer(struct control_conn *c, const struct control_reply *reply);
void control_answer_error(struct control_conn *c, uint64_t id, int err, const char *text);

#endif
