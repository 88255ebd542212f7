/* The end of a served disk: what is unfinished in it is filled, unless nobody wants to wait for that. */
#ifndef PLOOP_SERVER_CLOSE_H
#define PLOOP_SERVER_CLOSE_H

#include "ploop.h"

struct server_close { /* zero at first */
	struct pl_disk *disk; /* not NULL: it is being filled */
	struct pl_change change;
	bool done;  /* @change is */
	bool leave; /* nobody wants to wait */
};

/* Close @disk and turn @loop meanwhile. What is not filled when server_close_leave() comes stays so, durable. */
int server_close_disk(struct server_close *c, struct pl_loop *loop, struct pl_disk *disk);
/* Do not fill, or no longer. */
void server_close_leave(struct server_close *c);

#endif
