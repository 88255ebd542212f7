/* The event loop: what holds for both of its backends. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/units.h"
#include "ploop.h"

static struct pl_loop *loop;

static void start(enum pl_backend backend)
{
	struct pl_loop_options o = {.size = sizeof(o), .backend = backend};
	if (pl_loop_new(&o, &loop) < 0)
		cr_skip("%s", pl_error());
	cr_expect(eq(int, (int)pl_loop_backend(loop), (int)backend));
}

static void backends_init(struct criterion_test_params *out, enum pl_backend *values)
{
	values[0] = PL_BACKEND_URING;
	values[1] = PL_BACKEND_PLAIN;
	*out = cr_make_param_array(enum pl_backend, values, 2);
}

#define ON_BOTH(name)                                                                                                  \
	static enum pl_backend name##_values[2];                                                                       \
	ParameterizedTestParameters(ploop_loop, name)                                                                  \
	{                                                                                                              \
		struct criterion_test_params params;                                                                   \
		backends_init(&params, name##_values);                                                                 \
		return params;                                                                                         \
	}                                                                                                              \
	ParameterizedTest(enum pl_backend *backend, ploop_loop, name, .timeout = 60)

struct waiter {
	struct pl_io io; /* first */
	int calls;
};

static void called(struct pl_io *io)
{
	((struct waiter *)io)->calls++;
}

static int32_t wait_for(struct waiter *w)
{
	while (w->calls == 0)
		cr_assert(eq(int, pl_loop_step(loop, true), 0), "%s", pl_error());
	return w->io.res;
}

static int32_t do_io(struct pl_io io)
{
	struct waiter w = {.io = io};
	w.io.done = called;
	w.io.buf_index = PL_IO_NO_BUFFER;
	pl_loop_submit(loop, &w.io);
	cr_expect(eq(int, w.calls, 0), "completed inside the submit");
	return wait_for(&w);
}

static int temporary_file(void)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	cr_assert(ge(int, fd, 0));
	return fd;
}

ON_BOTH(files_are_written_synced_allocated_and_read)
{
	start(*backend);
	int fd = temporary_file();
	char text[] = "eight by", back[16] = "";
	cr_expect(eq(int,
		     do_io((struct pl_io){.kind = PL_IO_WRITE, .fd = fd, .buf = text, .length = 8, .offset = 4096}),
		     8));
	cr_expect(
		eq(int,
		   do_io((struct pl_io){.kind = PL_IO_WRITE, .flags = PL_IO_DSYNC, .fd = fd, .buf = text, .length = 8}),
		   8));
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_FDATASYNC, .fd = fd}), 0));
	cr_expect(eq(int,
		     do_io((struct pl_io){.kind = PL_IO_READ, .fd = fd, .buf = back, .length = 16, .offset = 4096}),
		     8));
	cr_expect(eq(str, back, text));
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_FALLOCATE, .fd = fd, .offset = 0, .length = 65536}), 0));
	cr_expect(eq(int, (int)lseek(fd, 0, SEEK_END), 65536));
	uint32_t punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	cr_expect(eq(
		int,
		do_io((struct pl_io){.kind = PL_IO_FALLOCATE, .fd = fd, .arg = punch, .offset = 4096, .length = 4096}),
		0));
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_READ, .fd = fd, .buf = back, .length = 8, .offset = 4096}),
		     8));
	cr_expect(eq(int, back[0], 0));
	close(fd);
	pl_loop_free(loop);
}

ON_BOTH(errors_come_as_negative_errno)
{
	start(*backend);
	char byte;
	int fd = open("/dev/null", O_RDONLY);
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_WRITE, .fd = fd, .buf = &byte, .length = 1}), -EBADF));
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_READ, .fd = -1, .buf = &byte, .length = 1}), -EBADF));
	close(fd);
	pl_loop_free(loop);
}

ON_BOTH(sockets_wait_until_there_is_something)
{
	start(*backend);
	int pair[2];
	char text[8] = "";
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0));
	struct waiter recv = {.io = {.done = called, .kind = PL_IO_RECV, .fd = pair[0], .buf = text, .length = 5}};
	recv.io.buf_index = PL_IO_NO_BUFFER;
	pl_loop_submit(loop, &recv.io);
	for (int i = 0; i < 3; i++)
		pl_loop_step(loop, false);
	cr_expect(eq(int, recv.calls, 0));
	struct iovec iov = {.iov_base = (char *)"hello", .iov_len = 5};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	cr_expect(eq(int, do_io((struct pl_io){.kind = PL_IO_SENDMSG, .fd = pair[1], .buf = &msg}), 5));
	cr_expect(eq(int, wait_for(&recv), 5));
	cr_expect(eq(str, text, "hello"));

	struct waiter poll = {.io = {.done = called, .kind = PL_IO_POLL, .fd = pair[0], .arg = POLLIN}};
	pl_loop_submit(loop, &poll.io);
	pl_loop_step(loop, false);
	pl_loop_cancel(loop, &poll.io);
	cr_expect(eq(int, wait_for(&poll), -ECANCELED));
	close(pair[0]);
	close(pair[1]);
	pl_loop_free(loop);
}

static struct waiter second;

static void complete_second(struct pl_io *io)
{
	pl_loop_complete(loop, &second.io, 7);
	cr_expect(eq(int, second.calls, 0), "a handler recursed");
	((struct waiter *)io)->calls++;
}

ON_BOTH(what_a_handler_completes_waits_for_the_next_turn)
{
	start(*backend);
	struct waiter first = {.io = {.done = complete_second}};
	second = (struct waiter){.io = {.done = called}};
	pl_loop_complete(loop, &first.io, 0);
	cr_expect(eq(int, first.calls, 0));
	pl_loop_step(loop, false);
	cr_expect(eq(int, first.calls, 1));
	cr_expect(eq(int, second.calls, 0));
	pl_loop_step(loop, true);
	cr_expect(eq(int, second.calls, 1));
	cr_expect(eq(int, second.io.res, 7));
	pl_loop_free(loop);
}

static char fired[8];

static void fire_a(struct pl_timer *t)
{
	strncat(fired, "a", sizeof(fired) - strlen(fired) - 1);
}

static void fire_b(struct pl_timer *t)
{
	strncat(fired, "b", sizeof(fired) - strlen(fired) - 1);
	pl_loop_stop(loop);
}

ON_BOTH(timers_fire_once_in_the_order_of_their_deadlines)
{
	start(*backend);
	fired[0] = 0;
	struct pl_timer a = {.fire = fire_a}, b = {.fire = fire_b}, stopped = {.fire = fire_a};
	pl_timer_start(loop, &b, 30 * NS_PER_MS);
	pl_timer_start(loop, &a, 10 * NS_PER_MS);
	pl_timer_start(loop, &stopped, 5 * NS_PER_MS);
	pl_timer_stop(loop, &stopped);
	uint64_t from = pl_now_ns();
	cr_expect(eq(int, pl_loop_run(loop), 0));
	cr_expect(ge(u64, pl_now_ns() - from, 30 * NS_PER_MS));
	cr_expect(eq(str, fired, "ab"));
	pl_loop_free(loop);
}

ON_BOTH(payload_memory_is_aligned_and_bounded)
{
	start(*backend);
	struct pl_buf *taken[4096];
	uint32_t n = 0;
	while (n < ARRAY_LEN(taken) && (taken[n] = pl_buf_get(loop, 100 << 10))) {
		cr_assert(is_aligned((uintptr_t)taken[n]->data, 4096));
		cr_assert(ge(u32, taken[n]->size_bytes, 100 << 10));
		memset(taken[n]->data, 1, 100 << 10);
		n++;
	}
	cr_expect(lt(u32, n, ARRAY_LEN(taken)));
	pl_buf_put(loop, taken[--n]);
	struct pl_buf *again = pl_buf_get(loop, 100 << 10);
	cr_expect(ne(ptr, again, NULL));
	pl_buf_put(loop, again);
	while (n > 0)
		pl_buf_put(loop, taken[--n]);
	pl_loop_free(loop);
}
