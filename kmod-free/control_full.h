/* Beside the control socket of a disk whose writes wait for space on the host: a file SOCKET.full with errno and the
 * image that cannot grow. So whoever lists a hundred disks reads files, and wakes no server. */
#ifndef PLOOP_CONTROL_FULL_H
#define PLOOP_CONTROL_FULL_H

#include "ploop.h"

#define CONTROL_FULL_SUFFIX ".full"

/* @stat->full_ns is not 0: the file is there. Failing is logged, nothing depends on it. */
void control_full_note(const char *socket, const struct pl_disk_stat *stat);
void control_full_clear(const char *socket);

#endif
