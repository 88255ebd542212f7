/* Transport "nbd", the server's part: our NBD server talks to this machine's kernel over a socket pair. */
#ifndef PLOOP_NBDK_H
#define PLOOP_NBDK_H

#include "ploop-serve.h"

/* Connect a device of the kernel to the export of @server of that name; the device is found by its @backend, which is
 * nobody else's. @takes_over: it is there already, its server died or left; it goes on with us. Turns @loop until it is
 * connected. The connection ends when the kernel is told to (nbdk_disconnect()).
 * -ECONNABORTED: the server refused the export · the errno of netlink. */
int nbdk_start(struct pl_loop *loop, struct pl_server *server, const char *export_name, const char *backend,
	       bool takes_over);

#endif
