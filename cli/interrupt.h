/* SIGINT, SIGTERM and SIGHUP for commands that have something to clean up. */
#ifndef PLOOP_CLI_INTERRUPT_H
#define PLOOP_CLI_INTERRUPT_H

#include <stdbool.h>

/* From here on these signals only set a flag and cut system calls short. */
void interrupt_catch(void);
bool interrupt_seen(void);
/* 0, or -EINTR with a sentence when one came. */
int interrupt_check(void);

#endif
