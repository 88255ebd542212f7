/* Listening sockets: made safely, accepted from, removed. */
#ifndef PLOOP_NBDS_LISTEN_H
#define PLOOP_NBDS_LISTEN_H

#include "nbds_conn.h"

#include <sys/types.h>

struct nbds_listener {
	struct nbds_listener *next;
	struct pl_loop *loop;
	int fd;
	bool armed, closing;
	char *path; /* of a unix socket we made; NULL: not ours to remove */
	dev_t dev;  /* which file that is */
	ino_t ino;
	enum nbds_tls_policy tls;
	struct pl_io poll;
	struct pl_timer retry;
	void (*accepted)(void *arg, struct nbds_listener *listener, int fd);
	void *arg;
};

/* A listening socket, close-on-exec, non-blocking. Negative errno with a sentence. */
int nbds_socket_unix(const char *path, struct nbds_listener *listener);
/* Go on with @fd, which a predecessor made at @path: it is @listener's from here on. -ENOENT: the name is gone. */
int nbds_socket_adopt(int fd, const char *path, struct nbds_listener *listener);
/* Leave the name when it stops: a successor listens on. */
void nbds_listener_leave_name(struct nbds_listener *listener);
/* One per address of @host_port, at most @max; returns the count. */
int nbds_socket_tcp(const char *host_port, int *fds, size_t max);

/* Accept from @listener->fd until stopped. The memory stays needed until @armed is false. */
void nbds_listener_start(struct nbds_listener *listener);
void nbds_listener_stop(struct nbds_listener *listener);
void nbds_listener_free(struct nbds_listener *listener);

/* "unix:uid=0,pid=1" or "10.0.0.1:123"; false: a unix peer that is neither root, nor us, nor among @uids. */
bool nbds_peer_is_allowed(int fd, const uint32_t *uids, size_t uid_count, char *name, size_t name_bytes);

#endif
