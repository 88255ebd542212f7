/* The end of a child process. */
#ifndef PLOOP_BASE_CHILD_H
#define PLOOP_BASE_CHILD_H

#include <errno.h>
#include <sys/types.h>
#include <sys/wait.h>

/* Wait for it, whatever signals come. Its exit code; -1: a signal killed it, or it is no child of ours. */
static inline int child_wait(pid_t pid)
{
	int status;
	pid_t ended;
	while ((ended = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
		;
	return ended == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
