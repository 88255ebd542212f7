/* The programs of a keeper: the server that it starts, and its own, which may be replaced while it runs. */
#ifndef PLOOP_KEEPER_PROGRAM_H
#define PLOOP_KEEPER_PROGRAM_H

#include "kmod-free/keeper_kept.h"

/* After a fork: what the kept words start, with @line and all of @kept. A failure is told over @line. */
_Noreturn void keeper_become_server(const struct kept_fds *kept, int line);

/* Remember where our program lies. */
void keeper_program_note(void);
/* Does another program lie there now? */
bool keeper_program_is_replaced(void);
/* Become it, at the command socket @path, with @all. Returns when that is not possible, with errno. */
void keeper_program_become(const struct kept_fds *all, const char *path);

#endif
