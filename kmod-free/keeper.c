/* The server's side of its keeper. */
#include "kmod-free/keeper.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "kmod-free/keeper_kept.h"
#include "kmod-free/keeper_socket.h"
#include "ploop-serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <syslog.h>

#define END_WAIT_MS 2000

struct keeper {
	struct kept_fds kept;
	int line; /* -1: no keeper */
	bool is_successor, armed, stopping;
	struct keeper_options options;
	struct pl_loop *loop;
	struct pl_io poll;
	uint64_t started_ns; /* the keeper */
	uint32_t deaths;     /* of keepers, in a row */
};

/* ------------------------------------------------------------------ what a predecessor left */

struct keeper *keeper_new(void)
{
	struct keeper *k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->is_successor = kept_inherit(&k->kept);
	k->line = kept_take(&k->kept, KEEPER_FD_LINE);
	return k;
}

bool keeper_is_successor(const struct keeper *k)
{
	return k->is_successor;
}

int keeper_fd(const struct keeper *k, const char *name)
{
	return kept_find(&k->kept, name);
}

int keeper_take(struct keeper *k, const char *name)
{
	return kept_take(&k->kept, name);
}

static bool take_first(struct kept_fds *k, const char *prefix, struct kept_fd *out)
{
	for (size_t i = 0; i < k->count; i++) {
		if (strncmp(k->at[i].name, prefix, strlen(prefix)) != 0)
			continue;
		*out = k->at[i];
		k->at[i] = k->at[--k->count];
		return true;
	}
	return false;
}

int keeper_each(struct keeper *k, const char *prefix, int (*each)(void *arg, const char *name, int fd), void *arg)
{
	struct kept_fd one;
	int r = 0;
	while (r == 0 && take_first(&k->kept, prefix, &one))
		r = each(arg, one.name, one.fd);
	return r;
}

int keeper_become(struct keeper *k, char *const *words)
{
	int r = kept_pass(&k->kept);
	if (r < 0)
		return pl_fail(r, "what is kept: %s", strerror(-r));
	execv(words[0], words);
	r = pl_fail(-errno, "%s: %s", words[0], strerror(errno));
	kept_pass_not(&k->kept);
	return r;
}

/* ------------------------------------------------------------------ talking to it */

/* @fd goes along, unless it is -1. */
static int tell(const struct keeper *k, struct keeper_message *m, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (k->line < 0)
		return -ENOTCONN;
	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(k->line, &msg, MSG_NOSIGNAL) < 0 ? pl_fail(-errno, "the keeper: %s", strerror(errno)) : 0;
}

static int tell_text(const struct keeper *k, enum keeper_word word, const char *text)
{
	struct keeper_message m = {.word = (uint8_t)word};
	snprintf(m.text, sizeof(m.text), "%s", text);
	return tell(k, &m, -1);
}

static int tell_fd(const struct keeper *k, enum keeper_word word, const char *name, int fd)
{
	struct keeper_message m = {.word = (uint8_t)word};
	snprintf(m.name, sizeof(m.name), "%s", name);
	return tell(k, &m, fd);
}

/* A keeper that is dead shows at the line, and the next one gets all that is kept. */
static int unless_dead(int r)
{
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

int keeper_give(const struct keeper *k, const char *name, int fd)
{
	return tell_fd(k, KEEPER_GIVE, name, fd);
}

int keeper_keep(struct keeper *k, const char *name, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return pl_fail(-errno, "keep %s: %s", name, strerror(errno));
	if (!kept_put(&k->kept, name, copy, false))
		return pl_fail(-EMFILE, "more than %u descriptors to keep", KEEPER_FDS_MAX);
	return k->line < 0 ? 0 : unless_dead(tell_fd(k, KEEPER_KEEP, name, copy));
}

void keeper_why(struct keeper *k, const char *text)
{
	tell_text(k, KEEPER_WHY, text);
}

void pl_serve_cannot(const char *why)
{
	struct keeper *k = keeper_new();
	if (!k)
		return;
	if (k->line < 0 && k->is_successor)
		syslog(LOG_DAEMON | LOG_ERR, "ploop-server: %s", why);
	else if (k->line >= 0)
		keeper_why(k, why);
	keeper_free(k);
}

void keeper_stay(struct keeper *k, const char *why)
{
	tell_text(k, KEEPER_STAY, why);
}

void keeper_left(struct keeper *k)
{
	tell_text(k, KEEPER_LEFT, "");
}

/* ------------------------------------------------------------------ starting one */

/* @program gets its end of the line as fd 3; it detaches itself. The "@": see daemon_mark(). */
static int spawn(const char *program, const char *command_path, int line)
{
	extern char **environ;
	char *argv[] = {(char *)"@ploop-keeper", (char *)command_path, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;
	/* Out of the way of 3 first: dup2 of an fd onto itself would leave it close-on-exec. */
	autofd int high = fcntl(line, F_DUPFD_CLOEXEC, KEEPER_LINE_FD + 1);
	if (high < 0)
		return pl_fail(-errno, "cannot start %s: %s", program, strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, 0, 1);
	posix_spawn_file_actions_adddup2(&actions, 0, 2);
	posix_spawn_file_actions_adddup2(&actions, high, KEEPER_LINE_FD);
	int r = posix_spawn(&pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return pl_fail(-r, "cannot start %s: %s", program, strerror(r));
	int code = child_wait(pid);
	return code == 0 ? 0 : pl_fail(-EIO, "%s failed to start, code %d", program, code);
}

static int start_program(struct keeper *k)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return pl_fail(-errno, "life line: %s", strerror(errno));
	autofd int ours = ends[0];
	autofd int theirs = ends[1];
	int r = spawn(k->options.program, k->options.command_path, theirs);
	if (r < 0)
		return r;
	k->line = fd_steal(&ours);
	k->started_ns = pl_now_ns();
	for (size_t i = 0; r == 0 && i < k->kept.count; i++)
		r = tell_fd(k, KEEPER_KEEP, k->kept.at[i].name, k->kept.at[i].fd);
	return r;
}

static int keep_words(struct keeper *k, char *const *words)
{
	autofd int fd = memfd_create("ploop-words", MFD_CLOEXEC);
	bool written = fd >= 0;
	for (; written && *words; words++) {
		size_t bytes = strlen(*words) + 1;
		written = write(fd, *words, bytes) == (ssize_t)bytes;
	}
	return written ? keeper_keep(k, KEEPER_FD_WORDS, fd) : pl_fail(-errno, "memory for words: %s", strerror(errno));
}

static int keep_command_socket(struct keeper *k, const char *path)
{
	autofd int fd = -1;
	if (keeper_fd(k, KEEPER_FD_COMMAND) >= 0 && access(path, F_OK) == 0)
		return 0;
	int r = keeper_listen(path, &fd);
	return r < 0 ? r : keeper_keep(k, KEEPER_FD_COMMAND, fd);
}

static int tell_ready(const struct keeper *k)
{
	struct keeper_message m = {.word = KEEPER_READY, .mortal = k->options.mortal};
	return unless_dead(tell(k, &m, -1));
}

/* Whoever asks there would wait for ever. */
static void stop_listening(struct keeper *k)
{
	int fd = kept_take(&k->kept, KEEPER_FD_COMMAND);
	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------------ watching it */

static void readable(struct pl_io *io);

static void watch(struct keeper *k)
{
	k->armed = true;
	k->poll = (struct pl_io){.done = readable, .kind = PL_IO_POLL, .fd = k->line, .arg = POLLIN,
				 .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(k->loop, &k->poll);
}

static void restart(struct keeper *k)
{
	uint64_t now = pl_now_ns();
	k->deaths = now - k->started_ns < KEEPER_LIFE_NS ? k->deaths + 1 : 1;
	close(k->line);
	k->line = -1;
	int r = k->deaths < KEEPER_DEATHS_MAX ? keep_command_socket(k, k->options.command_path)
					      : pl_fail(-EIO, "it died too often in a row");
	if (r == 0)
		r = start_program(k);
	if (r == 0)
		r = tell_ready(k);
	if (r < 0) {
		stop_listening(k);
		pl_log(PL_LOG_ERROR, "keeper", "the keeper died, nobody would start us again: %s", pl_error());
		return;
	}
	pl_log(PL_LOG_WARN, "keeper", "the keeper died and was replaced");
	watch(k);
}

static void readable(struct pl_io *io)
{
	struct keeper *k = container_of(io, struct keeper, poll);
	struct keeper_message m;
	k->armed = false;
	if (k->stopping)
		return;
	ssize_t n = recv(k->line, &m, sizeof(m), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		restart(k);
		return;
	}
	watch(k);
	if (n == (ssize_t)sizeof(m) && m.word == KEEPER_LEAVE)
		k->options.leave(k->options.arg);
}

int keeper_start(struct keeper *k, struct pl_loop *loop, const struct keeper_options *options)
{
	k->options = *options;
	k->loop = loop;
	int r = keep_command_socket(k, options->command_path);
	if (r == 0)
		r = keep_words(k, options->words);
	if (r == 0 && k->line < 0)
		r = start_program(k);
	if (r == 0)
		r = tell_ready(k);
	if (r == 0)
		watch(k);
	else
		stop_listening(k);
	return r;
}

void keeper_stop(struct keeper *k)
{
	k->stopping = true;
	if (k->armed)
		pl_loop_cancel(k->loop, &k->poll);
	while (k->armed)
		if (pl_loop_step(k->loop, true) < 0)
			break;
}

void keeper_end(struct keeper *k)
{
	struct pollfd p = {.fd = k->line, .events = POLLIN};
	char byte;
	if (tell_text(k, KEEPER_END, "") == 0)
		while (poll(&p, 1, END_WAIT_MS) == 1 && recv(k->line, &byte, 1, MSG_DONTWAIT) > 0)
			;
}

void keeper_free(struct keeper *k)
{
	kept_close(&k->kept);
	if (k->line >= 0)
		close(k->line);
	free(k);
}
