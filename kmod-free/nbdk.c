/* The kernel does not shake hands: that is done here, as the client that it will be, while the loop answers. */
#include "kmod-free/nbdk.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/nbdk_netlink.h"
#include "kmod-free/nbds_proto.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FLAGS_BYTES  4u
#define EXPORT_BYTES 10u /* u64 size, u16 flags */
#define ANSWER_BYTES (NBDS_GREETING_BYTES + EXPORT_BYTES)

/* All that a client says, before the server has said anything: it fits into the socket. */
static int say_client_part(int fd, const char *export_name)
{
	uint8_t text[FLAGS_BYTES + NBDS_OPTION_HEAD_BYTES];
	size_t name_bytes = strlen(export_name);
	store_be32(text, NBDS_FLAG_FIXED_NEWSTYLE | NBDS_FLAG_NO_ZEROES);
	store_be64(text + FLAGS_BYTES, NBDS_OPTION_MAGIC);
	store_be32(text + FLAGS_BYTES + 8, NBDS_OPT_EXPORT_NAME);
	store_be32(text + FLAGS_BYTES + 12, (uint32_t)name_bytes);
	if (send(fd, text, sizeof(text), MSG_NOSIGNAL) != (ssize_t)sizeof(text) ||
	    (name_bytes && send(fd, export_name, name_bytes, MSG_NOSIGNAL) != (ssize_t)name_bytes))
		return pl_fail(-errno, "shake hands for the kernel: %s", strerror(errno));
	return 0;
}

struct answer_wait {
	struct pl_io poll;
	bool woken;
};

static void on_readable(struct pl_io *io)
{
	container_of(io, struct answer_wait, poll)->woken = true;
}

/* The loop may send the last bytes just before it would sleep: only a poll of its own wakes it then. */
static int sleep_until_readable(struct pl_loop *loop, int fd)
{
	struct answer_wait wait = {
		.poll = {.done = on_readable, .kind = PL_IO_POLL, .fd = fd, .arg = POLLIN,
			 .buf_index = PL_IO_NO_BUFFER},
	};
	pl_loop_submit(loop, &wait.poll);
	int r = 0;
	while (r == 0 && !wait.woken)
		r = pl_loop_step(loop, true);
	return r;
}

static bool is_hung_up(int fd)
{
	struct pollfd p = {.fd = fd};
	return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

static int await_answer(struct pl_loop *loop, int fd)
{
	int bytes = 0, r = 0;
	while (r == 0 && ioctl(fd, FIONREAD, &bytes) == 0 && bytes < (int)ANSWER_BYTES) {
		if (is_hung_up(fd))
			return pl_fail(-ECONNABORTED, "our NBD server does not let the kernel in");
		r = sleep_until_readable(loop, fd);
		/* The greeting alone is readable: let the rest come. */
		if (r == 0)
			r = pl_loop_step(loop, false);
	}
	return r;
}

static int read_answer(int fd, struct nbdk_device *device)
{
	uint8_t text[ANSWER_BYTES];
	if (recv(fd, text, sizeof(text), MSG_WAITALL) != (ssize_t)sizeof(text) || load_be64(text) != NBDS_MAGIC ||
	    load_be64(text + 8) != NBDS_OPTION_MAGIC)
		return pl_fail(-EPROTO, "our NBD server does not greet as one");
	device->size_bytes = load_be64(text + NBDS_GREETING_BYTES);
	device->flags = load_be16(text + NBDS_GREETING_BYTES + 8);
	return 0;
}

static int connect_device(const struct nbdk_device *device, bool takes_over)
{
	uint64_t index;
	bool is_there = nbdk_find(device->backend, &index) == 0;
	if (takes_over && is_there)
		return nbdk_reconnect(device, index);
	if (is_there)
		return pl_fail(-EBUSY, "nbd%llu has the name %s already", (unsigned long long)index, device->backend);
	return nbdk_connect(device, &index);
}

int nbdk_start(struct pl_loop *loop, struct pl_server *server, const char *export_name, const char *backend,
	       bool takes_over)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return pl_fail(-errno, "socket pair: %s", strerror(errno));
	autofd int kernels = ends[0];
	struct nbdk_device device = {.backend = backend, .socket_fd = kernels, .block_bytes = SECTOR_BYTES};
	int r = pl_server_take_fd(server, ends[1]);
	if (r == 0)
		r = say_client_part(kernels, export_name);
	if (r == 0)
		r = await_answer(loop, kernels);
	if (r == 0)
		r = read_answer(kernels, &device);
	return r == 0 ? connect_device(&device, takes_over) : r;
}
