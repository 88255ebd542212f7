/* A write that does not begin and end on a sector: the edge sectors are read first, and written back with it.
 *
 *	hold -> (all other requests end, no new one is read) -> READ head -> READ tail -> WRITE -> done, go on
 *
 * Alone, because another write to the same sector in between would be lost. Only programs that open the file by
 * themselves do such writes; a loop device never does. */
#include "kmod-free/fuse_export.h"

#include <string.h>

static void step(struct pl_req *req);

static void submit(struct fuse_slot *s, enum pl_op op, uint64_t offset_bytes, void *buf, uint64_t length_bytes)
{
	s->req.op = (uint8_t)op;
	s->req.offset_bytes = offset_bytes;
	s->req.length_bytes = length_bytes;
	s->req.buf = buf;
	pl_submit(s->export->disk, &s->req);
}

/* The sectors that hold [offset, offset + reply_bytes): first one, end of the last one. */
static uint64_t first_byte(const struct fuse_edges *w)
{
	return round_down_pow2(w->offset_bytes, SECTOR_BYTES);
}
static uint64_t end_byte(const struct fuse_edges *w, const struct fuse_slot *s)
{
	return round_up_pow2(w->offset_bytes + s->reply_bytes, SECTOR_BYTES);
}

/* Put the payload between what was there before it and after it. */
static void merge(struct fuse_slot *s)
{
	struct fuse_edges *w = &s->export->edges;
	size_t before = w->offset_bytes - first_byte(w);
	size_t window = end_byte(w, s) - first_byte(w);
	size_t after = window - before - s->reply_bytes;
	memmove(s->payload + before, s->payload, s->reply_bytes);
	memcpy(s->payload, w->head, before);
	memcpy(s->payload + window - after, w->tail + SECTOR_BYTES - after, after);
}

static void step(struct pl_req *req)
{
	struct fuse_slot *s = req->owner;
	struct fuse_edges *w = &s->export->edges;
	if (req->res < 0 || w->state == FUSE_EDGES_WRITE) {
		fuse_request_finish(s, req->res);
		return;
	}
	if (w->state == FUSE_EDGES_HEAD) {
		w->state = FUSE_EDGES_TAIL;
		submit(s, PL_READ, end_byte(w, s) - SECTOR_BYTES, w->tail, SECTOR_BYTES);
		return;
	}
	merge(s);
	w->state = FUSE_EDGES_WRITE;
	submit(s, PL_WRITE, first_byte(w), s->payload, end_byte(w, s) - first_byte(w));
}

void fuse_unaligned_hold(struct fuse_slot *s, uint64_t offset_bytes, uint8_t flags)
{
	s->export->alone = s;
	s->export->edges.offset_bytes = offset_bytes;
	s->req.done = step;
	s->req.owner = s;
	s->req.flags = flags;
	s->req.buf_index = PL_IO_NO_BUFFER;
}

void fuse_unaligned_start(struct fuse_slot *s)
{
	struct fuse_edges *w = &s->export->edges;
	w->state = FUSE_EDGES_HEAD;
	submit(s, PL_READ, first_byte(w), w->head, SECTOR_BYTES);
}
