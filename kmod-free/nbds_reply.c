/* Requests in flight, and the replies they turn into: a head built in the slot, then payload that is sent from where
 * it lies. Negotiation answers are text of their own and go first. */
#include "nbds_conn.h"

#include "base/byteorder.h"
#include "base/invariant.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ slots */

struct slot_chunk {
	struct slot_chunk *next;
	struct nbds_slot slots[NBDS_SLOTS_PER_CHUNK];
};

static_assert(NBDS_MAX_IN_FLIGHT % NBDS_SLOTS_PER_CHUNK == 0, "the last chunk is whole");

static bool add_slots(struct nbds_conn *c)
{
	if (c->slot_count == NBDS_MAX_IN_FLIGHT)
		return false;
	struct slot_chunk *chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return false;
	chunk->next = c->chunks;
	c->chunks = chunk;
	c->slot_count += NBDS_SLOTS_PER_CHUNK;
	for (size_t i = 0; i < NBDS_SLOTS_PER_CHUNK; i++) {
		chunk->slots[i].conn = c;
		queue_append(&c->free_slots, &chunk->slots[i].node);
	}
	return true;
}

/* NULL: all are in flight (or there is no memory for more): resume when one is free. */
struct nbds_slot *nbds_slot_get(struct nbds_conn *c)
{
	if (queue_is_empty(&c->free_slots) && !add_slots(c))
		return NULL;
	struct nbds_slot *s = container_of(queue_take(&c->free_slots), struct nbds_slot, node);
	s->buf = NULL;
	c->in_flight++;
	return s;
}

void nbds_slot_put(struct nbds_slot *s)
{
	struct nbds_conn *c = s->conn;
	if (s->buf)
		c->backend->buf_put(c->backend->arg, s->buf);
	s->buf = NULL;
	c->in_flight--;
	queue_append(&c->free_slots, &s->node);
}

void nbds_slots_free(struct nbds_conn *c)
{
	invariant(c->in_flight == 0);
	for (struct slot_chunk *chunk; (chunk = c->chunks);) {
		c->chunks = chunk->next;
		free(chunk);
	}
	c->free_slots = (struct queue){0};
	c->slot_count = 0;
}

/* ------------------------------------------------------------------ replies */

static void queue_reply(struct nbds_slot *s, uint32_t head_bytes, const void *payload, uint32_t payload_bytes)
{
	struct nbds_conn *c = s->conn;
	s->head_bytes = (uint8_t)head_bytes;
	s->payload = payload;
	s->payload_bytes = payload_bytes;
	queue_append(&c->out, &s->node);
	c->out_count++;
	c->out_bytes += head_bytes + payload_bytes;
}

static void put_chunk_head(uint8_t *p, const struct nbds_slot *s, uint16_t flags, uint16_t type, uint32_t bytes)
{
	store_be32(p, NBDS_CHUNK_MAGIC);
	store_be16(p + 4, flags);
	store_be16(p + 6, type);
	store_be64(p + 8, s->cookie);
	store_be32(p + 16, bytes);
}

static uint32_t put_simple_head(struct nbds_slot *s, uint32_t code)
{
	store_be32(s->head, NBDS_SIMPLE_MAGIC);
	store_be32(s->head + 4, code);
	store_be64(s->head + 8, s->cookie);
	return NBDS_SIMPLE_HEAD_BYTES;
}

/* A simple reply is right for whatever has no payload, also where structured ones were agreed. */
void nbds_reply_done(struct nbds_slot *s)
{
	queue_reply(s, put_simple_head(s, 0), NULL, 0);
}

void nbds_reply_data(struct nbds_slot *s)
{
	uint32_t bytes = (uint32_t)s->req.length_bytes;
	if (!s->conn->structured) {
		queue_reply(s, put_simple_head(s, 0), s->buf->data, bytes);
		return;
	}
	put_chunk_head(s->head, s, NBDS_CHUNK_DONE, NBDS_CHUNK_OFFSET_DATA, 8 + bytes);
	store_be64(s->head + NBDS_CHUNK_HEAD_BYTES, s->req.offset_bytes);
	queue_reply(s, NBDS_CHUNK_HEAD_BYTES + 8, s->buf->data, bytes);
}

void nbds_reply_hole(struct nbds_slot *s)
{
	put_chunk_head(s->head, s, NBDS_CHUNK_DONE, NBDS_CHUNK_OFFSET_HOLE, 12);
	store_be64(s->head + NBDS_CHUNK_HEAD_BYTES, s->req.offset_bytes);
	store_be32(s->head + NBDS_CHUNK_HEAD_BYTES + 8, (uint32_t)s->req.length_bytes);
	queue_reply(s, NBDS_CHUNK_HEAD_BYTES + 12, NULL, 0);
}

/* @text lives for ever. With structured replies the client gets it, too. */
void nbds_reply_error(struct nbds_slot *s, uint32_t code, const char *text)
{
	if (!s->conn->structured) {
		queue_reply(s, put_simple_head(s, code), NULL, 0);
		return;
	}
	uint16_t bytes = (uint16_t)strlen(text);
	put_chunk_head(s->head, s, NBDS_CHUNK_DONE, NBDS_CHUNK_ERROR, 6u + bytes);
	store_be32(s->head + NBDS_CHUNK_HEAD_BYTES, code);
	store_be16(s->head + NBDS_CHUNK_HEAD_BYTES + 4, bytes);
	queue_reply(s, NBDS_CHUNK_HEAD_BYTES + 6, text, bytes);
}

/* ------------------------------------------------------------------ block status */

static uint32_t context_value(enum nbds_context context, const struct pl_extent *e)
{
	if (context == NBDS_ALLOCATION_DEPTH)
		return e->depth;
	return (e->flags & PL_EXTENT_HOLE ? NBDS_STATE_HOLE : 0) | (e->flags & PL_EXTENT_ZERO ? NBDS_STATE_ZERO : 0);
}

/* Descriptors (u32 length, u32 value) of one context at @p; neighbours that agree in it are one. Returns the bytes. */
static uint32_t put_descriptors(const struct nbds_slot *s, enum nbds_context context, uint8_t *p)
{
	const struct nbds_conn *c = s->conn;
	uint64_t at = s->req.offset_bytes, end = at + s->req.length_bytes;
	uint32_t max = s->flags & NBDS_CMD_FLAG_REQ_ONE ? 1 : NBDS_MAX_EXTENTS;
	uint32_t count = 0, value = 0, length = 0;

	while (at < end) {
		struct pl_extent extents[32];
		size_t n = c->backend->map(c->export, at, end - at, extents, ARRAY_LEN(extents));
		for (size_t i = 0; i < n; i++) {
			uint32_t v = context_value(context, &extents[i]);
			if (count == 0 || v != value) {
				if (count == max)
					return count * 8;
				count++;
				value = v;
				length = 0;
			}
			length += (uint32_t)extents[i].length_bytes; /* the request's length has 32 bits */
			at += extents[i].length_bytes;
			store_be32(p + (count - 1) * 8, length);
			store_be32(p + (count - 1) * 8 + 4, value);
		}
		invariant(n > 0);
	}
	return count * 8;
}

/* One chunk per context, all in the slot's buffer. */
void nbds_reply_status(struct nbds_slot *s)
{
	uint8_t *start = s->buf->data, *p = start;
	for (uint32_t left = s->conn->contexts, context = 0; left; context++) {
		if (!(left & BIT(context)))
			continue;
		left &= ~BIT(context);
		uint32_t bytes = put_descriptors(s, context, p + NBDS_CHUNK_HEAD_BYTES + 4);
		put_chunk_head(p, s, left ? 0 : NBDS_CHUNK_DONE, NBDS_CHUNK_BLOCK_STATUS, 4 + bytes);
		store_be32(p + NBDS_CHUNK_HEAD_BYTES, context);
		p += NBDS_CHUNK_HEAD_BYTES + 4 + bytes;
	}
	queue_reply(s, 0, start, (uint32_t)(p - start));
}

/* ------------------------------------------------------------------ output */

bool nbds_text_add(struct nbds_conn *c, const void *data, size_t bytes)
{
	if (c->text.bytes + bytes > c->text.capacity) {
		size_t capacity = 2 * (c->text.bytes + bytes);
		uint8_t *grown = realloc(c->text.data, capacity);
		if (!grown)
			return false;
		c->text.data = grown;
		c->text.capacity = capacity;
	}
	memcpy(c->text.data + c->text.bytes, data, bytes);
	c->text.bytes += bytes;
	return true;
}

static size_t add_piece(struct iovec *iov, size_t n, const void *base, size_t bytes, size_t *skip)
{
	if (bytes <= *skip) {
		*skip -= bytes;
		return n;
	}
	iov[n] = (struct iovec){(char *)base + *skip, bytes - *skip};
	*skip = 0;
	return n + 1;
}

size_t nbds_conn_output(struct nbds_conn *c, struct iovec *iov, size_t max, size_t *bytes)
{
	size_t n = 0, skip = 0;
	if (c->text.sent < c->text.bytes)
		n = add_piece(iov, n, c->text.data + c->text.sent, c->text.bytes - c->text.sent, &skip);

	skip = c->out_sent;
	for (struct qnode *node = c->out.first; node && n + 2 <= max; node = node->next) {
		const struct nbds_slot *s = container_of(node, struct nbds_slot, node);
		n = add_piece(iov, n, s->head, s->head_bytes, &skip);
		n = add_piece(iov, n, s->payload, s->payload_bytes, &skip);
	}
	*bytes = 0;
	for (size_t i = 0; i < n; i++)
		*bytes += iov[i].iov_len;
	return n;
}

static size_t text_sent(struct nbds_conn *c, size_t n)
{
	size_t text = MIN(n, c->text.bytes - c->text.sent);
	c->text.sent += text;
	if (c->text.sent == c->text.bytes) {
		free(c->text.data);
		c->text.data = NULL;
		c->text.bytes = c->text.sent = c->text.capacity = 0;
	}
	return n - text;
}

void nbds_conn_sent(struct nbds_conn *c, size_t n)
{
	if (c->text.bytes)
		n = text_sent(c, n);
	invariant(n <= c->out_bytes - c->out_sent);
	c->out_sent += n;
	while (!queue_is_empty(&c->out)) {
		struct nbds_slot *s = container_of(c->out.first, struct nbds_slot, node);
		size_t whole = s->head_bytes + s->payload_bytes;
		if (c->out_sent < whole)
			break;
		c->out_sent -= whole;
		c->out_bytes -= whole;
		c->out_count--;
		queue_take(&c->out);
		nbds_slot_put(s);
	}
}
