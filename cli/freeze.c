/* The guard knows two words. A mount that somebody else froze is not ours to thaw, so it thaws only what it froze. */
#include "cli/freeze.h"

#include "ploop-serve.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum word { WORD_FREEZE = 'f', WORD_THAW = 't' };

/* ------------------------------------------------------------------ the guard */

/* Close [@first, @end). */
static void close_between(int first, int end)
{
	if (first < end)
		close_range((unsigned)first, (unsigned)end - 1, 0);
}

/* Nobody else's signals end it, and it keeps nothing of ours open: no lock, no pipe. */
static void guard_detach(int mount_fd, int guard_fd)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	setsid();
	close_between(0, MIN(mount_fd, guard_fd));
	close_between(MIN(mount_fd, guard_fd) + 1, MAX(mount_fd, guard_fd));
	close_between(MAX(mount_fd, guard_fd) + 1, INT_MAX);
}

/* 1: @word was read; 0: the other side is gone; -ETIMEDOUT. */
static int guard_wait(int fd, int timeout_ms, char *word)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, timeout_ms) == 0)
		return -ETIMEDOUT;
	return read(fd, word, 1) == 1;
}

static void guard_run(int mount_fd, int guard_fd)
{
	bool frozen = false, late = false;
	char word;
	int r;
	while ((r = guard_wait(guard_fd, frozen ? FREEZE_LIMIT_MS : -1, &word)) != 0) {
		if (r == -ETIMEDOUT) {
			ioctl(mount_fd, FITHAW, 0);
			frozen = false;
			late = true;
			continue;
		}
		int32_t answer = late ? -ETIMEDOUT : 0;
		if (word == WORD_FREEZE || frozen)
			answer = ioctl(mount_fd, word == WORD_FREEZE ? FIFREEZE : FITHAW, 0) < 0 ? -errno : 0;
		frozen = word == WORD_FREEZE && answer == 0;
		if (send(guard_fd, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
	if (frozen)
		ioctl(mount_fd, FITHAW, 0);
}

/* ------------------------------------------------------------------ our side */

static int start_guard(struct freeze *f)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return pl_fail(-errno, "socketpair: %s", strerror(errno));
	f->guard = fork();
	if (f->guard == 0) {
		guard_detach(f->mount_fd, pair[1]);
		guard_run(f->mount_fd, pair[1]);
		_exit(0);
	}
	close(pair[1]);
	f->guard_fd = pair[0];
	return f->guard < 0 ? pl_fail(-errno, "fork: %s", strerror(errno)) : 0;
}

/* Where the disk is mounted; its server is the one that has it for writing. */
static int find_mount_point(const char *descriptor, char **out)
{
	struct pl_device *device = NULL;
	autofree char **points = NULL;
	int r = pl_device_find(descriptor, NULL, &device);
	if (r == 0)
		r = pl_device_mount_points(device, &points);
	pl_device_free(device);
	if (r == -ENOENT || (r == 0 && !points[0]))
		return pl_fail(-ENOENT, "%s: its file system is not mounted on this machine, so it cannot be frozen",
			       descriptor);
	if (r < 0)
		return r;
	*out = strdup(points[0]);
	return *out ? 0 : pl_fail(-ENOMEM, "no memory for a path");
}

int freeze_begin(const struct pl_bundle *bundle, struct freeze *out)
{
	struct freeze f = {.mount_fd = -1, .guard_fd = -1, .guard = -1};
	int r = find_mount_point(pl_bundle_path(bundle), &f.mount_point);
	if (r == 0) {
		f.mount_fd = open(f.mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = f.mount_fd < 0 ? pl_fail(-errno, "%s: %s", f.mount_point, strerror(errno)) : start_guard(&f);
	}
	if (r < 0) {
		freeze_end(&f);
		return r;
	}
	*out = f;
	return 0;
}

/* What the guard answers; -EPIPE when it is gone. */
static int ask_guard(struct freeze *f, char word)
{
	int32_t answer;
	ssize_t n;
	if (send(f->guard_fd, &word, 1, MSG_NOSIGNAL) != 1)
		return -EPIPE;
	do
		n = recv(f->guard_fd, &answer, sizeof(answer), MSG_WAITALL);
	while (n < 0 && errno == EINTR);
	return n == sizeof(answer) ? answer : -EPIPE;
}

int freeze_set(void *arg, bool freeze)
{
	struct freeze *f = arg;
	int r = ask_guard(f, freeze ? WORD_FREEZE : WORD_THAW);
	if (r == -EPIPE && !freeze) /* somebody killed it: its work is ours */
		r = ioctl(f->mount_fd, FITHAW, 0) < 0 ? -errno : 0;
	if (r == -ETIMEDOUT)
		return pl_fail(r, "%s was thawed after %d s, before the snapshot was there", f->mount_point,
			       FREEZE_LIMIT_MS / 1000);
	return r < 0 ? pl_fail(r, "%s %s: %s", freeze ? "freeze" : "thaw", f->mount_point, strerror(-r)) : 0;
}

void freeze_end(struct freeze *f)
{
	if (f->guard_fd >= 0)
		close(f->guard_fd);
	if (f->guard > 0)
		while (waitpid(f->guard, NULL, 0) < 0 && errno == EINTR)
			;
	if (f->mount_fd >= 0)
		close(f->mount_fd);
	free(f->mount_point);
	*f = (struct freeze){.mount_fd = -1, .guard_fd = -1, .guard = -1};
}
