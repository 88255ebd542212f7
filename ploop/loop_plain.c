/* The backend for where io_uring is not permitted: file operations on a few threads, sockets by poll(2).
 *
 *   file operation   --> jobs --(worker: pread, pwrite, fdatasync, fallocate)--> finished --eventfd--> done queue
 *   socket operation --> waiting --(poll says ready: recv, sendmsg)--> done queue
 *
 * Workers touch only the two queues under the lock, and the operation they took. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/invariant.h"
#include "ploop/loop.h"

#define WORKERS	     4u
#define FIRST_POLLS  16u
#define NO_MEMORY_NS (1 * NS_PER_MS) /* who found no place among the polls looks again then */

struct io_queue {
	struct pl_io *first, **last;
};

struct loop_plain {
	struct pl_loop loop; /* first */
	pthread_t workers[WORKERS];
	unsigned worker_count;
	int wake_fd; /* workers to loop */

	pthread_mutex_t lock; /* guards the three below */
	pthread_cond_t work;
	struct io_queue jobs, finished;
	bool quit;

	struct pl_io *waiting; /* for readiness */
	size_t waiting_count;
	struct pollfd *polls;
	size_t polls_max;
};

static struct loop_plain *plain(struct pl_loop *loop)
{
	return (struct loop_plain *)loop;
}

static void io_append(struct io_queue *q, struct pl_io *io)
{
	io->next = NULL;
	if (!q->first)
		q->last = &q->first;
	*q->last = io;
	q->last = &io->next;
}

static struct pl_io *io_take(struct io_queue *q)
{
	struct pl_io *io = q->first;
	if (io)
		q->first = io->next;
	return io;
}

static int32_t result(ssize_t n)
{
	return n < 0 ? -errno : (int32_t)n;
}

static int32_t do_file_io(const struct pl_io *io)
{
	struct iovec iov = {.iov_base = io->buf, .iov_len = io->length};
	switch ((enum pl_io_kind)io->kind) {
	case PL_IO_READ:
		return result(pread(io->fd, io->buf, io->length, (off_t)io->offset));
	case PL_IO_WRITE:
		return result(pwritev2(io->fd, &iov, 1, (off_t)io->offset, io->flags & PL_IO_DSYNC ? RWF_DSYNC : 0));
	case PL_IO_FDATASYNC:
		return result(fdatasync(io->fd));
	case PL_IO_FALLOCATE:
		return result(fallocate(io->fd, (int)io->arg, (off_t)io->offset, (off_t)io->length));
	default:
		return -EINVAL;
	}
}

static void *worker(void *arg)
{
	struct loop_plain *p = arg;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct pl_io *io = io_take(&p->jobs);
		if (!io && p->quit)
			break;
		if (!io) {
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		io->res = do_file_io(io);
		pthread_mutex_lock(&p->lock);
		bool first = p->finished.first == NULL;
		io_append(&p->finished, io);
		if (first)
			eventfd_write(p->wake_fd, 1);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static bool waits_for_readiness(const struct pl_io *io)
{
	return io->kind == PL_IO_RECV || io->kind == PL_IO_SENDMSG || io->kind == PL_IO_POLL ||
	       io->offset == UINT64_MAX;
}

static void plain_submit(struct pl_loop *loop, struct pl_io *io)
{
	struct loop_plain *p = plain(loop);
	if (waits_for_readiness(io)) {
		io->next = p->waiting;
		p->waiting = io;
		p->waiting_count++;
		return;
	}
	pthread_mutex_lock(&p->lock);
	io_append(&p->jobs, io);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

static void plain_cancel(struct pl_loop *loop, struct pl_io *io)
{
	struct loop_plain *p = plain(loop);
	for (struct pl_io **at = &p->waiting; *at; at = &(*at)->next) {
		if (*at == io) {
			*at = io->next;
			p->waiting_count--;
			pl_loop_complete(loop, io, -ECANCELED);
			return;
		}
	}
}

static void plain_kick(struct pl_loop *loop)
{
	(void)loop; /* workers already have it */
}

static short wanted_events(const struct pl_io *io)
{
	if (io->kind == PL_IO_POLL)
		return (short)io->arg;
	return io->kind == PL_IO_SENDMSG || io->kind == PL_IO_WRITE ? POLLOUT : POLLIN;
}

/* The operation now that its fd is ready; -EAGAIN when it was not after all. */
static int32_t do_ready_io(const struct pl_io *io, short revents)
{
	switch ((enum pl_io_kind)io->kind) {
	case PL_IO_POLL:
		return revents;
	case PL_IO_RECV:
		return result(recv(io->fd, io->buf, io->length, (int)io->arg | MSG_DONTWAIT));
	case PL_IO_SENDMSG:
		return result(sendmsg(io->fd, io->buf, (int)io->arg | MSG_DONTWAIT));
	case PL_IO_READ:
		return result(read(io->fd, io->buf, io->length));
	case PL_IO_WRITE:
		return result(write(io->fd, io->buf, io->length));
	default:
		return -EINVAL;
	}
}

static int grow_polls(struct loop_plain *p, size_t max)
{
	struct pollfd *more = realloc(p->polls, max * sizeof(*more));
	if (!more)
		return -ENOMEM;
	p->polls = more;
	p->polls_max = max;
	return 0;
}

/* How many there are; without memory not all who wait. */
static size_t fill_polls(struct loop_plain *p)
{
	if (p->waiting_count + 1 > p->polls_max)
		grow_polls(p, (p->waiting_count + 1) * 2);
	p->polls[0] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
	size_t n = 1;
	for (struct pl_io *io = p->waiting; io && n < p->polls_max; io = io->next)
		p->polls[n++] = (struct pollfd){.fd = io->fd, .events = wanted_events(io)};
	return n;
}

static void run_ready(struct loop_plain *p, size_t count)
{
	size_t n = 1;
	for (struct pl_io **at = &p->waiting; n < count; n++) {
		struct pl_io *io = *at;
		short revents = p->polls[n].revents;
		int32_t r = revents ? do_ready_io(io, revents) : -EAGAIN;
		if (r == -EAGAIN || r == -EINTR) {
			at = &io->next;
			continue;
		}
		*at = io->next;
		p->waiting_count--;
		pl_loop_complete(&p->loop, io, r);
	}
}

static void collect_finished(struct loop_plain *p)
{
	eventfd_t count;
	eventfd_read(p->wake_fd, &count);
	pthread_mutex_lock(&p->lock);
	for (struct pl_io *io; (io = io_take(&p->finished));)
		pl_loop_complete(&p->loop, io, io->res);
	pthread_mutex_unlock(&p->lock);
}

static struct timespec time_until(uint64_t deadline_ns)
{
	uint64_t now = pl_now_ns();
	uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
	return (struct timespec){.tv_sec = (time_t)(left / NS_PER_S), .tv_nsec = (long)(left % NS_PER_S)};
}

static int plain_turn(struct pl_loop *loop, bool wait, uint64_t deadline_ns)
{
	struct loop_plain *p = plain(loop);
	size_t count = fill_polls(p);
	uint64_t until_ns = count <= p->waiting_count ? MIN(deadline_ns, pl_now_ns() + NO_MEMORY_NS) : deadline_ns;
	bool for_ever = wait && until_ns == LOOP_NO_DEADLINE;
	struct timespec ts = wait && !for_ever ? time_until(until_ns) : (struct timespec){0};
	int r = ppoll(p->polls, count, for_ever ? NULL : &ts, NULL);
	if (r < 0)
		return errno == EINTR ? 0 : pl_fail(-errno, "poll failed: %s", strerror(errno));
	run_ready(p, count);
	if (p->polls[0].revents)
		collect_finished(p);
	loop->timers_due = deadline_ns != LOOP_NO_DEADLINE && pl_now_ns() >= deadline_ns;
	return 0;
}

static int plain_register_fd(struct pl_loop *loop, int fd)
{
	(void)loop;
	(void)fd;
	return -EOPNOTSUPP;
}

static void plain_unregister_fd(struct pl_loop *loop, int index)
{
	(void)loop;
	(void)index;
}

static int plain_register_memory(struct pl_loop *loop, unsigned index, void *base, size_t bytes)
{
	(void)loop;
	(void)index;
	(void)base;
	(void)bytes;
	return -EOPNOTSUPP;
}

static void plain_free(struct pl_loop *loop)
{
	struct loop_plain *p = plain(loop);
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->worker_count; i++)
		pthread_join(p->workers[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	close(p->wake_fd);
	free(p->polls);
	free(p);
}

static const struct loop_ops plain_ops = {
	.submit = plain_submit,
	.cancel = plain_cancel,
	.kick = plain_kick,
	.turn = plain_turn,
	.register_fd = plain_register_fd,
	.unregister_fd = plain_unregister_fd,
	.register_memory = plain_register_memory,
	.free = plain_free,
};

int loop_plain_new(const struct pl_loop_options *options, struct pl_loop **out)
{
	(void)options;
	struct loop_plain *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	int r = grow_polls(p, FIRST_POLLS);
	p->wake_fd = r < 0 ? r : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake_fd < 0) {
		r = r < 0 ? r : -errno;
		free(p->polls);
		free(p);
		return r;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	loop_init(&p->loop, &plain_ops, PL_BACKEND_PLAIN);

	for (; p->worker_count < WORKERS; p->worker_count++) {
		r = pthread_create(&p->workers[p->worker_count], NULL, worker, p);
		if (r && p->worker_count == 0) {
			plain_free(&p->loop);
			return -r;
		}
		if (r)
			break;
	}
	*out = &p->loop;
	return 0;
}
