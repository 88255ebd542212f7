/* A backend for one NBD connection without sockets and without an engine: a small disk in memory.
 * Odd 64 KiB pieces are holes for the map until they are written. Requests complete at once, or, with @hold set, when
 * fake_release() says so. */
#ifndef PLOOP_TEST_NBDS_FAKE_H
#define PLOOP_TEST_NBDS_FAKE_H

#include "kmod-free/nbds_conn.h"

#define FAKE_DISK_BYTES  (1u << 20)
#define FAKE_PIECE_BYTES (64u << 10)
#define FAKE_PIECES      (FAKE_DISK_BYTES / FAKE_PIECE_BYTES)

struct fake {
	uint8_t disk[FAKE_DISK_BYTES]; /* first */
	struct nbds_backend backend;
	struct nbds_export exports[3]; /* "", "ro" (read-only), "huge" (only its size) */
	bool mapped[FAKE_PIECES];
	bool hold;
	int fail_with;          /* negative errno for the next requests */
	uint32_t buffers_left;  /* buf_get answers NULL when it is 0 */
	uint32_t buffers_out, wakes, flushes, fuas;
	struct pl_req *held[NBDS_MAX_IN_FLIGHT];
	uint32_t held_count;
};

void fake_init(struct fake *f);
/* All but the bytes of the disk. */
void fake_reset(struct fake *f);
/* Complete what is held, oldest first (or newest first). */
void fake_release(struct fake *f, bool reverse);

#endif
