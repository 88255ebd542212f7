/* A disk that a server has open, found by any of its names: for commands that talk to the server and not to images. */
#ifndef PLOOP_CLI_SERVED_H
#define PLOOP_CLI_SERVED_H

#include "ploop-serve.h"

/* The descriptor that @word means: itself, or in its folder, or beside it when it is an image, or of the device.
 * One allocation. -ENOENT: there is no such thing · -ENOTSUP: a device of a list of images, which has none. */
int served_descriptor(const char *word, char **out);

/* Where those listen that have something of it open, NULL-terminated, one free(); some may be gone. */
int served_sockets(const char *word, char ***out);
/* Where its server listens; there may be none. */
int served_socket(const char *word, char *out, size_t out_bytes);
/* Its server. -ENOENT: no server has it open for writing; the sentence names @word. */
int served_connect(const char *word, struct pl_live **out);

#endif
