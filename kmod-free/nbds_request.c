/* Transmission: a request's header is judged once, by a table; what passes goes to the backend.
 *
 *     READ                     REQ_HEAD -> backend -> data or hole
 *     WRITE                    REQ_HEAD -> REQ_DATA -> backend -> done         refused: REQ_HEAD -> REQ_SKIP -> error
 *     TRIM WRITE_ZEROES FLUSH  REQ_HEAD -> backend -> done
 *     CACHE BLOCK_STATUS       REQ_HEAD -> done
 */
#include "nbds_conn.h"

#include "base/byteorder.h"
#include "base/checked.h"
#include "base/invariant.h"

#include <errno.h>
#include <string.h>

static const struct command {
	bool known;
	uint16_t flags;  /* allowed besides FUA, which is allowed everywhere */
	bool writes;     /* refused on a read-only export */
	bool has_range;  /* offset and length are checked; else both must be 0 */
	bool has_buffer; /* length is bounded by the payload limit */
	enum pl_op op;
} commands[] = {
	[NBDS_CMD_READ] = {true, NBDS_CMD_FLAG_DF, false, true, true, PL_READ},
	[NBDS_CMD_WRITE] = {true, 0, true, true, true, PL_WRITE},
	[NBDS_CMD_FLUSH] = {true, 0, false, false, false, PL_FLUSH},
	[NBDS_CMD_TRIM] = {true, 0, true, true, false, PL_DISCARD},
	[NBDS_CMD_CACHE] = {true, 0, false, true, false, PL_READ},
	[NBDS_CMD_WRITE_ZEROES] = {true, NBDS_CMD_FLAG_NO_HOLE | NBDS_CMD_FLAG_FAST_ZERO, true, true, false,
				   PL_WRITE_ZEROES},
	[NBDS_CMD_BLOCK_STATUS] = {true, NBDS_CMD_FLAG_REQ_ONE, false, true, false, PL_READ},
};

uint16_t nbds_transmission_flags(const struct nbds_conn *c, const struct nbds_export *e)
{
	uint16_t flags = NBDS_CAN_FLAGS | NBDS_CAN_FLUSH | NBDS_CAN_FUA | NBDS_CAN_CACHE;
	flags |= NBDS_CAN_MULTI_CONN; /* all connections share the disk: a flush on one covers what completed on any */
	if (e->readonly)
		flags |= NBDS_IS_READ_ONLY;
	else
		flags |= NBDS_CAN_TRIM | NBDS_CAN_WRITE_ZEROES | NBDS_CAN_FAST_ZERO;
	if (c->structured)
		flags |= NBDS_CAN_DF;
	return flags;
}

uint32_t nbds_error_code(int err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
	case EROFS:
		return NBDS_EPERM;
	case ENOMEM:
		return NBDS_ENOMEM;
	case EINVAL:
		return NBDS_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBDS_ENOSPC;
	case EOVERFLOW:
		return NBDS_EOVERFLOW;
	case EOPNOTSUPP:
		return NBDS_ENOTSUP;
	case ESHUTDOWN:
		return NBDS_ESHUTDOWN;
	default:
		return NBDS_EIO;
	}
}

/* ------------------------------------------------------------------ judging */

struct request {
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
};

struct verdict {
	uint32_t code; /* 0: accepted */
	const char *text;
};

static struct verdict check_range(const struct nbds_export *e, const struct command *k, const struct request *q)
{
	if (!k->has_range) {
		if (q->offset != 0 || q->length != 0)
			return (struct verdict){NBDS_EINVAL, "this command has neither offset nor length"};
		return (struct verdict){0};
	}
	if (q->length == 0)
		return (struct verdict){NBDS_EINVAL, "the length is 0"};
	if (!is_aligned(q->offset, NBDS_MIN_BLOCK_BYTES) || !is_aligned(q->length, NBDS_MIN_BLOCK_BYTES))
		return (struct verdict){NBDS_EINVAL, "offset and length must be multiples of 512"};
	if (k->has_buffer && q->length > NBDS_MAX_PAYLOAD_BYTES)
		return (struct verdict){NBDS_EINVAL, "the payload is longer than 32 MiB"};
	if (!range_fits(q->offset, q->length, e->size_bytes))
		return (struct verdict){k->writes ? NBDS_ENOSPC : NBDS_EINVAL, "the request ends past the disk"};
	return (struct verdict){0};
}

static struct verdict check_request(const struct nbds_conn *c, const struct request *q)
{
	if (q->type >= ARRAY_LEN(commands) || !commands[q->type].known)
		return (struct verdict){NBDS_EINVAL, "unknown command"};
	const struct command *k = &commands[q->type];
	if (q->flags & ~(k->flags | NBDS_CMD_FLAG_FUA))
		return (struct verdict){NBDS_EINVAL, "flags this command does not have"};
	if ((q->flags & NBDS_CMD_FLAG_DF) && !c->structured)
		return (struct verdict){NBDS_EINVAL, "DF needs structured replies"};
	if (q->type == NBDS_CMD_BLOCK_STATUS && !c->contexts)
		return (struct verdict){NBDS_EINVAL, "no metadata context was agreed"};
	if (k->writes && c->export->readonly)
		return (struct verdict){NBDS_EPERM, "the export is read-only"};
	return check_range(c->export, k, q);
}

/* ------------------------------------------------------------------ running */

static const char *failure_text(uint32_t code)
{
	switch (code) {
	case NBDS_EPERM:
		return "the disk may not be written";
	case NBDS_ENOMEM:
		return "the server is out of memory";
	case NBDS_ENOSPC:
		return "the host has no space";
	case NBDS_ENOTSUP:
		return "not faster than writing";
	case NBDS_ESHUTDOWN:
		return "the server is stopping";
	default:
		return "the disk failed; its server's log has the reason";
	}
}

static void on_request_done(struct pl_req *req)
{
	struct nbds_slot *s = container_of(req, struct nbds_slot, req);
	struct nbds_conn *c = s->conn;
	c->submitted--;
	if (unlikely(c->state == CONN_DEAD))
		nbds_slot_put(s);
	else if (unlikely(req->res < 0))
		nbds_reply_error(s, nbds_error_code(req->res), failure_text(nbds_error_code(req->res)));
	else if (s->type == NBDS_CMD_READ)
		nbds_reply_data(s);
	else
		nbds_reply_done(s);
	c->backend->wake(c);
}

static void submit(struct nbds_slot *s)
{
	uint16_t flags = s->flags;
	s->req.flags = (flags & NBDS_CMD_FLAG_FUA ? PL_FUA : 0) | (flags & NBDS_CMD_FLAG_NO_HOLE ? PL_NO_HOLE : 0) |
		       (flags & NBDS_CMD_FLAG_FAST_ZERO ? PL_FAST_ZERO : 0);
	s->req.buf = s->buf ? s->buf->data : NULL;
	s->req.buf_index = s->buf ? s->buf->index : PL_IO_NO_BUFFER;
	s->conn->submitted++;
	s->conn->backend->submit(s->conn->export, &s->req);
}

/* A long read of a hole is answered by its length. */
static bool reads_zeroes(const struct nbds_conn *c, const struct nbds_slot *s)
{
	struct pl_extent e;
	return c->structured && s->req.length_bytes >= NBDS_HOLE_READ_BYTES &&
	       c->backend->map(c->export, s->req.offset_bytes, s->req.length_bytes, &e, 1) == 1 &&
	       (e.flags & PL_EXTENT_ZERO) && e.length_bytes == s->req.length_bytes;
}

static uint32_t buffer_bytes(const struct nbds_slot *s)
{
	if (s->type == NBDS_CMD_READ || s->type == NBDS_CMD_WRITE)
		return (uint32_t)s->req.length_bytes;
	if (s->type == NBDS_CMD_BLOCK_STATUS)
		return NBDS_CONTEXT_COUNT * (NBDS_CHUNK_HEAD_BYTES + 4 + NBDS_MAX_EXTENTS * 8);
	return 0;
}

/* An accepted request with all it needs; false: no buffer now. */
static bool start(struct nbds_conn *c, struct nbds_slot *s)
{
	if (s->type == NBDS_CMD_READ && reads_zeroes(c, s)) {
		nbds_reply_hole(s);
		return true;
	}
	uint32_t bytes = buffer_bytes(s);
	if (bytes) {
		s->buf = c->backend->buf_get(c->backend->arg, bytes);
		if (!s->buf)
			return false;
	}
	switch (s->type) {
	case NBDS_CMD_WRITE:
		c->incoming = s;
		c->landing = s->buf->data;
		break;
	case NBDS_CMD_BLOCK_STATUS:
		nbds_reply_status(s);
		break;
	case NBDS_CMD_CACHE: /* there is no cache to fill */
		nbds_reply_done(s);
		break;
	default:
		submit(s);
	}
	return true;
}

/* ------------------------------------------------------------------ REQ_HEAD, REQ_DATA */

static enum conn_state stall(struct nbds_conn *c, struct nbds_slot *s)
{
	if (s)
		nbds_slot_put(s);
	c->stalled = true;
	return CONN_REQ_HEAD;
}

/* No reply exists; what is in flight is still answered. */
static enum conn_state on_disconnect(struct nbds_conn *c)
{
	pl_log(PL_LOG_INFO, "nbd", "client disconnects peer=%s", c->peer);
	return CONN_CLOSING;
}

/* A reply to a request that is still being sent would confuse clients: the payload goes first. */
static enum conn_state refuse(struct nbds_conn *c, struct nbds_slot *s, const struct request *q, struct verdict v)
{
	c->parsed++;
	if (q->type != NBDS_CMD_WRITE || q->length == 0) {
		nbds_reply_error(s, v.code, v.text);
		return CONN_REQ_HEAD;
	}
	c->incoming = s;
	c->refusal.code = v.code;
	c->refusal.text = v.text;
	c->want = q->length;
	return CONN_REQ_SKIP;
}

enum conn_state nbds_on_request_skipped(struct nbds_conn *c, const uint8_t *p)
{
	struct nbds_slot *s = c->incoming;
	c->incoming = NULL;
	nbds_reply_error(s, c->refusal.code, c->refusal.text);
	return CONN_REQ_HEAD;
}

enum conn_state nbds_on_request_head(struct nbds_conn *c, const uint8_t *p)
{
	struct request q = {
		.flags = load_be16(p + 4),
		.type = load_be16(p + 6),
		.cookie = load_be64(p + 8),
		.offset = load_be64(p + 16),
		.length = load_be32(p + 24),
	};
	if (unlikely(load_be32(p) != NBDS_REQUEST_MAGIC))
		return nbds_drop(c, "request magic %#010x", load_be32(p));
	if (q.type == NBDS_CMD_DISC)
		return on_disconnect(c);

	struct nbds_slot *s = nbds_slot_get(c);
	if (!s)
		return stall(c, NULL);
	s->cookie = q.cookie;
	s->type = q.type;
	s->flags = q.flags;

	struct verdict v = check_request(c, &q);
	if (unlikely(v.code))
		return refuse(c, s, &q, v);
	s->req.done = on_request_done;
	s->req.owner = c;
	s->req.op = commands[q.type].op;
	s->req.offset_bytes = q.offset;
	s->req.length_bytes = q.length;
	if (!start(c, s))
		return stall(c, s);
	c->parsed++;
	c->want = q.length;
	c->expect_bulk = q.type == NBDS_CMD_WRITE && q.length > NBDS_BULK_BYTES;
	return q.type == NBDS_CMD_WRITE ? CONN_REQ_DATA : CONN_REQ_HEAD;
}

enum conn_state nbds_on_request_data(struct nbds_conn *c, const uint8_t *p)
{
	struct nbds_slot *s = c->incoming;
	c->incoming = NULL;
	submit(s);
	return CONN_REQ_HEAD;
}
