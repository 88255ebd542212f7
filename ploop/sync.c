/* The waiting calls, on top of the asynchronous one. */
#include "ploop.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/units.h"
#include "ploop/disk.h"

static void waited_done(struct pl_req *req)
{
	*(bool *)req->owner = true;
}

static int run(struct pl_disk *d, struct pl_req *req, const char *what)
{
	bool done = false;
	if (((req->offset_bytes | req->length_bytes) & (SECTOR_BYTES - 1)) ||
	    !range_fits(req->offset_bytes, req->length_bytes, d->size_bytes))
		return pl_fail(-EINVAL, "cannot %s %llu bytes at %llu: not whole sectors of a disk of %llu bytes", what,
			       (unsigned long long)req->length_bytes, (unsigned long long)req->offset_bytes,
			       (unsigned long long)d->size_bytes);
	req->done = waited_done;
	req->owner = &done;
	req->buf_index = PL_IO_NO_BUFFER;
	pl_submit(d, req);
	while (!done) {
		int r = pl_loop_step(d->loop, true);
		if (r < 0)
			return r;
	}
	if (req->res < 0)
		return pl_fail(req->res, "%s: cannot %s %llu bytes at %llu: %s", d->top->path, what,
			       (unsigned long long)req->length_bytes, (unsigned long long)req->offset_bytes,
			       strerror(-req->res));
	return 0;
}

int pl_read(struct pl_disk *d, void *buf, uint64_t length, uint64_t offset)
{
	struct pl_req req = {.op = PL_READ, .buf = buf, .length_bytes = length, .offset_bytes = offset};
	return run(d, &req, "read");
}

int pl_write(struct pl_disk *d, const void *buf, uint64_t length, uint64_t offset, uint32_t flags)
{
	struct pl_req req = {
		.op = PL_WRITE,
		.flags = (uint8_t)flags,
		.buf = (void *)buf,
		.length_bytes = length,
		.offset_bytes = offset,
	};
	return run(d, &req, "write");
}

int pl_flush(struct pl_disk *d)
{
	struct pl_req req = {.op = PL_FLUSH};
	return run(d, &req, "flush");
}

int pl_discard(struct pl_disk *d, uint64_t length, uint64_t offset)
{
	struct pl_req req = {.op = PL_DISCARD, .length_bytes = length, .offset_bytes = offset};
	return run(d, &req, "discard");
}

int pl_write_zeroes(struct pl_disk *d, uint64_t length, uint64_t offset, uint32_t flags)
{
	struct pl_req req = {
		.op = PL_WRITE_ZEROES,
		.flags = (uint8_t)flags,
		.length_bytes = length,
		.offset_bytes = offset,
	};
	return run(d, &req, "write zeroes to");
}
