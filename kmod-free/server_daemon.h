/* What makes a program a good service: to the background with its errors told, pid file, inherited sockets, log. */
#ifndef PLOOP_SERVER_DAEMON_H
#define PLOOP_SERVER_DAEMON_H

#include <stdbool.h>

/* Where log lines go: stderr, or the system's log once in the background. */
void daemon_log_start(bool background, const char *debug_categories);

/* Go on in a child with a session of its own. The caller's process waits until daemon_ready() and then ends with 0; if
 * the child ends before, with its exit code. What the child prints until then reaches the caller's stderr. */
int daemon_begin(int *ready_fd);
/* Up and running: let the caller go, and let go of its terminal. */
void daemon_ready(int *ready_fd);

/* We and those we start serve a block device of this machine: be the last to be killed for memory, allocate without
 * waiting for writes, which may be to that device, and keep in memory what was touched once. What is not permitted is
 * left. Tables that are cleared meanwhile: base/reserve.h. */
void daemon_shield(void);

/* A host that goes down kills every process before it unmounts the last file systems, but those of root whose first
 * word begins with "@": we serve a device that such a file system may be on. @word is argv[0]. */
void daemon_mark(char *word);

/* Write our pid, as a whole file or not at all. */
int daemon_write_pid(const char *path);

/* Sockets handed over by socket activation are descriptors 3, 4 …: their count, or 0. Forgets them for children. */
int daemon_inherited_sockets(void);

#endif
