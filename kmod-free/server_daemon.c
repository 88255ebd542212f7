#include "server_daemon.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "ploop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <syslog.h>

/* ------------------------------------------------------------------ log */

static void log_to_stderr(void *arg, enum pl_log_level level, const char *category, const char *line)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	fprintf(stderr, "ploop-server: %s: %s: %s\n", names[level], category, line);
}

static void log_to_syslog(void *arg, enum pl_log_level level, const char *category, const char *line)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	syslog(priorities[level], "%s: %s", category, line);
}

void daemon_log_start(bool background, const char *debug_categories)
{
	enum pl_log_level max = debug_categories ? PL_LOG_DEBUG : background ? PL_LOG_INFO : PL_LOG_WARN;
	if (background)
		openlog("ploop-server", LOG_PID, LOG_DAEMON);
	pl_log_set(background ? log_to_syslog : log_to_stderr, NULL, max, debug_categories);
}

/* ------------------------------------------------------------------ background */

_Noreturn static void wait_for_child(pid_t child, int fd)
{
	char byte;
	ssize_t n;
	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	if (n == 1)
		_exit(0);
	int code = child_wait(child);
	_exit(code > 0 ? code : 1);
}

int daemon_begin(int *ready_fd)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return pl_fail(-errno, "pipe: %s", strerror(errno));
	fflush(NULL);
	pid_t child = fork();
	if (child < 0) {
		int r = pl_fail(-errno, "fork: %s", strerror(errno));
		close(pipe_fds[0]);
		close(pipe_fds[1]);
		return r;
	}
	close(pipe_fds[child > 0 ? 1 : 0]);
	if (child > 0)
		wait_for_child(child, pipe_fds[0]);
	setsid();
	*ready_fd = pipe_fds[1];
	return 0;
}

void daemon_ready(int *ready_fd)
{
	if (*ready_fd < 0)
		return;
	autofd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd <= 2 && null >= 0; fd++)
		dup2(null, fd);
	if (chdir("/") < 0 || write(*ready_fd, "", 1) != 1)
		pl_log(PL_LOG_WARN, "serve", "the process that started us is gone");
	close(*ready_fd);
	*ready_fd = -1;
}

/* What has been touched stays, of the program and of its tables. Only with the right to any amount of it: with less,
 * memory that is needed later might be refused. */
static bool may_lock_any(void)
{
	static const struct rlimit any = {RLIM_INFINITY, RLIM_INFINITY};
	struct __user_cap_header_struct us = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct may[_LINUX_CAPABILITY_U32S_3];
	return setrlimit(RLIMIT_MEMLOCK, &any) == 0 ||
	       (syscall(SYS_capget, &us, may) == 0 && may[0].effective >> CAP_IPC_LOCK & 1);
}

static int lock_memory(void)
{
	if (!may_lock_any())
		return -EPERM;
	return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 ? -errno : 0;
}

void daemon_shield(void)
{
	static const char last[] = "-1000";
	autofd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, last, strlen(last)) < 0)
		pl_log(PL_LOG_DEBUG, "serve", "oom_score_adj: %s", strerror(errno));
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		pl_log(PL_LOG_DEBUG, "serve", "PR_SET_IO_FLUSHER: %s", strerror(errno));
	int r = lock_memory();
	if (r < 0)
		pl_log(PL_LOG_DEBUG, "serve", "memory is not locked: %s", strerror(-r));
}

void daemon_mark(char *word)
{
	word[0] = '@';
}

/* ------------------------------------------------------------------ pid file, sockets */

int daemon_write_pid(const char *path)
{
	autofree char *temporary = NULL;
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", getpid());
	if (asprintf(&temporary, "%s.%d", path, getpid()) < 0) {
		temporary = NULL;
		return pl_fail(-ENOMEM, "no memory for the pid file");
	}
	autofd int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	if (write(fd, text, (size_t)n) == n && rename(temporary, path) == 0)
		return 0;
	int r = pl_fail(-errno, "%s: %s", path, strerror(errno));
	unlink(temporary);
	return r;
}

int daemon_inherited_sockets(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	long n = pid && count && strtol(pid, NULL, 10) == getpid() ? strtol(count, NULL, 10) : 0;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return n > 0 && n < 64 ? (int)n : 0;
}
