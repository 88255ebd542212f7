/* The table of states and its one driver. What a state does is a paragraph in nbds_option.c or nbds_request.c.
 *
 *     HELLO -> OPT_HEAD <-> OPT_DATA -> REQ_HEAD <-> REQ_DATA, REQ_SKIP
 *                              |  TLS -> OPT_HEAD (all forgotten)
 *                              any -> CLOSING (replies drain), DEAD (dropped)
 *
 * Input lands in one large buffer, so that one receive takes many requests. The payload of a write goes from there, or
 * straight from the socket, into the request's own buffer. Only conn_goto() assigns the state.
 */
#include "nbds_conn.h"

#include "base/byteorder.h"
#include "base/invariant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum landing { LAND_NONE, LAND_IN_PLACE, LAND_PAYLOAD, LAND_NOWHERE };

static const struct conn_row {
	const char *name;
	uint32_t bytes;
	enum landing landing;
	uint32_t exits;
} conn_table[] = {
#define X(name, bytes, landing, exits) [CONN_##name] = {#name, bytes, LAND_##landing, (exits) | BIT(CONN_DEAD)},
	CONN_STATES(X)
#undef X
};

static enum conn_state (*const conn_handler[ARRAY_LEN(conn_table)])(struct nbds_conn *c, const uint8_t *p) = {
	[CONN_HELLO] = nbds_on_hello,
	[CONN_OPT_HEAD] = nbds_on_option_head,
	[CONN_OPT_DATA] = nbds_on_option_data,
	[CONN_REQ_HEAD] = nbds_on_request_head,
	[CONN_REQ_DATA] = nbds_on_request_data,
	[CONN_REQ_SKIP] = nbds_on_request_skipped,
};

static void conn_goto(struct nbds_conn *c, enum conn_state next)
{
	invariant(conn_table[c->state].exits & BIT(next));
	if (conn_table[next].bytes)
		c->want = conn_table[next].bytes;
	if (next == c->state)
		return;
	pl_log(PL_LOG_DEBUG, "nbd", "%s -> %s peer=%s", conn_table[c->state].name, conn_table[next].name, c->peer);
	c->state = next;
}

enum conn_state nbds_drop(struct nbds_conn *c, const char *fmt, ...)
{
	char why[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	pl_log(PL_LOG_WARN, "nbd", "connection dropped: %s peer=%s state=%s", why, c->peer, conn_table[c->state].name);
	return CONN_DEAD;
}

/* ------------------------------------------------------------------ input */

static uint32_t available(const struct nbds_conn *c)
{
	return c->in_end - c->in_start;
}

/* One option at a time: a client that does not read our answers cannot make us pile them up. */
static bool answer_is_pending(const struct nbds_conn *c)
{
	return nbds_conn_is_negotiating(c) && c->text.sent < c->text.bytes;
}

static bool takes_input(const struct nbds_conn *c)
{
	return conn_table[c->state].landing != LAND_NONE && !c->stalled && !answer_is_pending(c);
}

/* Is all here that the state's handler wants? Payload leaves the input buffer as it comes. */
static bool unit_is_complete(struct nbds_conn *c)
{
	enum landing landing = conn_table[c->state].landing;
	if (landing == LAND_IN_PLACE)
		return available(c) >= c->want;

	uint32_t n = MIN(available(c), c->want);
	if (landing == LAND_PAYLOAD) {
		memcpy(c->landing, c->in + c->in_start, n);
		c->landing += n;
	}
	c->in_start += n;
	c->want -= n;
	return c->want == 0;
}

static void conn_run(struct nbds_conn *c)
{
	while (takes_input(c) && unit_is_complete(c)) {
		const uint8_t *unit = c->in + c->in_start;
		uint32_t consumed = conn_table[c->state].landing == LAND_IN_PLACE ? c->want : 0;
		enum conn_state next = conn_handler[c->state](c, unit);
		if (c->stalled)
			break;
		c->in_start += consumed;
		conn_goto(c, next);
	}
	if (c->state >= CONN_CLOSING)
		c->in_start = c->in_end = 0;
	if (c->state == CONN_DEAD)
		nbds_conn_kill(c);
}

/* Room for at least one unit behind what is here already. */
static void make_room(struct nbds_conn *c)
{
	if (c->in_start == c->in_end) {
		c->in_start = c->in_end = 0;
	} else if (c->in_start > NBDS_INPUT_BYTES / 2) {
		memmove(c->in, c->in + c->in_start, available(c));
		c->in_end -= c->in_start;
		c->in_start = 0;
	}
}

/* Of the input buffer; a payload's own place is not counted. */
static size_t bytes_wanted(const struct nbds_conn *c)
{
	bool at_head = c->state == CONN_REQ_HEAD, begun = available(c) > 0;
	bool resting = c->resting && !nbds_conn_is_negotiating(c);
	if (resting && !at_head)
		return c->state == CONN_REQ_SKIP ? c->want : 0;
	if (resting && !begun)
		return 0;
	if (resting || (c->expect_bulk && c->state >= CONN_REQ_HEAD && available(c) < NBDS_REQUEST_HEAD_BYTES))
		return NBDS_REQUEST_HEAD_BYTES - available(c); /* the payload stays in the socket */
	return NBDS_INPUT_BYTES - c->in_end;
}

int nbds_conn_sink(struct nbds_conn *c, struct iovec iov[2])
{
	if (!takes_input(c))
		return 0;
	make_room(c);

	int n = 0;
	if (c->state == CONN_REQ_DATA)
		iov[n++] = (struct iovec){c->landing, c->want};
	size_t wanted = bytes_wanted(c);
	if (wanted)
		iov[n++] = (struct iovec){c->in + c->in_end, wanted};
	return n;
}

void nbds_conn_received(struct nbds_conn *c, size_t n)
{
	if (c->state == CONN_REQ_DATA) {
		uint32_t direct = (uint32_t)MIN(n, c->want);
		c->landing += direct;
		c->want -= direct;
		n -= direct;
	}
	invariant(n <= NBDS_INPUT_BYTES - c->in_end);
	c->in_end += (uint32_t)n;
	conn_run(c);
}

void nbds_conn_resume(struct nbds_conn *c)
{
	c->stalled = false;
	if (available(c) > 0)
		conn_run(c);
}

/* ------------------------------------------------------------------ TLS */

bool nbds_conn_wants_tls(const struct nbds_conn *c)
{
	return c->state == CONN_TLS && c->text.sent == c->text.bytes;
}

/* What was agreed in the clear may have been forged: it is forgotten. */
void nbds_conn_tls_started(struct nbds_conn *c)
{
	c->encrypted = true;
	c->structured = false;
	c->contexts = 0;
	c->meta_export = NULL;
	conn_goto(c, CONN_OPT_HEAD);
}

/* ------------------------------------------------------------------ life */

static int begin(struct nbds_conn *c, const struct nbds_backend *backend, enum conn_state state, const char *peer)
{
	*c = (struct nbds_conn){.backend = backend, .state = state, .want = conn_table[state].bytes};
	snprintf(c->peer, sizeof(c->peer), "%s", peer);
	c->in = malloc(NBDS_INPUT_BYTES);
	return c->in ? 0 : pl_fail(-ENOMEM, "no memory for a connection of %s", peer);
}

int nbds_conn_init_agreed(struct nbds_conn *c, const struct nbds_backend *backend, const struct nbds_export *export,
			  uint32_t agreement, const char *peer)
{
	int r = begin(c, backend, CONN_REQ_HEAD, peer);
	c->export = export;
	c->structured = agreement & NBDS_AGREED_STRUCTURED;
	c->contexts = agreement >> NBDS_AGREED_CONTEXTS_SHIFT & (BIT(NBDS_CONTEXT_COUNT) - 1);
	return r;
}

uint32_t nbds_conn_agreement(const struct nbds_conn *c)
{
	return (c->structured ? NBDS_AGREED_STRUCTURED : 0) | c->contexts << NBDS_AGREED_CONTEXTS_SHIFT;
}

int nbds_conn_init(struct nbds_conn *c, const struct nbds_backend *backend, const struct nbds_export *exports,
		   size_t export_count, enum nbds_tls_policy tls, const char *peer)
{
	int r = begin(c, backend, CONN_HELLO, peer);
	if (r < 0)
		return r;
	c->exports = exports;
	c->export_count = export_count;
	c->tls_policy = tls;

	uint8_t greeting[NBDS_GREETING_BYTES];
	store_be64(greeting, NBDS_MAGIC);
	store_be64(greeting + 8, NBDS_OPTION_MAGIC);
	store_be16(greeting + 16, NBDS_FLAG_FIXED_NEWSTYLE | NBDS_FLAG_NO_ZEROES);
	if (!nbds_text_add(c, greeting, sizeof(greeting))) {
		nbds_conn_fini(c);
		return pl_fail(-ENOMEM, "no memory for a connection of %s", peer);
	}
	return 0;
}

void nbds_conn_fini(struct nbds_conn *c)
{
	invariant(c->submitted == 0);
	nbds_conn_kill(c);
	nbds_slots_free(c);
	free(c->in);
	c->in = NULL;
	free(c->text.data);
	c->text.data = NULL;
}

static void drop_incoming(struct nbds_conn *c)
{
	if (c->incoming)
		nbds_slot_put(c->incoming);
	c->incoming = NULL;
}

void nbds_conn_close(struct nbds_conn *c)
{
	if (c->state >= CONN_CLOSING)
		return;
	if (nbds_conn_is_negotiating(c)) {
		nbds_conn_kill(c);
		return;
	}
	drop_incoming(c);
	c->stalled = false;
	c->in_start = c->in_end = 0;
	conn_goto(c, CONN_CLOSING);
}

void nbds_conn_rest(struct nbds_conn *c)
{
	c->resting = true;
}

void nbds_conn_go_on(struct nbds_conn *c)
{
	c->resting = false;
}

bool nbds_conn_is_at_rest(const struct nbds_conn *c)
{
	return c->resting && c->state == CONN_REQ_HEAD && available(c) == 0 && c->in_flight == 0;
}

void nbds_conn_kill(struct nbds_conn *c)
{
	if (c->state != CONN_DEAD)
		conn_goto(c, CONN_DEAD);
	drop_incoming(c);
	c->stalled = false;
	for (struct qnode *n; (n = queue_take(&c->out));)
		nbds_slot_put(container_of(n, struct nbds_slot, node));
	c->out_count = 0;
	c->out_bytes = c->out_sent = 0;
	c->text.bytes = c->text.sent = 0;
}

void nbds_conn_check(const struct nbds_conn *c)
{
	invariant(c->in_start <= c->in_end && c->in_end <= NBDS_INPUT_BYTES);
	invariant(c->submitted + c->out_count + (c->incoming != NULL) == c->in_flight);
	invariant(c->in_flight <= c->slot_count && c->slot_count <= NBDS_MAX_IN_FLIGHT);
	invariant((c->state == CONN_REQ_DATA || c->state == CONN_REQ_SKIP) == (c->incoming != NULL));
	invariant(c->text.sent <= c->text.bytes && c->text.bytes <= c->text.capacity);
	invariant(!c->stalled || c->state == CONN_REQ_HEAD);
	invariant(c->export != NULL || c->state < CONN_REQ_HEAD || c->state >= CONN_CLOSING);
	invariant(queue_is_empty(&c->out) == (c->out_count == 0));
}
