/* ploop-keeper: keeps the descriptors of a server, and starts the next one when it dies. See keeper.h.
 *
 *	ploop-keeper PATH     fd 3: the life line of the server that starts us; PATH: of its command socket, for messages.
 *	                      A keeper that becomes this program passes all it has instead
 *
 *	        ready                    leave (upgrade)
 *	starts ------> runs -----------------------------> leaves
 *	  ^             |  dies                              |  ends
 *	  +-------------+<-----------------------------------+
 *	  |             |  died too often in a row
 *	  +-- retry -- waits
 */
#include "kmod-free/keeper_program.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#define CLIENTS_MAX 8

/* Of a keeper that becomes another program, with what is kept. */
#define PASSED_ENV    "PLOOP_SERVER" /* of the environment: its pid, and whether it is mortal */
#define PASSED_SERVER "server"       /* its pidfd */
#define PASSED_ASKER  "asker"        /* who asked for an upgrade */
#define PASSED_CLIENT "client%hhu"

struct client {
	int fd;
	char waits_for; /* a command; 0: nothing */
};

struct watch {
	const char *path;
	struct kept_fds kept;
	/* the server */
	int line, pidfd;
	pid_t pid;
	enum keeper_phase phase;
	bool mortal, left, aborting;
	uint32_t deaths;   /* in a row */
	uint64_t ready_ns; /* 0: not yet */
	uint64_t start_ns; /* when to start one; 0: not to */
	uint64_t left_ns;  /* when it was asked to leave */
	uint64_t gap_ns;
	char why[KEEPER_TEXT_BYTES];
	/* who asks */
	struct client clients[CLIENTS_MAX];
	size_t client_count;
	bool over;
};

/* ------------------------------------------------------------------ who asks */

static void answer(struct watch *w, struct client *c, int err, const char *text)
{
	struct keeper_state s = {
		.err = err,
		.phase = w->phase,
		.server_pid = (uint32_t)w->pid,
		.deaths = w->deaths,
		.mortal = w->mortal,
		.gap_ns = w->gap_ns,
	};
	snprintf(s.text, sizeof(s.text), "%s", text);
	(void)!send(c->fd, &s, sizeof(s), MSG_NOSIGNAL | MSG_DONTWAIT);
	c->waits_for = 0;
}

static void answer_waiting(struct watch *w, char command, int err, const char *text)
{
	for (size_t i = 0; i < w->client_count; i++)
		if (w->clients[i].waits_for == command)
			answer(w, &w->clients[i], err, text);
}

/* ------------------------------------------------------------------ starting a server */

static void server_died(struct watch *w);

static void start_server(struct watch *w)
{
	int ends[2];
	w->start_ns = w->ready_ns = 0;
	w->phase = KEEPER_STARTS;
	w->why[0] = '\0';
	w->pid = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
		w->pid = fork();
		if (w->pid == 0)
			keeper_become_server(&w->kept, ends[1]);
		close(ends[1]);
		w->line = ends[0];
	}
	w->pidfd = w->pid > 0 ? (int)syscall(SYS_pidfd_open, w->pid, 0) : -1;
	if (w->pidfd < 0) {
		snprintf(w->why, sizeof(w->why), "no process for it: %s", strerror(errno));
		server_died(w);
	} else {
		kept_forget_given(&w->kept);
	}
}

/* ------------------------------------------------------------------ the end of a server */

static void tell_status(struct watch *w)
{
	int status;
	bool is_child = w->pid > 0 && waitpid(w->pid, &status, 0) == w->pid;
	if (w->why[0])
		return; /* it told itself */
	if (!is_child) /* the first one is not ours */
		snprintf(w->why, sizeof(w->why), "it did not say why");
	else if (WIFSIGNALED(status))
		snprintf(w->why, sizeof(w->why), "it was killed by signal %d", WTERMSIG(status));
	else
		snprintf(w->why, sizeof(w->why), "it ended with code %d", WEXITSTATUS(status));
}

/* As if nothing had happened. */
static void start_anew(struct watch *w)
{
	w->deaths = 0;
	w->phase = KEEPER_STARTS;
	w->start_ns = clock_now_ns();
}

static void plan_restart(struct watch *w)
{
	uint64_t now = clock_now_ns();
	bool lived = w->ready_ns && now - w->ready_ns >= KEEPER_LIFE_NS;
	w->deaths = lived ? 1 : w->deaths + 1;
	if (w->deaths >= KEEPER_DEATHS_MAX) {
		w->phase = KEEPER_WAITS;
		syslog(LOG_CRIT, "%s: the server died %u times in a row, the last time: %s. Requests wait until it is "
		       "started again (ploop server restart) or given up (ploop umount --force)", w->path, w->deaths,
		       w->why);
		answer_waiting(w, KEEPER_UPGRADE, -EIO, w->why);
		return;
	}
	syslog(LOG_WARNING, "%s: the server died, another is started: %s", w->path, w->why);
	w->phase = KEEPER_STARTS;
	w->start_ns = now + (w->deaths < 3 ? 0 : KEEPER_PAUSE_NS << (w->deaths - 3));
}

static void server_died(struct watch *w)
{
	bool was_asked = w->left;
	tell_status(w);
	if (w->pidfd >= 0)
		close(w->pidfd);
	if (w->line >= 0)
		close(w->line);
	w->pidfd = w->line = -1;
	w->pid = 0;
	w->left = false;
	if (w->over)
		return;
	if (w->aborting) {
		answer_waiting(w, KEEPER_ABORT, 0, "");
		w->over = true;
	} else if (kept_find(&w->kept, KEEPER_FD_WORDS) < 0) {
		w->over = true; /* before it said how to start another; nobody can ask us either */
	} else if (was_asked) {
		start_anew(w);
	} else if (w->mortal) {
		syslog(LOG_CRIT, "%s: the server died, and its requests with it: %s", w->path, w->why);
		w->over = true;
	} else {
		plan_restart(w);
	}
}

/* ------------------------------------------------------------------ the life line */

static ssize_t receive_message(int line, struct keeper_message *m, int *fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	*fd = -1;
	ssize_t n = recvmsg(line, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return n;
}

static void server_ready(struct watch *w, bool mortal)
{
	w->phase = KEEPER_RUNS;
	w->mortal = mortal;
	w->ready_ns = clock_now_ns();
	w->gap_ns = w->ready_ns - w->left_ns;
	answer_waiting(w, KEEPER_UPGRADE, 0, "");
}

static void take_message(struct watch *w, struct keeper_message *m, int fd)
{
	m->name[KEEPER_NAME_BYTES - 1] = m->text[KEEPER_TEXT_BYTES - 1] = '\0';
	switch (m->word) {
	case KEEPER_KEEP:
	case KEEPER_GIVE:
		if (!kept_put(&w->kept, m->name, fd, m->word == KEEPER_GIVE))
			syslog(LOG_ERR, "%s: %s cannot be kept", w->path, m->name);
		return;
	case KEEPER_READY:
		server_ready(w, m->mortal);
		break;
	case KEEPER_STAY:
		w->phase = KEEPER_RUNS;
		answer_waiting(w, KEEPER_UPGRADE, -EBUSY, m->text);
		break;
	case KEEPER_WHY:
		memcpy(w->why, m->text, sizeof(w->why));
		break;
	case KEEPER_LEFT:
		w->left = true;
		break;
	case KEEPER_END:
		w->over = true;
		break;
	default:
		break; /* of a later version */
	}
	if (fd >= 0)
		close(fd);
}

static void read_line(struct watch *w)
{
	struct keeper_message m;
	ssize_t n;
	int fd;
	while ((n = receive_message(w->line, &m, &fd)) == (ssize_t)sizeof(m))
		take_message(w, &m, fd);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close(w->line); /* its end shows at the pidfd */
	w->line = -1;
}

/* ------------------------------------------------------------------ commands */

/* With everything it has; @asker asks again there. Returns when it stays this program. */
static void become_installed(const struct watch *w, const struct client *asker)
{
	char server[16], name[KEEPER_NAME_BYTES];
	struct kept_fds all = w->kept;
	snprintf(server, sizeof(server), "%d %d", w->pid, w->mortal);
	if (all.count + 2 + w->client_count > KEEPER_FDS_MAX)
		return;
	kept_put(&all, KEEPER_FD_LINE, w->line, false);
	kept_put(&all, PASSED_SERVER, w->pidfd, false);
	kept_put(&all, PASSED_ASKER, asker->fd, false);
	for (uint8_t i = 0; i < w->client_count; i++) {
		snprintf(name, sizeof(name), PASSED_CLIENT, i);
		if (&w->clients[i] != asker)
			kept_put(&all, name, w->clients[i].fd, false);
	}
	if (setenv(PASSED_ENV, server, 1) == 0)
		keeper_program_become(&all, w->path);
	syslog(LOG_WARNING, "%s: the keeper goes on as the program it was: %s", w->path, strerror(errno));
}

static void upgrade(struct watch *w, struct client *c)
{
	if (w->phase == KEEPER_RUNS && w->line >= 0 && !w->aborting && keeper_program_is_replaced())
		become_installed(w, c);
	struct keeper_message m = {.word = KEEPER_LEAVE};
	if (w->phase == KEEPER_WAITS) {
		start_anew(w);
	} else if (w->phase != KEEPER_RUNS || w->line < 0 ||
		   send(w->line, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		answer(w, c, -EAGAIN, "the server is being started or replaced just now");
		return;
	} else {
		w->phase = KEEPER_LEAVES;
	}
	w->why[0] = '\0';
	w->left_ns = clock_now_ns();
	c->waits_for = KEEPER_UPGRADE;
}

static void obey(struct watch *w, struct client *c, char command)
{
	switch (command) {
	case KEEPER_STATE:
		answer(w, c, 0, w->why);
		return;
	case KEEPER_RETRY:
		if (w->phase == KEEPER_WAITS)
			start_anew(w);
		answer(w, c, 0, w->why);
		return;
	case KEEPER_ABORT:
		w->aborting = true;
		c->waits_for = KEEPER_ABORT;
		if (w->pidfd >= 0)
			syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
		else
			server_died(w);
		return;
	case KEEPER_UPGRADE:
		upgrade(w, c);
		return;
	default:
		answer(w, c, -EINVAL, "the keeper does not know this command");
	}
}

static bool is_allowed(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof(peer);
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_client(struct watch *w, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	if (w->client_count == CLIENTS_MAX || !is_allowed(fd))
		close(fd);
	else
		w->clients[w->client_count++] = (struct client){.fd = fd};
}

static void read_client(struct watch *w, size_t i)
{
	char command;
	ssize_t n = recv(w->clients[i].fd, &command, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1) {
		obey(w, &w->clients[i], command);
		return;
	}
	close(w->clients[i].fd);
	w->clients[i] = w->clients[--w->client_count];
}

/* ------------------------------------------------------------------ the loop */

static int pause_ms(const struct watch *w)
{
	uint64_t now = clock_now_ns();
	if (!w->start_ns)
		return -1;
	return w->start_ns <= now ? 0 : (int)((w->start_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* What the server said before its end is read before its end is believed. */
static void turn(struct watch *w)
{
	enum { LINE, SERVER, LISTENER, CLIENTS };
	struct pollfd at[CLIENTS + CLIENTS_MAX] = {
		[LINE] = {.fd = w->line, .events = POLLIN},
		[SERVER] = {.fd = w->pidfd, .events = POLLIN},
		[LISTENER] = {.fd = kept_find(&w->kept, KEEPER_FD_COMMAND), .events = POLLIN},
	};
	size_t clients = w->client_count;
	for (size_t i = 0; i < clients; i++)
		at[CLIENTS + i] = (struct pollfd){.fd = w->clients[i].fd, .events = POLLIN};
	if (poll(at, CLIENTS + clients, pause_ms(w)) < 0)
		return;
	if (w->line >= 0 && (at[LINE].revents || at[SERVER].revents))
		read_line(w);
	if (at[SERVER].revents)
		server_died(w);
	for (size_t i = clients; i-- > 0 && !w->over;)
		if (at[CLIENTS + i].revents)
			read_client(w, i);
	if (at[LISTENER].revents)
		accept_client(w, at[LISTENER].fd);
	if (w->start_ns && w->start_ns <= clock_now_ns() && !w->over)
		start_server(w);
}

/* A host that goes down ends us last: the file systems on our disks are unmounted before. */
static void take_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* The starter waits for our parent half only. */
static void detach(void)
{
	pid_t pid = fork();
	if (pid != 0)
		_exit(pid < 0);
	setsid();
	(void)!chdir("/");
}

/* Started by a server. */
static int begin(struct watch *w)
{
	struct ucred server;
	socklen_t n = sizeof(server);
	if (getsockopt(KEEPER_LINE_FD, SOL_SOCKET, SO_PEERCRED, &server, &n) != 0)
		return 2;
	w->line = KEEPER_LINE_FD;
	w->pid = server.pid;
	w->pidfd = (int)syscall(SYS_pidfd_open, server.pid, 0);
	if (w->pidfd < 0 || fcntl(KEEPER_LINE_FD, F_SETFD, FD_CLOEXEC) < 0)
		return 1;
	detach();
	return 0;
}

/* Another program before: its server runs, and somebody waits for the next one. */
static void go_on(struct watch *w)
{
	char name[KEEPER_NAME_BYTES];
	const char *server = getenv(PASSED_ENV);
	int mortal = 0;
	w->line = kept_take(&w->kept, KEEPER_FD_LINE);
	w->pidfd = kept_take(&w->kept, PASSED_SERVER);
	if (server && sscanf(server, "%d %d", &w->pid, &mortal) == 2)
		w->mortal = mortal;
	unsetenv(PASSED_ENV);
	w->phase = KEEPER_RUNS;
	w->ready_ns = clock_now_ns();
	w->clients[w->client_count++].fd = kept_take(&w->kept, PASSED_ASKER);
	for (uint8_t i = 0; i < CLIENTS_MAX; i++) {
		snprintf(name, sizeof(name), PASSED_CLIENT, i);
		int fd = kept_take(&w->kept, name);
		if (fd >= 0)
			w->clients[w->client_count++].fd = fd;
	}
	upgrade(w, &w->clients[0]);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return puts("usage: ploop-keeper PATH\n\nKeep what outlives a ploop-server, which starts it.") < 0;
	if (argc != 2)
		return 2;
	struct watch w = {.path = argv[1], .line = -1, .pidfd = -1};
	take_signals();
	bool goes_on = kept_inherit(&w.kept);
	int code = goes_on ? 0 : begin(&w);
	if (code != 0)
		return code;
	prctl(PR_SET_NAME, "ploop-keeper");
	openlog("ploop-keeper", LOG_PID, LOG_DAEMON);
	keeper_program_note();
	if (goes_on)
		go_on(&w);
	while (!w.over)
		turn(&w);
	unlink(w.path);
	return 0;
}
