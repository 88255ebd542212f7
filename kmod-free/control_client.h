/* The client's side of the control protocol, by the path of the socket. */
#ifndef PLOOP_CONTROL_CLIENT_H
#define PLOOP_CONTROL_CLIENT_H

#include "ploop.h"

/* As pl_live_connect(). */
int control_connect(const char *path, struct pl_live **out);

/* control_path.c: remove the socket that a dead server of the bundle with @descriptor left. */
void control_path_forget(const char *descriptor);

#endif
