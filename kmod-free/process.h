/* Processes that are not our children: is it still the one we mean, wait for its end. */
#ifndef PLOOP_PROCESS_H
#define PLOOP_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* When it was started, in ticks after boot; 0: there is no such process, or it is a zombie. */
uint64_t process_start_ticks(uint64_t pid);

/* Is @pid still the process that was started at @start? */
bool process_is(uint64_t pid, uint64_t start);

/* The process whose first word begins with "@" (daemon_mark()) and ends in @program, and which has the @words, up to a
 * NULL, one behind the other; of several the youngest. 0: there is none. */
uint64_t process_find(const char *program, const char *const *words);

/* Send @signal to it. -ESRCH: it has ended. */
int process_signal(uint64_t pid, uint64_t start, int signal);

/* Wait until it is not. -ETIMEDOUT. */
int process_wait_end(uint64_t pid, uint64_t start, uint64_t deadline_ns);

#endif
