/* The backend-independent half of the loop: done queue, timers, hooks, turns. */
#include "ploop/loop.h"

#include <errno.h>

#include "base/clock.h"
#include "base/invariant.h"

uint64_t pl_now_ns(void)
{
	return clock_now_ns();
}

void loop_init(struct pl_loop *loop, const struct loop_ops *ops, enum pl_backend backend)
{
	loop->ops = ops;
	loop->backend = backend;
	loop->done_last = &loop->done_first;
}

int pl_loop_new(const struct pl_loop_options *options, struct pl_loop **out)
{
	struct pl_loop_options o = {.size = sizeof(o), .depth = LOOP_DEFAULT_DEPTH};
	if (options) {
		o.backend = options->backend;
		if (options->depth)
			o.depth = options->depth;
	}

	struct pl_loop *loop = NULL;
	int r = -ENOSYS;
	if (o.backend != PL_BACKEND_PLAIN)
		r = loop_uring_new(&o, &loop);
	if (r < 0 && o.backend != PL_BACKEND_URING) {
		if (o.backend == PL_BACKEND_AUTO)
			pl_log(PL_LOG_INFO, "loop", "io_uring is not available here, using threads errno=%d", -r);
		r = loop_plain_new(&o, &loop);
	}
	if (r < 0)
		return pl_fail(r, "cannot create an event loop: error %d", -r);

	loop->bufs = buf_pool_new();
	if (!loop->bufs) {
		loop->ops->free(loop);
		return pl_fail(-ENOMEM, "no memory for the buffers of an event loop");
	}
	*out = loop;
	return 0;
}

void pl_loop_free(struct pl_loop *loop)
{
	if (!loop)
		return;
	struct buf_pool *bufs = loop->bufs;
	loop->ops->free(loop);
	buf_pool_free(bufs);
}

enum pl_backend pl_loop_backend(const struct pl_loop *loop)
{
	return loop->backend;
}

void pl_loop_submit(struct pl_loop *loop, struct pl_io *io)
{
	loop->ops->submit(loop, io);
}

void pl_loop_cancel(struct pl_loop *loop, struct pl_io *io)
{
	loop->ops->cancel(loop, io);
}

void pl_loop_kick(struct pl_loop *loop)
{
	loop->ops->kick(loop);
}

void pl_loop_complete(struct pl_loop *loop, struct pl_io *io, int32_t res)
{
	io->res = res;
	io->next = NULL;
	*loop->done_last = io;
	loop->done_last = &io->next;
	loop->done_count++;
}

static struct pl_io *take_done(struct pl_loop *loop)
{
	struct pl_io *io = loop->done_first;
	if (!io)
		return NULL;
	loop->done_first = io->next;
	if (!loop->done_first)
		loop->done_last = &loop->done_first;
	loop->done_count--;
	return io;
}

void pl_timer_start(struct pl_loop *loop, struct pl_timer *timer, uint64_t delay_ns)
{
	pl_timer_stop(loop, timer);
	timer->deadline_ns = pl_now_ns() + delay_ns;
	struct pl_timer **at = &loop->timers;
	while (*at && (*at)->deadline_ns <= timer->deadline_ns)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
}

void pl_timer_stop(struct pl_loop *loop, struct pl_timer *timer)
{
	if (!timer->deadline_ns)
		return;
	for (struct pl_timer **at = &loop->timers; *at; at = &(*at)->next) {
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	}
	timer->deadline_ns = 0;
}

static void fire_timers(struct pl_loop *loop)
{
	uint64_t now = pl_now_ns();
	loop->timers_due = false;
	while (loop->timers && loop->timers->deadline_ns <= now) {
		struct pl_timer *timer = loop->timers;
		loop->timers = timer->next;
		timer->deadline_ns = 0;
		timer->fire(timer);
	}
}

void pl_loop_add_hook(struct pl_loop *loop, struct pl_hook *hook)
{
	hook->next = loop->hooks;
	loop->hooks = hook;
}

void pl_loop_remove_hook(struct pl_loop *loop, struct pl_hook *hook)
{
	for (struct pl_hook **at = &loop->hooks; *at; at = &(*at)->next) {
		if (*at == hook) {
			*at = hook->next;
			return;
		}
	}
}

int pl_loop_step(struct pl_loop *loop, bool wait)
{
	for (struct pl_hook *h = loop->hooks, *next; h; h = next) {
		next = h->next;
		h->run(h);
	}

	bool sleep = wait && !loop->done_first && !loop->stop;
	int r = loop->ops->turn(loop, sleep, loop->timers ? loop->timers->deadline_ns : LOOP_NO_DEADLINE);
	loop->now_ns = 0;
	if (r < 0)
		return r;
	if (loop->timers_due)
		fire_timers(loop);

	/* What handlers complete waits for the next turn, so that the kernel is asked in between. */
	for (size_t n = loop->done_count; n > 0; n--) {
		struct pl_io *io = take_done(loop);
		if (!io)
			break; /* a handler turned the loop itself */
		io->done(io);
	}
	loop->now_ns = 0; /* who submits from outside may have taken his time */
	return 0;
}

int pl_loop_run(struct pl_loop *loop)
{
	loop->stop = false;
	while (!loop->stop) {
		int r = pl_loop_step(loop, true);
		if (r < 0)
			return r;
	}
	return 0;
}

void pl_loop_stop(struct pl_loop *loop)
{
	loop->stop = true;
}
