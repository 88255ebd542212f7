/* The words of the program ploop-server: one table makes them of a struct pl_serve_options, reads them back, and prints
 * the help. */
#ifndef PLOOP_SERVER_ARGS_H
#define PLOOP_SERVER_ARGS_H

#include "ploop-serve.h"

#define SERVER_MAX_UIDS 64
#define SERVER_MAX_RESUME 160

struct server_args {
	struct pl_serve_options options; /* points into argv, which is changed, and into this */
	bool help;
	struct pl_image_ref images[PL_MAX_CHAIN];
	uint32_t uids[SERVER_MAX_UIDS];
	const char *resume[SERVER_MAX_RESUME];
};

/* -EINVAL and a sentence. */
int server_args_parse(struct server_args *args, int argc, char **argv);
void server_args_help(void);
/* What starts a server with these options once more, from any folder; @program: of the server. NULL-terminated, one
 * allocation, free() it. NULL: no memory. */
char **server_args_again(const struct pl_serve_options *options, const char *program);

/* Become the program of @options; with @before, run by these words. Returns only on failure. */
int server_args_exec(const struct pl_serve_options *options, const char *const *before);

#endif
