#include "kmod-free/process.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "ploop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

uint64_t process_start_ticks(uint64_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* pid (name) state and 18 numbers before it; the name may contain anything. */
	const char *p = strrchr(text, ')');
	char state;
	uint64_t start = 0;
	if (!p || sscanf(p + 1,
			 " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64, &state,
			 &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

bool process_is(uint64_t pid, uint64_t start)
{
	return pid != 0 && start != 0 && process_start_ticks(pid) == start;
}

int process_signal(uint64_t pid, uint64_t start, int signal)
{
	if (!process_is(pid, start) || kill((pid_t)pid, signal) != 0)
		return pl_fail(-ESRCH, "process %" PRIu64 " has ended", pid);
	return 0;
}

int process_wait_end(uint64_t pid, uint64_t start, uint64_t deadline_ns)
{
	struct wait wait = WAIT_UNTIL(deadline_ns);
	while (process_is(pid, start))
		if (!wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-ETIMEDOUT, "process %" PRIu64 " still runs", pid);
	return 0;
}
