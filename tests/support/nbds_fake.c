#include "nbds_fake.h"

#include "base/invariant.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The connection knows its backend by address; the fake is what surrounds it. */
static struct fake *fake_of(const struct nbds_export *e)
{
	return e->disk;
}

static void run(struct fake *f, struct pl_req *req)
{
	uint64_t from = req->offset_bytes, bytes = req->length_bytes;
	req->res = f->fail_with;
	if (req->flags & PL_FUA)
		f->fuas++;
	if (req->res == 0 && req->op == PL_READ)
		memcpy(req->buf, f->disk + from, bytes);
	if (req->res == 0 && req->op == PL_WRITE)
		memcpy(f->disk + from, req->buf, bytes);
	if (req->res == 0 && (req->op == PL_WRITE_ZEROES || req->op == PL_DISCARD))
		memset(f->disk + from, 0, bytes);
	if (req->res == 0 && req->op == PL_WRITE)
		for (uint64_t at = from; at < from + bytes; at += SECTOR_BYTES)
			f->mapped[at / FAKE_PIECE_BYTES] = true;
	if (req->op == PL_FLUSH)
		f->flushes++;
	req->done(req);
}

static void fake_submit(const struct nbds_export *e, struct pl_req *req)
{
	struct fake *f = fake_of(e);
	if (req->op != PL_FLUSH)
		invariant(req->length_bytes > 0 && req->offset_bytes + req->length_bytes <= e->size_bytes);
	if (!f->hold) {
		run(f, req);
		return;
	}
	invariant(f->held_count < NBDS_MAX_IN_FLIGHT);
	f->held[f->held_count++] = req;
}

static size_t fake_map(const struct nbds_export *e, uint64_t offset, uint64_t length, struct pl_extent *out, size_t max)
{
	const struct fake *f = fake_of(e);
	size_t n = 0;
	while (length && n < max) {
		uint64_t part = MIN(length, FAKE_PIECE_BYTES - offset % FAKE_PIECE_BYTES);
		bool mapped = f->mapped[offset / FAKE_PIECE_BYTES % FAKE_PIECES];
		out[n++] = (struct pl_extent){part, mapped ? 0 : PL_EXTENT_HOLE | PL_EXTENT_ZERO, mapped ? 1 : 0};
		offset += part;
		length -= part;
	}
	return n;
}

static struct pl_buf *fake_buf_get(void *arg, uint32_t bytes)
{
	struct fake *f = arg;
	invariant(bytes > 0 && bytes <= PL_BUF_MAX_BYTES);
	if (f->buffers_left == 0)
		return NULL;
	f->buffers_left--;
	f->buffers_out++;
	struct pl_buf *buf = calloc(1, sizeof(*buf));
	buf->data = malloc(bytes); /* exact, so that ASan sees a byte too many */
	buf->size_bytes = bytes;
	return buf;
}

static void fake_buf_put(void *arg, struct pl_buf *buf)
{
	struct fake *f = arg;
	f->buffers_left++;
	f->buffers_out--;
	free(buf->data);
	free(buf);
}

static void fake_wake(struct nbds_conn *c)
{
	struct fake *f = c->backend->arg;
	f->wakes++;
}

void fake_reset(struct fake *f)
{
	memset((char *)f + sizeof(f->disk), 0, sizeof(*f) - sizeof(f->disk));
	f->backend = (struct nbds_backend){fake_submit, fake_map, fake_buf_get, fake_buf_put, fake_wake, f};
	f->exports[0] = (struct nbds_export){"", "a small disk", FAKE_DISK_BYTES, false, f};
	f->exports[1] = (struct nbds_export){"ro", NULL, FAKE_DISK_BYTES, true, f};
	f->exports[2] = (struct nbds_export){"huge", NULL, (UINT64_MAX / 2) & ~UINT64_C(511), true, f};
	f->buffers_left = 1000;
	for (size_t i = 0; i < FAKE_PIECES; i += 2)
		f->mapped[i] = true;
}

void fake_init(struct fake *f)
{
	static_assert(offsetof(struct fake, disk) == 0, "fake_reset() keeps it");
	fake_reset(f);
	for (size_t i = 0; i < FAKE_DISK_BYTES; i++)
		f->disk[i] = f->mapped[i / FAKE_PIECE_BYTES] ? (uint8_t)(i * 2654435761u >> 24) : 0;
}

void fake_release(struct fake *f, bool reverse)
{
	uint32_t n = f->held_count;
	struct pl_req *held[NBDS_MAX_IN_FLIGHT];
	memcpy(held, f->held, n * sizeof(held[0]));
	f->held_count = 0;
	for (uint32_t i = 0; i < n; i++)
		run(f, held[reverse ? n - 1 - i : i]);
}
