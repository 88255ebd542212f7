/* Telling the service manager that started us how we are: the protocol of sd_notify(3), lines to the socket that
 * NOTIFY_SOCKET names. */
#ifndef PLOOP_NOTIFY_H
#define PLOOP_NOTIFY_H

#include <stdbool.h>

/* Connected to the manager's socket, which our children do not hear of. -1: nobody wants to know, or cannot be told, or
 * we are in the @background and not the process that the manager started. */
int notify_open(bool background);

/* @lines as sd_notify(3) has them, "READY=1\nSTATUS=…". @fd may be -1. Never blocks; the manager's loss is not ours. */
void notify_tell(int fd, const char *lines);

#endif
