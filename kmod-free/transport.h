/* How the bytes of a disk get from its server to a block device of the kernel.
 *
 *	probe -> prepare -> (the server starts) -> attach -> … in use … -> detach -> (the server ends)
 *
 * A transport is one file with one such table, and a line in transport.c. It says to the server what to offer, makes
 * the block device and takes it down; names (front.h), registry and server process are the same for all (device.c). */
#ifndef PLOOP_TRANSPORT_H
#define PLOOP_TRANSPORT_H

#include "kmod-free/nbdk_name.h"
#include "ploop-serve.h"

#include <limits.h>

struct transport_plan { /* what the transport tells the server; strings live here */
	char fuse_mount_point[PATH_MAX];
	char nbd_name[NBDK_NAME_BYTES];
};

struct transport {
	const char *name;
	/* 0, or the errno and sentence of what is missing here. */
	int (*probe)(void);
	/* Before the server starts: fill in what it shall offer. */
	int (*prepare)(const struct pl_device *device, struct transport_plan *plan, struct pl_serve_options *serve);
	/* The server is ready: make the block device; sets raw_dev and backing. */
	int (*attach)(struct pl_device *device);
	/* Its server is dead for good: let requests that wait for another one fail. NULL: none wait. */
	int (*abandon)(const struct pl_device *device);
	/* Take it down, also when it is half made or its server is dead; the server ends by itself thereafter.
	 * -EBUSY: it was still in use at @deadline_ns. The front is gone already. */
	int (*detach)(const struct pl_device *device, uint64_t deadline_ns);
};

extern const struct transport transport_nbd, transport_fuse;

/* By name; NULL or "auto": the first that works here. -EINVAL: no such name · -ENODEV: none works, the sentence
 * says what each lacks. */
int transport_choose(const char *name, const struct transport **out);
/* What waits for a server fails; not an error: nothing waits. */
int transport_abandon(const struct pl_device *device);
/* The one of a running disk. -EINVAL. */
int transport_find(const char *name, const struct transport **out);

#endif
