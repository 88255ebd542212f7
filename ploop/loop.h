/* The event loop inside: what the two backends (io_uring; threads and poll) share and must provide.
 *
 *   submit --> backend --> done queue --> io->done()        completions are collected first, then run
 *
 * One thread owns a loop. Handlers run from loop_step() only, one after the other, and never recurse unless a handler
 * itself turns the loop to wait (the synchronous calls at open and close do). */
#ifndef PLOOP_LOOP_H
#define PLOOP_LOOP_H

#include "base/list.h"
#include "base/units.h"
#include "ploop.h"

#define LOOP_DEFAULT_DEPTH 512u
#define LOOP_NO_DEADLINE UINT64_MAX

/* Internal bit of pl_io.flags: fd is an index into the registered files. */
#define PL_IO_FIXED_FD 0x80

struct loop_ops {
	void (*submit)(struct pl_loop *loop, struct pl_io *io);
	void (*cancel)(struct pl_loop *loop, struct pl_io *io);
	void (*kick)(struct pl_loop *loop);
	/* Hand over what was submitted, if @wait sleep until an event or @deadline_ns (monotonic), complete what is
	 * there and set timers_due when the deadline has passed. Without @wait that may be noticed a turn later. */
	int (*turn)(struct pl_loop *loop, bool wait, uint64_t deadline_ns);
	/* Register a file or memory; returns an index or a negative errno (then go on without). */
	int (*register_fd)(struct pl_loop *loop, int fd);
	void (*unregister_fd)(struct pl_loop *loop, int index);
	int (*register_memory)(struct pl_loop *loop, unsigned index, void *base, size_t bytes);
	void (*free)(struct pl_loop *loop);
};

struct buf_pool;

struct pl_loop {
	/* fixed at creation */
	const struct loop_ops *ops;
	enum pl_backend backend;
	struct buf_pool *bufs;

	/* changes */
	struct pl_io *done_first, **done_last;
	size_t done_count;
	struct pl_timer *timers; /* by deadline */
	struct pl_hook *hooks;
	bool stop;
	bool timers_due;
	uint64_t now_ns; /* of this turn; 0: not asked for yet */
};

/* The time, as of this turn: for what is counted a hundred thousand times a second. */
static inline uint64_t loop_now_ns(struct pl_loop *loop)
{
	if (loop->now_ns == 0)
		loop->now_ns = pl_now_ns();
	return loop->now_ns;
}

void loop_init(struct pl_loop *loop, const struct loop_ops *ops, enum pl_backend backend);

/* Two constructors; both return 0 or a negative errno. */
int loop_uring_new(const struct pl_loop_options *options, struct pl_loop **out);
int loop_plain_new(const struct pl_loop_options *options, struct pl_loop **out);

/* buffers.c */
#define BUF_CLASSES 4u
struct buf_pool *buf_pool_new(void);
void buf_pool_free(struct buf_pool *pool);

#endif
