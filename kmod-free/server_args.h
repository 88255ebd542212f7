/* The words of the program ploop-server: one table makes them of a struct pl_serve_options, reads them back, and prints
 * the help. */
#ifndef PLOOP_SERVER_ARGS_H
#define PLOOP_SERVER_ARGS_H

#include "ploop-serve.h"

#define SERVER_MAX_UIDS 64

struct server_args {
	struct pl_serve_options options; /* points into argv, which is changed, and into this */
	bool help;
	struct pl_image_ref images[PL_MAX_CHAIN];
	uint32_t uids[SERVER_MAX_UIDS];
};

/* -EINVAL and a sentence. */
int server_args_parse(struct server_args *args, int argc, char **argv);
void server_args_help(void);

#endif
