/* Inside running disks: what device.c, device_find.c and device_server.c share. */
#ifndef PLOOP_DEVICE_H
#define PLOOP_DEVICE_H

#include "kmod-free/transport.h"

/* device_server.c: start a server in the background and wait until it is ready; sets server_pid and server_start. */
int device_start_server(struct pl_device *device, const struct pl_serve_options *serve);
/* Wait until it ended, and will not be started again. */
int device_await_server(const struct pl_device *device, uint64_t deadline_ns);
/* Is the top image closed clean, or left unfinished as pl_device_leave() wants it? If its server died, open and
 * close it once, which repairs it. */
int device_ensure_clean(const struct pl_device *device);

/* device_find.c: "ploop10", "/dev/ploop10", "/dev/mapper/ploop10p1" -> "ploop10". False: no such form. */
bool device_name_of(const char *word, char name[32]);
/* Remove what crashed mounts left, as far as nothing uses it. */
void device_clean_stale(void);

/* restore.c: make entries of those that run without one; each is told in the log. */
void device_restore(void);

/* device.c: the images by their whole paths. */
int device_copy_images(struct pl_device *device, const struct pl_chain_spec *chain);
/* All of it, as far as it is there; the caller holds the entry's lock. */
int device_take_down(const struct pl_device *device, uint64_t deadline_ns);

#endif
