/* Transport "nbd", the server's part: our NBD server talks to this machine's kernel over a socket pair.
 *
 * The kernel does not shake hands: who connects it tells it what a handshake would have, so a connection begins with
 * the first request. It outlives the server it was made for in two ways:
 *
 *	the server leaves     it stops between two requests, and the keeper gives its end of the pair to the next one: the
 *	                      kernel sees nothing, and what it sends meanwhile waits in the socket
 *	the server dies       the pair ends with it, in the middle of anything; the keeper makes another at once, or the next
 *	                      server before it opens the disk, since the kernel sends again only what it looks at after
 *	                      that */
#ifndef PLOOP_NBDK_H
#define PLOOP_NBDK_H

#include "ploop-serve.h"

/* Connect a device of the kernel to the first export of @server; the device is found by its @backend, which is nobody
 * else's. The connection ends when the kernel is told to (nbdk_disconnect()). The errno of netlink. */
int nbdk_start(struct pl_server *server, const struct pl_disk *disk, const char *backend);

/* The device of that name, whose server died, goes on over *@fd, which is for pl_server_take_kernel(). -ENOENT: there
 * is no such device any more · the errno of netlink. */
int nbdk_resume(const char *backend, int *fd);

/* What the keeper of that device's server says in the next one's stead (KEEPER_FD_REJOIN): *@fd. -ENOENT: there is no
 * such device · the errno of netlink. */
int nbdk_rejoin_message(const char *backend, int *fd);

#endif
