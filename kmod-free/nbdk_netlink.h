/* The kernel's NBD client, told over netlink what to do. The kernel keeps the socket: whoever gave it may end.
 *
 * One connection and no time limit of the kernel's own, because of what kernels 6.1 to 6.18 do with a request that is
 * not answered:
 *
 *	several connections       after the block layer's 30 s the connection counts as dead and the request goes to the
 *	                          next one; when the last is used up it fails. A write that waits for space (D8) would
 *	                          fail, or be done twice, the second time over what was written since.
 *	one, timeout N            the connection counts as dead after N seconds; the same.
 *	one, timeout 0            it waits for ever.
 *
 * When the connection ends without being told to, because the server died, the device waits for another one: new
 * requests at the door, those that were sent until the block layer's timer looks at them, which it does each
 * NBDK_BEAT_MS: then they are sent again. A look that comes before there is another connection is lost, so the beat is
 * longer than a keeper takes to make it. A look comes in time as long as some request is always under way; after a
 * pause, and after a look that was lost, the block layer rounds its timer up, by 1.02 s (HZ 250, 1000) or 1.28 s
 * (HZ 100). The price is that with a server that is only slow, or a write that waits for space, each look
 * writes a line "Possible stuck request" to the kernel's log for each request. That cannot be had otherwise: how long a
 * request is waited for is fixed when it is sent, before anybody knows that it will wait, and a look is all that sends
 * it again. (dm-multipath would, without looks; but it cannot tell the host's EIO from a dead path.)
 *
 * Logical and physical block size are one number to nbd, and device-mapper's tables have none.
 *
 * A device carries the name we gave it (its backend), so that it is found when whoever made it died before it could
 * note the number, and so that a number that somebody else has by now is left alone. */
#ifndef PLOOP_NBDK_NETLINK_H
#define PLOOP_NBDK_NETLINK_H

#include <stdbool.h>
#include <stdint.h>

#define NBDK_BEAT_MS 500
#define NBDK_GONE_S  (10ull * 365 * 86400) /* how long a device waits: whoever gives up disconnects it */

struct nbdk_device {
	const char *backend;  /* its name */
	int socket_fd;        /* a connection whose handshake is over; stays the caller's too */
	uint64_t size_bytes;
	uint32_t block_bytes; /* logical block size */
	uint16_t flags;       /* transmission flags that the server sent */
};

/* Does the kernel have it? Loads the module. -ENOENT with modprobe's words. */
int nbdk_probe(void);

/* Connect a free device, which the kernel chooses: *@index. */
int nbdk_connect(const struct nbdk_device *device, uint64_t *index);

/* Give a device whose server died, or is dying just now, another connection, @socket_fd, which stays the caller's too:
 * it sends again what has no answer. */
int nbdk_reconnect(const char *backend, uint64_t index, int socket_fd);

/* The message by which another process does that once, as bytes to @out; there the socket has the number @socket_fd.
 * The kernel's answer is one errno; -ENOSPC: it has not seen yet that the old connection is dead. */
int nbdk_write_reconnect(const char *backend, uint64_t index, int socket_fd, int out);

/* The connected device whose backend begins with the same word. -ENOENT, without a sentence. */
int nbdk_find(const char *backend, uint64_t *index);

/* The backend of each connected device, until @each returns true. */
void nbdk_each(bool (*each)(void *arg, uint64_t index, const char *backend), void *arg);

/* End the connection of the device of that name, as far as there is one: its server reads the good-bye, requests that
 * have no answer fail. It stays connected, without a server, as long as it is open. */
int nbdk_disconnect(const char *backend);

#endif
