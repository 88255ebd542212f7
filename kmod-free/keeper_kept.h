/* What a keeper holds for the next server, and a server knows to be held: descriptors by name. They outlive the program
 * that has them: whoever becomes another one passes them, and that one inherits them. */
#ifndef PLOOP_KEEPER_KEPT_H
#define PLOOP_KEEPER_KEPT_H

#include "kmod-free/keeper.h"

#include <stddef.h>

struct kept_fds {
	struct kept_fd {
		char name[KEEPER_NAME_BYTES];
		int fd;
		bool once; /* for the next server alone */
	} at[KEEPER_FDS_MAX];
	size_t count;
};

/* -1: there is none of that name. */
int kept_find(const struct kept_fds *k, const char *name);
/* @fd is the keeper's from here on, in place of one of the same name. False: there is no room, and it is closed. */
bool kept_put(struct kept_fds *k, const char *name, int fd, bool once);
/* The caller's from here on. -1: there is none of that name. */
int kept_take(struct kept_fds *k, const char *name);
/* The next server has those that were for it alone. */
void kept_forget_given(struct kept_fds *k);
void kept_close(struct kept_fds *k);

/* For the program that this process is about to become: all of them stay open, the environment tells which is which.
 * -errno: as before. */
int kept_pass(const struct kept_fds *k);
/* It did not become one. */
void kept_pass_not(const struct kept_fds *k);
/* What was passed to this program is in @k, once. False: nothing was. */
bool kept_inherit(struct kept_fds *k);

#endif
