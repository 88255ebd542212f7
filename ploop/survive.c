#include "ploop/survive.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/child.h"
#include "base/cleanup.h"
#include "base/units.h"

#define ANSWER_WAIT_MS 2000

/* ---- the holder's socket */

static int socket_address(const struct store *store, struct sockaddr_un *out)
{
	char dir[sizeof(out->sun_path)];
	int r = pl_run_dir(dir, sizeof(dir));
	if (r < 0)
		return r;
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(out->sun_path, sizeof(out->sun_path), "%s/hold-%llx-%llu", dir,
			 (unsigned long long)store->dev, (unsigned long long)store->ino);
	if (n < 0 || (size_t)n >= sizeof(out->sun_path))
		return pl_fail(-ENAMETOOLONG, "%s is too long for a socket's name", dir);
	return 0;
}

static bool is_trusted_peer(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

/* A connection to the holder of @store, or -1 when there is none. */
static int dial(const struct sockaddr_un *address)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 || !is_trusted_peer(fd))
		return -1;
	return fd_steal(&fd);
}

static int receive_fd(int fd)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, ANSWER_WAIT_MS) != 1 || recvmsg(fd, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	int received;
	memcpy(&received, CMSG_DATA(c), sizeof(received));
	return received;
}

/* *@bytes: what is mapped, the length of which is what the table says. */
static struct pending_shm *map_table(int fd, bool writable, uint64_t *bytes)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)(PENDING_PARTIAL_AT + sizeof(struct partial_shm)))
		return NULL;
	*bytes = (uint64_t)st.st_size;
	void *p = mmap(NULL, *bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static bool is_for(struct pending_shm *shm, uint64_t bytes, const struct store *store, uint32_t guest_clusters,
		   uint32_t cluster_sectors)
{
	uint32_t cluster_bytes = cluster_sectors * SECTOR_BYTES;
	return shm->magic == PENDING_MAGIC && shm->dev == store->dev && shm->ino == store->ino &&
	       shm->guest_clusters == guest_clusters && shm->cluster_sectors == cluster_sectors &&
	       shm->bytes == bytes && bytes >= PENDING_PARTIAL_AT + partial_shm_bytes(guest_clusters, cluster_bytes) &&
	       partial_shm_fits(pending_partials(shm), guest_clusters, cluster_bytes);
}

/* The table of whoever holds it for @store. 1: got it; 0: nobody does; -errno: one is there and cannot be used. */
static int ask_holder(const struct sockaddr_un *address, struct store *store, char request, uint32_t guest_clusters,
		      uint32_t cluster_sectors, struct survive *out)
{
	autofd int conn = dial(address);
	if (conn < 0) {
		if (request == HOLD_TAKE && errno == ECONNREFUSED)
			unlink(address->sun_path); /* a killed one: we have the lock, no other starts now */
		return 0;
	}
	if (send(conn, &request, 1, MSG_NOSIGNAL) != 1)
		return 0;
	autofd int memory = receive_fd(conn);
	if (memory < 0)
		return 0; /* it went while we asked: its table was empty */
	uint64_t bytes;
	struct pending_shm *shm = map_table(memory, request == HOLD_TAKE, &bytes);
	if (!shm)
		return pl_fail(-EUCLEAN, "%s: %s holds no table of map changes", store->path, address->sun_path);
	if (!is_for(shm, bytes, store, guest_clusters, cluster_sectors)) {
		munmap(shm, bytes);
		return pl_fail(-EUCLEAN, "%s: %s holds the map changes of another disk", store->path,
			       address->sun_path);
	}
	*out = (struct survive){
		.shm = shm,
		.life_fd = fd_steal(&conn),
		.memory_fd = fd_steal(&memory),
		.memory_writable = request == HOLD_TAKE,
		.inherited = true,
		.owned = true,
	};
	return 1;
}

/* ---- starting one */

static int listen_at(const struct sockaddr_un *address)
{
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(address->sun_path); /* a dead one's: we own the image's lock, so nobody else starts a holder */
	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
	    chmod(address->sun_path, 0600) < 0 || listen(fd, 4) < 0)
		return pl_fail(-errno, "cannot listen at %s: %s", address->sun_path, strerror(errno));
	return fd_steal(&fd);
}

/* Out of the way of what they become: dup2 of an fd onto itself would leave it close-on-exec. */
static bool raise_fds(const int fds[HOLD_FDS_END], int high[HOLD_FDS_END])
{
	bool all = true;
	for (int i = HOLD_LISTEN_FD; i < HOLD_FDS_END; i++) {
		high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HOLD_FDS_END);
		all = all && high[i] >= 0;
	}
	return all;
}

static int spawn(const char *program, const struct sockaddr_un *address, const int high[HOLD_FDS_END], pid_t *pid)
{
	extern char **environ;
	char *argv[] = {(char *)"@ploop-holder", (char *)address->sun_path, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_adddup2(&actions, 0, 2);
	for (int i = HOLD_LISTEN_FD; i < HOLD_FDS_END; i++)
		posix_spawn_file_actions_adddup2(&actions, high[i], i);
	int r = posix_spawn(pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

/* @program gets @fds under their numbers and detaches itself. The "@" lets it live on until a host that goes down has
 * unmounted everything. */
static int spawn_holder(const char *program, const struct sockaddr_un *address, const int fds[HOLD_FDS_END])
{
	int high[HOLD_FDS_END];
	pid_t pid;
	int r = raise_fds(fds, high) ? spawn(program, address, high, &pid) : errno;
	for (int i = HOLD_LISTEN_FD; i < HOLD_FDS_END; i++)
		if (high[i] >= 0)
			close(high[i]);
	if (r != 0)
		return pl_fail(-r, "cannot start %s: %s", program, strerror(r));
	int code = child_wait(pid);
	return code == 0 ? 0 : pl_fail(-EIO, "%s failed to start, code %d", program, code);
}

static int new_table(struct store *store, uint32_t guest_clusters, uint32_t cluster_sectors, struct survive *out)
{
	*out = (struct survive){.life_fd = -1, .memory_fd = -1, .owned = true};
	int r = pending_shm_new(guest_clusters, cluster_sectors * SECTOR_BYTES, &out->memory_fd, &out->shm);
	if (r < 0)
		return r;
	struct pending_shm *shm = out->shm;
	shm->magic = PENDING_MAGIC;
	shm->dev = store->dev;
	shm->ino = store->ino;
	shm->guest_clusters = guest_clusters;
	shm->cluster_sectors = cluster_sectors;
	return 0;
}

/* It has our life line from the start: there is no moment in which we die and it waits for nobody. */
static int start_holder(const char *program, const struct sockaddr_un *address, struct survive *s)
{
	autofd int listen_fd = listen_at(address);
	if (listen_fd < 0)
		return listen_fd;
	int line[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) < 0)
		return pl_fail(-errno, "cannot start %s: %s", program, strerror(errno));
	int r = spawn_holder(program, address,
			     (const int[HOLD_FDS_END]){
				     [HOLD_LISTEN_FD] = listen_fd,
				     [HOLD_MEMORY_FD] = s->memory_fd,
				     [HOLD_LIFE_FD] = line[1],
			     });
	close(line[1]);
	if (r < 0) {
		close(line[0]);
		unlink(address->sun_path);
		return r;
	}
	s->life_fd = line[0];
	return 0;
}

int survive_attach(struct store *store, uint32_t guest_clusters, uint32_t cluster_sectors, const char *program,
		   struct survive *out)
{
	struct sockaddr_un address;
	bool has_identity = store->ino != 0;
	int r = has_identity ? socket_address(store, &address) : -ENOENT;
	if (r == 0) {
		int got = ask_holder(&address, store, HOLD_TAKE, guest_clusters, cluster_sectors, out);
		if (got < 0)
			return got;
		if (got > 0) {
			out->program = program ? strdup(program) : NULL;
			out->shm->server_pid = (uint32_t)getpid();
			return 0;
		}
	} else if (has_identity && program) {
		return r;
	}

	r = new_table(store, guest_clusters, cluster_sectors, out);
	if (r < 0)
		return r;
	out->program = program ? strdup(program) : NULL;
	out->shm->server_pid = (uint32_t)getpid();
	return program && has_identity ? start_holder(program, &address, out) : 0;
}

int survive_restart(struct survive *s, struct store *store)
{
	struct sockaddr_un address;
	close(s->life_fd);
	s->life_fd = -1;
	if (!s->program)
		return pl_fail(-ENOENT, "%s: its holder died", store->path);
	int r = socket_address(store, &address);
	return r < 0 ? r : start_holder(s->program, &address, s);
}

int survive_peek(struct store *store, uint32_t guest_clusters, uint32_t cluster_sectors, struct survive *out)
{
	struct sockaddr_un address;
	*out = (struct survive){.life_fd = -1, .memory_fd = -1};
	if (store->ino == 0 || socket_address(store, &address) < 0)
		return 0;
	int got = ask_holder(&address, store, HOLD_PEEK, guest_clusters, cluster_sectors, out);
	return got < 0 ? got : 0;
}

uint32_t survive_server_pid(struct store *store)
{
	struct sockaddr_un address;
	char request = HOLD_PEEK;
	if (store->ino == 0 || socket_address(store, &address) < 0)
		return 0;
	autofd int conn = dial(&address);
	autofd int memory = conn >= 0 && send(conn, &request, 1, MSG_NOSIGNAL) == 1 ? receive_fd(conn) : -1;
	uint64_t bytes;
	struct pending_shm *shm = memory >= 0 ? map_table(memory, false, &bytes) : NULL;
	if (!shm)
		return 0;
	uint32_t pid = shm->magic == PENDING_MAGIC ? shm->server_pid : 0;
	munmap(shm, bytes);
	return pid != 0 && kill((pid_t)pid, 0) == 0 ? pid : 0;
}

void survive_forget_image(dev_t dev, ino_t ino)
{
	struct sockaddr_un address;
	if (socket_address(&(struct store){.dev = dev, .ino = ino}, &address) < 0)
		return;
	autofd int holder = dial(&address);
	if (holder < 0 && errno == ECONNREFUSED)
		unlink(address.sun_path);
}

void survive_forget(struct survive *s)
{
	if (s->memory_writable) {
		memset(s->shm->slots, 0xff, sizeof(s->shm->slots));
		partial_shm_clear(pending_partials(s->shm));
	}
	s->inherited = false;
}

/* Wait until it is gone, so that it cannot remove the socket of a successor. */
static void say_bye(int fd)
{
	char byte = HOLD_BYE;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
		poll(&p, 1, ANSWER_WAIT_MS);
}

void survive_detach(struct survive *s, bool clean)
{
	if (s->life_fd >= 0) {
		if (clean)
			say_bye(s->life_fd);
		close(s->life_fd);
	}
	if (s->memory_fd >= 0)
		close(s->memory_fd);
	free(s->program);
	if (s->owned && s->shm)
		munmap(s->shm, s->shm->bytes);
	*s = (struct survive){.life_fd = -1, .memory_fd = -1};
}
