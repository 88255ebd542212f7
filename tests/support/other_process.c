#include "tests/support/other_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/invariant.h"

struct other_process other_process_start(void (*work)(void *arg), void *arg)
{
	int ready[2];
	invariant(pipe(ready) == 0);
	pid_t pid = fork();
	invariant(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(arg);
		invariant(write(ready[1], "r", 1) == 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	char byte;
	invariant(read(ready[0], &byte, 1) == 1);
	close(ready[0]);
	return (struct other_process){.pid = pid};
}

void other_process_kill_later(struct other_process *p, uint32_t delay_ms)
{
	if (delay_ms == 0) {
		kill(p->pid, SIGKILL);
		return;
	}
	p->killer = fork();
	invariant(p->killer >= 0);
	if (p->killer > 0)
		return;
	usleep(delay_ms * 1000);
	kill(p->pid, SIGKILL);
	_exit(0);
}

void other_process_reap(struct other_process *p)
{
	waitpid(p->pid, NULL, 0);
	if (p->killer)
		waitpid(p->killer, NULL, 0);
}
