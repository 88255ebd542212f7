/* A store is the bytes of one image file: asynchronous I/O, plus a few calls for open and close. Implementations: the
 * file store here (over the loop: io_uring or threads), and memory, fault and crash stores in tests/support. */
#ifndef PLOOP_STORE_H
#define PLOOP_STORE_H

#include <sys/types.h>

#include "ploop.h"

struct store;

struct store_ops {
	/* READ, WRITE, FDATASYNC, FALLOCATE; fd is the store's to fill in. Never completes inside the call. */
	void (*submit)(struct store *store, struct pl_io *io);
	/* Cut or extend (with a hole) the file; not durable before the next FDATASYNC. Blocks. */
	int (*set_size)(struct store *store, uint64_t bytes);
	/* Offset of the next data at or after @offset; the file size when only a hole follows. Blocks. */
	uint64_t (*next_data)(struct store *store, uint64_t offset);
	/* The same file once more, for writing too, whatever its name is now; path as given. -errno with a sentence. */
	int (*open_again)(struct store *store, const char *path, struct store **out);
	void (*close)(struct store *store);
};

struct store {
	/* fixed at open */
	const struct store_ops *ops;
	struct pl_loop *loop;
	const char *path;   /* for messages; the opener's, outlives the store */
	uint32_t io_align;  /* offsets and lengths are multiples of it; 1: no rule */
	uint32_t mem_align; /* addresses likewise */
	int fd;             /* of a file store, for locks; else -1 */
	dev_t dev;          /* identity of the file; 0, 0 when it is none */
	ino_t ino;

	/* changes */
	uint64_t size_bytes;
};

/* Open the file of @ref. -errno with a sentence. */
int store_file_open(struct pl_loop *loop, const struct pl_image_ref *ref, bool readonly, struct store **out);

/* Look at the length of the file again: others may have changed it before it was locked. */
int store_file_measure(struct store *store);

static inline void store_submit(struct store *store, struct pl_io *io)
{
	store->ops->submit(store, io);
}

static inline void store_close(struct store *store)
{
	store->ops->close(store);
}

/* Waiting calls for open and close; they turn the loop. @buf, @offset, @length are aligned as the store wants.
 * Reads beyond the end are filled with zeros. 0 or -errno with a sentence that names the file. */
int store_read(struct store *store, void *buf, uint64_t length, uint64_t offset);
int store_write(struct store *store, const void *buf, uint64_t length, uint64_t offset);
int store_sync(struct store *store);

#endif
