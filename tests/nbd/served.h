/* A server over a real image in a child process, and the clients to talk to it: what the tests here share. */
#ifndef PLOOP_TEST_NBD_SERVED_H
#define PLOOP_TEST_NBD_SERVED_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/byteorder.h"
#include "base/units.h"
#include "kmod-free/nbds_limits.h"
#include "kmod-free/nbds_proto.h"
#include "ploop-serve.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DISK_BYTES (64 * MIB)

static char dir[64], image_path[96], socket_path[96];
static enum pl_backend backend; /* of the server's loop */
static pid_t server_pid;
static int stop_fd = -1;

/* ------------------------------------------------------------------ the server, in a child */

struct child {
	struct pl_loop *loop;
	struct pl_server *server;
	struct pl_io stop;
	char byte;
};

static inline void on_drained(void *arg)
{
	pl_loop_stop(arg);
}

static inline void on_stop(struct pl_io *io)
{
	struct child *c = container_of(io, struct child, stop);
	pl_server_close(c->server);
}

static inline void require(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, pl_error());
	_exit(1);
}

_Noreturn static inline void serve(int stop_read_fd, int ready_fd)
{
	struct child c = {0};
	struct pl_image_ref image = {.path = image_path, .dir_fd = -1};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &image, .count = 1};
	struct pl_open_options open = {.size = sizeof(open)};
	struct pl_export export = {.name = ""};
	struct pl_loop_options loop = {.size = sizeof(loop), .backend = backend};
	require(pl_loop_new(&loop, &c.loop), "loop");
	require(pl_disk_open(c.loop, &chain, &open, &export.disk), "open");
	struct pl_server_options options = {.size = sizeof(options), .exports = &export, .export_count = 1,
					    .drained = on_drained, .arg = c.loop};
	require(pl_server_new(c.loop, &options, &c.server), "server");
	require(pl_server_listen_unix(c.server, socket_path), "listen");
	c.stop = (struct pl_io){.done = on_stop, .fd = stop_read_fd, .kind = PL_IO_READ, .buf = &c.byte, .length = 1,
				.offset = UINT64_MAX, .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(c.loop, &c.stop);
	close(ready_fd);
	require(pl_loop_run(c.loop), "run");
	pl_server_free(c.server);
	require(pl_disk_close(export.disk), "close");
	pl_loop_free(c.loop);
	_exit(0);
}

static inline void setup(void)
{
	const char *parent = getenv("TMPDIR");
	snprintf(dir, sizeof(dir), "%s/nbd.XXXXXX", parent && strlen(parent) < 48 ? parent : "/tmp");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(image_path, sizeof(image_path), "%s/disk.hds", dir);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", dir);
	struct pl_create_options create = {.size = sizeof(create), .size_sectors = DISK_BYTES / SECTOR_BYTES};
	cr_assert(eq(int, pl_image_create(image_path, &create), 0), "%s", pl_error());

	int stop[2], ready[2];
	cr_assert(eq(int, pipe(stop), 0));
	cr_assert(eq(int, pipe(ready), 0));
	server_pid = fork();
	if (server_pid == 0) {
		close(stop[1]);
		close(ready[0]);
		serve(stop[0], ready[1]);
	}
	close(stop[0]);
	close(ready[1]);
	stop_fd = stop[1];
	char byte;
	cr_assert(eq(int, (int)read(ready[0], &byte, 1), 0), "end of file says that it is ready");
	close(ready[0]);
}

static inline void stop_server(void)
{
	close(stop_fd);
	stop_fd = -1;
}

/* A fresh look at the image, after the end. */
static inline void read_back(void *buf, uint64_t bytes, uint64_t offset)
{
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct pl_image_ref image = {.path = image_path, .dir_fd = -1};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &image, .count = 1};
	struct pl_open_options open = {.size = sizeof(open), .flags = PL_OPEN_READONLY};
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	cr_assert(eq(int, pl_disk_open(loop, &chain, &open, &disk), 0), "%s", pl_error());
	cr_assert(eq(int, pl_read(disk, buf, bytes, offset), 0));
	cr_assert(eq(int, pl_disk_close(disk), 0));
	pl_loop_free(loop);
}

static inline void await_clean_end(void)
{
	int status;
	stop_server();
	cr_assert(eq(int, waitpid(server_pid, &status, 0), server_pid));
	server_pid = 0;
	cr_assert(eq(int, status, 0), "the server closed the image and ended well");
}

static inline void teardown(void)
{
	if (server_pid) {
		int status;
		stop_server();
		waitpid(server_pid, &status, 0);
		if (status != 0)
			abort();
	}
	unlink(image_path);
	rmdir(dir);
}

/* ------------------------------------------------------------------ clients */

static inline struct nbd_handle *client(void)
{
	struct nbd_handle *h = nbd_create();
	nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION);
	cr_assert(eq(int, nbd_connect_unix(h, socket_path), 0), "%s", nbd_get_error());
	return h;
}

static inline void leave(struct nbd_handle *h)
{
	cr_assert(eq(int, nbd_shutdown(h, 0), 0), "%s", nbd_get_error());
	nbd_close(h);
}

static inline int raw_client(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0));
	return fd;
}

static inline void send_all(int fd, const void *data, size_t bytes)
{
	cr_assert(eq(int, (int)send(fd, data, bytes, MSG_NOSIGNAL), (int)bytes));
}

/* A raw client in transmission, by the oldest way. */
static inline int raw_transmission(void)
{
	uint8_t greeting[NBDS_GREETING_BYTES], export[10], hello[4 + NBDS_OPTION_HEAD_BYTES];
	int fd = raw_client();
	store_be32(hello, 3);
	store_be64(hello + 4, NBDS_OPTION_MAGIC);
	store_be32(hello + 12, NBDS_OPT_EXPORT_NAME);
	store_be32(hello + 16, 0);
	send_all(fd, hello, sizeof(hello));
	cr_assert(eq(int, (int)recv(fd, greeting, sizeof(greeting), MSG_WAITALL), (int)sizeof(greeting)));
	cr_assert(eq(int, (int)recv(fd, export, sizeof(export), MSG_WAITALL), (int)sizeof(export)));
	cr_assert(eq(u64, load_be64(export), DISK_BYTES));
	return fd;
}

static inline void put_request(uint8_t *p, uint16_t type, uint64_t offset, uint32_t length)
{
	memset(p, 0, NBDS_REQUEST_HEAD_BYTES);
	store_be32(p, NBDS_REQUEST_MAGIC);
	store_be16(p + 6, type);
	store_be64(p + 16, offset);
	store_be32(p + 24, length);
}

/* The server hangs up within @ms; what it says before is passed over. */
static inline void expect_hangup(int fd, int ms)
{
	char bytes[4096];
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		cr_assert(eq(int, poll(&p, 1, ms), 1), "the server keeps the connection");
		ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
		if (n <= 0)
			break;
	}
	close(fd);
}

#endif
