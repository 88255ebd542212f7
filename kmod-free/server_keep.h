/* The keeper of a ploop-server: what it keeps, and the words that start the next one. */
#ifndef PLOOP_SERVER_KEEP_H
#define PLOOP_SERVER_KEEP_H

#include "keeper.h"
#include "server_args.h"

/* Names of what is kept. */
#define KEPT_FUSE     "fuse"
#define KEPT_GREETING "fuse-greeting"
#define KEPT_CONTROL  "control"
#define KEPT_MANAGER  "manager" /* of services: notify_open() */

struct server_keep {
	struct keeper *keeper; /* NULL: nobody could start us again. It may be one without a process of its own */
	bool runs;             /* there is such a process */
	char *program;         /* the keeper's */
	char **again;          /* what starts a successor; NULL: not yet */
};

/* @args may be such that nobody could start us again. Paths of images become whole ones, for a successor
 * stands elsewhere. */
void server_keep_init(struct server_keep *k, struct server_args *args);
bool server_keep_is_successor(const struct server_keep *k);
/* What a predecessor left under @name; -1. */
int server_keep_fd(const struct server_keep *k, const char *name);
/* The same, the caller's from here on. */
int server_keep_take(struct server_keep *k, const char *name);
/* keeper_each(). */
int server_keep_each(struct server_keep *k, const char *prefix, int (*each)(void *arg, const char *name, int fd),
		     void *arg);
/* For the next server alone. A failure is a warning. */
void server_keep_give(struct server_keep *k, const char *name, int fd);
/* A failure is a warning: what cannot be kept still works. */
void server_keep_hold(struct server_keep *k, const char *name, int fd);
/* We are ready; a keeper is started if one is wanted. Its callback and its failure are as in keeper.h; a failure is a
 * warning. */
void server_keep_start(struct server_keep *k, struct pl_loop *loop, const struct pl_serve_options *options, bool mortal,
		       void (*leave)(void *arg), void *arg);
/* The loop is about to end. */
void server_keep_stop(struct server_keep *k);
/* @leaving: a successor goes on, and without a keeper this process becomes it: 0 or no return, or -errno. Else the
 * keeper ends too. */
int server_keep_fini(struct server_keep *k, bool leaving);

/* The path of a program that lies beside ours. -ENOENT. */
int server_find_beside(const char *name, char *out, size_t out_bytes);

#endif
