/* The command socket of a keeper. */
#ifndef PLOOP_KEEPER_SOCKET_H
#define PLOOP_KEEPER_SOCKET_H

/* Listen at @path, mode 0600; what lies there is replaced: the caller owns the name. -errno. */
int keeper_listen(const char *path, int *fd);

#endif
