/* The io_uring backend: the one file that knows liburing. Features are probed by using them. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "base/invariant.h"
#include "ploop/loop.h"

#define FIXED_FILES 512u
/* user_data of operations that are no pl_io */
#define CANCEL_TAG 1u
#define TIMEOUT_TAG 2u

struct loop_uring {
	struct pl_loop loop; /* first */
	struct io_uring ring;
	bool has_files, has_buffers;
	/* A deadline is an operation in the ring rather than an argument of every wait: no clock is read in between.
	 * One that is armed too early fires for nothing, and the next is armed then. */
	uint64_t armed_ns; /* 0: none */
	struct __kernel_timespec armed_ts;
	int files[FIXED_FILES]; /* -1: free */
};

static struct loop_uring *uring(struct pl_loop *loop)
{
	return (struct loop_uring *)loop;
}

/* A free submission entry; a full queue is handed to the kernel first. */
static struct io_uring_sqe *next_sqe(struct loop_uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	while (!sqe) {
		int r = io_uring_submit(&u->ring);
		invariant(r >= 0 || r == -EAGAIN || r == -EBUSY || r == -EINTR);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static void prep_rw(struct io_uring_sqe *sqe, const struct pl_io *io, bool fixed)
{
	unsigned n = (unsigned)io->length;
	if (io->kind == PL_IO_READ && fixed)
		io_uring_prep_read_fixed(sqe, io->fd, io->buf, n, io->offset, io->buf_index);
	else if (io->kind == PL_IO_READ)
		io_uring_prep_read(sqe, io->fd, io->buf, n, io->offset);
	else if (fixed)
		io_uring_prep_write_fixed(sqe, io->fd, io->buf, n, io->offset, io->buf_index);
	else
		io_uring_prep_write(sqe, io->fd, io->buf, n, io->offset);
	if (io->flags & PL_IO_DSYNC)
		sqe->rw_flags = RWF_DSYNC;
}

static void uring_submit(struct pl_loop *loop, struct pl_io *io)
{
	struct loop_uring *u = uring(loop);
	struct io_uring_sqe *sqe = next_sqe(u);

	switch ((enum pl_io_kind)io->kind) {
	case PL_IO_READ:
	case PL_IO_WRITE:
		prep_rw(sqe, io, u->has_buffers && io->buf_index != PL_IO_NO_BUFFER);
		break;
	case PL_IO_FDATASYNC:
		io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
		break;
	case PL_IO_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->fd, (int)io->arg, (off_t)io->offset, (off_t)io->length);
		break;
	case PL_IO_RECV:
		io_uring_prep_recv(sqe, io->fd, io->buf, io->length, (int)io->arg);
		break;
	case PL_IO_SENDMSG:
		io_uring_prep_sendmsg(sqe, io->fd, io->buf, io->arg);
		break;
	case PL_IO_POLL:
		io_uring_prep_poll_add(sqe, io->fd, io->arg);
		break;
	}
	if (io->flags & PL_IO_FIXED_FD)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, io);
}

static void uring_cancel(struct pl_loop *loop, struct pl_io *io)
{
	struct io_uring_sqe *sqe = next_sqe(uring(loop));
	io_uring_prep_cancel(sqe, io, 0);
	io_uring_sqe_set_data64(sqe, CANCEL_TAG);
}

static void uring_kick(struct pl_loop *loop)
{
	struct loop_uring *u = uring(loop);
	if (io_uring_sq_ready(&u->ring))
		io_uring_submit(&u->ring);
}

static void arm_deadline(struct loop_uring *u, uint64_t deadline_ns)
{
	if (deadline_ns == LOOP_NO_DEADLINE || u->armed_ns)
		return;
	u->armed_ns = deadline_ns;
	u->armed_ts = (struct __kernel_timespec){
		.tv_sec = (long long)(deadline_ns / NS_PER_S),
		.tv_nsec = (long long)(deadline_ns % NS_PER_S),
	};
	struct io_uring_sqe *sqe = next_sqe(u);
	io_uring_prep_timeout(sqe, &u->armed_ts, 0, IORING_TIMEOUT_ABS);
	io_uring_sqe_set_data64(sqe, TIMEOUT_TAG);
}

/* An earlier deadline than the armed one: move it. */
static void move_deadline(struct loop_uring *u, uint64_t deadline_ns)
{
	if (!u->armed_ns || deadline_ns >= u->armed_ns)
		return;
	u->armed_ns = deadline_ns;
	u->armed_ts.tv_sec = (long long)(deadline_ns / NS_PER_S);
	u->armed_ts.tv_nsec = (long long)(deadline_ns % NS_PER_S);
	struct io_uring_sqe *sqe = next_sqe(u);
	io_uring_prep_timeout_update(sqe, &u->armed_ts, TIMEOUT_TAG, IORING_TIMEOUT_ABS);
	io_uring_sqe_set_data64(sqe, CANCEL_TAG);
}

static void complete(struct loop_uring *u, const struct io_uring_cqe *cqe)
{
	uint64_t tag = io_uring_cqe_get_data64(cqe);
	if (tag == TIMEOUT_TAG) {
		u->armed_ns = 0;
		u->loop.timers_due = true;
	} else if (tag != CANCEL_TAG) {
		pl_loop_complete(&u->loop, io_uring_cqe_get_data(cqe), cqe->res);
	}
}

static int uring_turn(struct pl_loop *loop, bool wait, uint64_t deadline_ns)
{
	struct loop_uring *u = uring(loop);
	arm_deadline(u, deadline_ns);
	move_deadline(u, deadline_ns);
	int r = wait ? io_uring_submit_and_wait(&u->ring, 1) : io_uring_submit_and_get_events(&u->ring);
	if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
		return pl_fail(r, "io_uring_enter failed: %s", strerror(-r));

	struct io_uring_cqe *cqe;
	unsigned head, n = 0;
	io_uring_for_each_cqe (&u->ring, head, cqe) {
		n++;
		complete(u, cqe);
	}
	io_uring_cq_advance(&u->ring, n);
	return 0;
}

static int uring_register_fd(struct pl_loop *loop, int fd)
{
	struct loop_uring *u = uring(loop);
	if (!u->has_files)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < FIXED_FILES; i++) {
		if (u->files[i] >= 0)
			continue;
		int r = io_uring_register_files_update(&u->ring, i, &fd, 1);
		if (r < 0)
			return r;
		u->files[i] = fd;
		return (int)i;
	}
	return -ENOSPC;
}

static void uring_unregister_fd(struct pl_loop *loop, int index)
{
	struct loop_uring *u = uring(loop);
	int none = -1;
	io_uring_register_files_update(&u->ring, (unsigned)index, &none, 1);
	u->files[index] = -1;
}

static int uring_register_memory(struct pl_loop *loop, unsigned index, void *base, size_t bytes)
{
	struct loop_uring *u = uring(loop);
	if (!u->has_buffers)
		return -EOPNOTSUPP;
	struct iovec iov = {.iov_base = base, .iov_len = bytes};
	__u64 tag = 0;
	int r = io_uring_register_buffers_update_tag(&u->ring, index, &iov, &tag, 1);
	return r < 0 ? r : 0;
}

static void uring_free(struct pl_loop *loop)
{
	struct loop_uring *u = uring(loop);
	if (u->has_files)
		io_uring_unregister_files(&u->ring); /* Linux 6.1 keeps them, and their locks, for a second */
	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct loop_ops uring_ops = {
	.submit = uring_submit,
	.cancel = uring_cancel,
	.kick = uring_kick,
	.turn = uring_turn,
	.register_fd = uring_register_fd,
	.unregister_fd = uring_unregister_fd,
	.register_memory = uring_register_memory,
	.free = uring_free,
};

/* The best setup this kernel knows: task work runs only when we ask for it, from one thread. */
static int setup_ring(struct io_uring *ring, unsigned depth)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* 6.1 */
		IORING_SETUP_COOP_TASKRUN,                               /* 5.19 */
		0,
	};
	int r = -ENOSYS;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		struct io_uring_params p = {.flags = flags[i] | IORING_SETUP_CQSIZE, .cq_entries = depth * 4};
		r = io_uring_queue_init_params(depth, ring, &p);
		if (r != -EINVAL)
			break;
	}
	return r;
}

int loop_uring_new(const struct pl_loop_options *options, struct pl_loop **out)
{
	struct loop_uring *u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	int r = setup_ring(&u->ring, options->depth);
	if (r < 0) {
		free(u);
		return r;
	}
	loop_init(&u->loop, &uring_ops, PL_BACKEND_URING);
	memset(u->files, 0xff, sizeof(u->files));
	io_uring_register_ring_fd(&u->ring); /* saves a lookup an enter; a kernel without it is fine */
	u->has_files = io_uring_register_files_sparse(&u->ring, FIXED_FILES) == 0;
	u->has_buffers = io_uring_register_buffers_sparse(&u->ring, BUF_CLASSES) == 0;
	*out = &u->loop;
	return 0;
}
