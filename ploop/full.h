/* D8: no space on the host is not an error for the guest. What finds none waits where it stands (fragments: frag.c,
 * the growth of a file: space.c, a round: commit.c) and is tried again, from a timer or when told. Here: since when,
 * and why.
 *
 *   full_began() --> since_ns is set, told once --> … tried again … --> nothing waits: full_poll() --> over, told */
#ifndef PLOOP_FULL_H
#define PLOOP_FULL_H

#include <stdbool.h>
#include <stdint.h>

struct pl_disk;

struct full {
	uint64_t since_ns; /* 0: nothing waits */
	uint64_t ever;     /* times that something began to */
	uint32_t frags;    /* fragments whose write does, also while it is tried again */
	int error;
	const char *path;  /* of the image that should grow: it stays while something waits */
	void (*changed)(void *arg, bool full); /* NULL: nobody wants to know */
	void *arg;
};

/* Shall a request of the guest wait, rather than fail? */
bool full_waits(const struct pl_disk *d);
/* Something waits, @res is why; the timer runs from now on. */
void full_began(struct pl_disk *d, const char *path, int res);
/* Something waits no longer: is it over? */
void full_poll(struct pl_disk *d);
/* Fragments that wait for a file to grow. */
uint32_t full_waiters(const struct pl_disk *d);

#endif
