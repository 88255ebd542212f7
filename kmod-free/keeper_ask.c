/* Asking a keeper, by the path of its command socket. */
#include "kmod-free/keeper.h"

#include "base/cleanup.h"
#include "kmod-free/keeper_socket.h"
#include "ploop.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define ANSWER_WAIT_S 2 /* for what is answered at once */

static int address_of(const char *path, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	size_t bytes = strlen(path) + 1;
	if (bytes > sizeof(out->sun_path))
		return pl_fail(-ENAMETOOLONG, "%s is too long for a socket's name", path);
	memcpy(out->sun_path, path, bytes);
	return 0;
}

int keeper_listen(const char *path, int *out)
{
	struct sockaddr_un address;
	int r = address_of(path, &address);
	if (r < 0)
		return r;
	autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0)
		fchmod(fd, 0600); /* the mode bind() gives */
	unlink(path);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4) < 0)
		return pl_fail(-errno, "cannot listen at %s: %s", path, strerror(errno));
	*out = fd_steal(&fd);
	return 0;
}

static int dial(const char *path, int *out)
{
	struct sockaddr_un address;
	int r = address_of(path, &address);
	if (r < 0)
		return r;
	autofd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return pl_fail(-errno, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ENOENT || errno == ECONNREFUSED
			       ? pl_fail(-ENOENT, "%s: there is no keeper", path)
			       : pl_fail(-errno, "%s: %s", path, strerror(errno));
	*out = fd_steal(&fd);
	return 0;
}

int keeper_ask(const char *path, enum keeper_command command, struct keeper_state *state)
{
	struct keeper_state answer;
	char byte = (char)command;
	autofd int fd = -1;
	int r = dial(path, &fd);
	if (r < 0)
		return r;
	struct timeval patience = {.tv_sec = ANSWER_WAIT_S};
	if (command == KEEPER_STATE || command == KEEPER_RETRY)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	ssize_t n = send(fd, &byte, 1, MSG_NOSIGNAL);
	while (n == 1 && (n = recv(fd, &answer, sizeof(answer), 0)) < 0 && errno == EINTR)
		n = 1;
	if (n != (ssize_t)sizeof(answer))
		return n < 0 && errno == EAGAIN ? pl_fail(-ETIMEDOUT, "%s: the keeper does not answer", path)
						: pl_fail(-ENOENT, "%s: the keeper ended", path);
	while (command == KEEPER_ABORT && recv(fd, &byte, 1, 0) > 0)
		; /* until it is gone */
	answer.text[KEEPER_TEXT_BYTES - 1] = '\0';
	if (state)
		*state = answer;
	return answer.err < 0 ? pl_fail(answer.err, "%s", answer.text) : 0;
}
