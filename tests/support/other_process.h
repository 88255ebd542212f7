/* Another process that does something, says that it has, and then stays until it is killed. */
#ifndef PLOOP_TEST_OTHER_PROCESS_H
#define PLOOP_TEST_OTHER_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

struct other_process {
	pid_t pid;
	pid_t killer;
};

/* @work runs in a child; returns when it has returned there. A child that dies before is a broken test. */
struct other_process other_process_start(void (*work)(void *arg), void *arg);
/* SIGKILL, after @delay_ms. */
void other_process_kill_later(struct other_process *p, uint32_t delay_ms);
void other_process_reap(struct other_process *p);

#endif
