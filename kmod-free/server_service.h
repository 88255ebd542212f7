/* A served disk from inside: what the program (server_main.c) and its end (server_stop.c) share. */
#ifndef PLOOP_SERVER_SERVICE_H
#define PLOOP_SERVER_SERVICE_H

#include "control_server.h"
#include "fuse.h"
#include "server_close.h"
#include "server_keep.h"

#include <sys/signalfd.h>

struct service {
	const struct pl_serve_options *options;
	int inherited; /* sockets of socket activation */
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct pl_server *server;
	int kernel_fd; /* of a successor: the kernel's connection; -1: it has none */
	struct fuse_export *fuse;
	struct control_engine engine;
	struct control_server *control;
	struct server_keep keep;
	bool leave_wanted, leaving;
	struct pl_change *handover; /* NULL: nobody asked for one */
	uint64_t asked_ns;
	struct pl_timer patience;
	bool background, stopping, drained, signal_armed;
	bool closing; /* clients, FUSE and control are gone */
	struct server_close end;
	char *pid_path; /* to remove at the end */
	int manager;    /* notify_open() */
	int signal_fd;
	struct pl_io signal_io;
	struct signalfd_siginfo signal;
	struct pl_timer drain;
};

#define SERVICE_LEAVE_NS (5 * NS_PER_S) /* for requests in flight to finish, when we are asked to leave */

/* ---- server_handover.c */

/* The backend's hand_over, with the service as arg; what the NBD server calls when its clients rest. */
void service_hand_over(void *arg, struct pl_change *change);
void service_rested(void *arg);
/* If one is under way: it comes to nothing, because of @err and the sentence. */
void service_stay(struct service *s, int err);
/* What a predecessor's clients and listeners are. -errno. */
int service_take_over(struct service *s);

/* ---- server_stop.c */

/* For the NBD server and the FUSE export, with the service as arg: no client is left; the mount is gone. */
void service_drained(void *arg);
void service_unmounted(void *arg);
/* No new clients; those there are may finish what is under way for so long, but the kernel's connection is left for a
 * successor. The last of them ends the loop. */
void service_leave_connections(struct service *s, uint64_t patience_ns);
/* From now on signals come to the loop, when it awaits them. */
int service_take_signals(struct service *s);
void service_await_signal(struct service *s);

#endif
