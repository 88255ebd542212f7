/* The control socket of one disk: listens, lets root and our own user in, moves bytes between clients and the machine
 * (control_conn.h) on the loop of the disk. */
#ifndef PLOOP_CONTROL_SERVER_H
#define PLOOP_CONTROL_SERVER_H

#include "control_conn.h"

struct control_server;

/* Listen at @path, mode 0600; what a dead server left there is replaced. @backend is copied, what it points to must
 * outlive the server. -EADDRINUSE a live one has it · -EEXIST it is no socket · -ENAMETOOLONG. */
int control_server_start(struct pl_loop *loop, const struct control_backend *backend, const char *path,
			 struct control_server **out);
/* The same with a socket that a predecessor made at @path and still listens: a copy of @fd is used. */
int control_server_take_over(struct pl_loop *loop, const struct control_backend *backend, const char *path, int fd,
			     struct control_server **out);
/* The listening socket, the server's own. */
int control_server_socket(const struct control_server *server);
/* Does a change of the chain run, or wait to be switched to? */
bool control_server_is_busy(const struct control_server *server);
/* Its clients, and the change that runs with how far it is, as a line. */
void control_server_dump(const struct control_server *server, void (*line)(void *arg, const char *text), void *arg);
/* A successor listens on: leave the socket where it is. */
void control_server_leave_socket(struct control_server *server);
/* Remove the socket, take no more requests, cancel what runs; clients are dropped when they have their answers. Returns
 * at once. */
void control_server_close(struct control_server *server);
/* And wait for what runs, which is cancelled, by turning the loop; abandon what is pushed, and free. NULL is fine. */
void control_server_stop(struct control_server *server);

/* The calls of @disk, which was opened with @chain, as a backend. Both must outlive it. */
struct control_engine {
	struct pl_disk *disk;
	const struct pl_chain_spec *chain;
	void (*hand_over)(void *arg, struct pl_change *change);
	void *arg; /* of hand_over */
};
struct control_backend control_engine_backend(struct control_engine *engine);

#endif
