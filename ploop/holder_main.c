/* ploop-holder: keeps the memory that must outlive a disk's server (D2), and does nothing else.
 *
 *   ploop-holder SOCKET_PATH     fd 3: the listening socket at SOCKET_PATH, fd 4: the shared table of map changes,
 *                                fd 5: the life line of the server that starts it
 *
 * A later server asks for the table and keeps the connection open as its life line. When the line breaks and the table
 * has changes that the image lacks, the holder waits for the next server, however long; else there is nothing to keep
 * and it goes. It goes too when a server says good-bye. Requests: ploop/survive.h. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ploop/pending.h"
#include "ploop/survive.h"

#define CONNS_MAX 8

static struct pending_shm *table;

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void send_table(int fd)
{
	char byte = HOLD_TAKE;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &(int){HOLD_MEMORY_FD}, sizeof(int));
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

struct conns {
	struct pollfd at[1 + CONNS_MAX]; /* the listener first */
	bool is_server[1 + CONNS_MAX];
	nfds_t count;
};

static void accept_one(struct conns *c)
{
	int fd = accept4(HOLD_LISTEN_FD, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (c->count == 1 + CONNS_MAX || !is_allowed(fd)) {
		close(fd);
		return;
	}
	c->at[c->count] = (struct pollfd){.fd = fd, .events = POLLIN};
	c->is_server[c->count++] = false;
}

static bool has_server(const struct conns *c)
{
	for (nfds_t i = 1; i < c->count; i++)
		if (c->is_server[i])
			return true;
	return false;
}

/* false: nothing is left to keep. */
static bool serve(struct conns *c, nfds_t i)
{
	char request = 0;
	ssize_t n = recv(c->at[i].fd, &request, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n == 1 && (request == HOLD_TAKE || request == HOLD_PEEK)) {
		c->is_server[i] = request == HOLD_TAKE;
		send_table(c->at[i].fd);
		return true;
	}
	bool was_server = c->is_server[i];
	if (n == 1 && request == HOLD_BYE && was_server)
		return false;
	close(c->at[i].fd);
	c->at[i] = c->at[--c->count];
	c->is_server[i] = c->is_server[c->count];
	return !was_server || has_server(c) || !pending_shm_is_empty(table);
}

static void hold(void)
{
	struct conns c = {
		.at = {{.fd = HOLD_LISTEN_FD, .events = POLLIN}, {.fd = HOLD_LIFE_FD, .events = POLLIN}},
		.is_server = {[1] = true},
		.count = 2,
	};
	for (;;) {
		if (poll(c.at, c.count, -1) < 0)
			continue;
		if (c.at[0].revents)
			accept_one(&c);
		for (nfds_t i = c.count; i-- > 1;)
			if (c.at[i].revents && !serve(&c, i))
				return;
	}
}

/* The starter waits for our parent half, so that it knows that we listen. */
static void detach(void)
{
	pid_t pid = fork();
	if (pid != 0)
		_exit(pid < 0);
	setsid();
	(void)!chdir("/");
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	struct stat st;
	if (fstat(HOLD_MEMORY_FD, &st) < 0)
		return 1;
	table = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, HOLD_MEMORY_FD, 0);
	if (table == MAP_FAILED || table->magic != PENDING_MAGIC)
		return 1;
	detach();
	prctl(PR_SET_NAME, "ploop-holder");
	hold();
	/* Before we go: a successor that asks us meanwhile waits for our end, then makes a name of its own. */
	unlink(argv[1]);
	return 0;
}
