/* The waiting calls on any store: ten lines each over the asynchronous one. */
#include "ploop/store.h"

#include <errno.h>
#include <string.h>

#include "base/units.h"

struct waited_io {
	struct pl_io io; /* first */
	bool is_done;
};

static void waited_done(struct pl_io *io)
{
	((struct waited_io *)io)->is_done = true;
}

static int32_t wait_for(struct store *store, struct pl_io io)
{
	struct waited_io w = {.io = io};
	w.io.done = waited_done;
	w.io.buf_index = PL_IO_NO_BUFFER;
	store_submit(store, &w.io);
	while (!w.is_done) {
		int r = pl_loop_step(store->loop, true);
		if (r < 0)
			return r;
	}
	return w.io.res;
}

#define PIECE_BYTES (1u << 20)

int store_read(struct store *store, void *buf, uint64_t length, uint64_t offset)
{
	for (uint64_t done = 0; done < length;) {
		uint64_t want = MIN(length - done, PIECE_BYTES);
		int32_t n = wait_for(store, (struct pl_io){.kind = PL_IO_READ,
							   .buf = (char *)buf + done,
							   .length = want,
							   .offset = offset + done});
		if (n < 0)
			return pl_fail(n, "%s: cannot read %llu bytes at %llu: %s", store->path,
				       (unsigned long long)want, (unsigned long long)(offset + done), strerror(-n));
		if (n == 0) {
			memset((char *)buf + done, 0, length - done);
			return 0;
		}
		done += (uint64_t)n;
	}
	return 0;
}

int store_write(struct store *store, const void *buf, uint64_t length, uint64_t offset)
{
	for (uint64_t done = 0; done < length;) {
		int32_t n = wait_for(store, (struct pl_io){.kind = PL_IO_WRITE,
							   .buf = (char *)buf + done,
							   .length = length - done,
							   .offset = offset + done});
		if (n <= 0) {
			n = n ? n : -EIO;
			return pl_fail(n, "%s: cannot write %llu bytes at %llu: %s", store->path,
				       (unsigned long long)(length - done), (unsigned long long)(offset + done),
				       strerror(-n));
		}
		done += (uint64_t)n;
	}
	return 0;
}

int store_sync(struct store *store)
{
	int32_t n = wait_for(store, (struct pl_io){.kind = PL_IO_FDATASYNC});
	return n < 0 ? pl_fail(n, "%s: cannot sync: %s", store->path, strerror(-n)) : 0;
}
