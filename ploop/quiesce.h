/* Quiescing: a moment in which no request is under way, for whoever changes the chain.
 *
 *   quiesce_begin --> a running round ends --> requests are held --> those under way finish --> ready() --> quiesce_end
 *                                                   |
 *                                                   +-- not in time: released, ready() gets -EAGAIN
 *
 * Flushes that wait for a round are not waited for: they go on waiting, for the rounds after. First writes that have
 * written nothing yet are withdrawn, and decide anew afterwards. So a hold takes as long as the slowest I/O in flight,
 * and no sync. */
#ifndef PLOOP_QUIESCE_H
#define PLOOP_QUIESCE_H

#include "ploop.h"

struct quiesce {
	struct pl_disk *disk;
	void (*ready)(struct quiesce *q, int res); /* 0: nothing is in flight; -EAGAIN: not in time */
	struct pl_timer timer;
	uint64_t held_at_ns;
	uint64_t pause_ns; /* after quiesce_end(): how long requests were held */
};

/* @q is the caller's until ready() was called, and for res = 0 until quiesce_end(). One at a time. */
void quiesce_begin(struct pl_disk *d, struct quiesce *q, uint64_t wait_ns);
void quiesce_end(struct quiesce *q);

/* Something ended: is it time? */
void quiesce_poll_slow(struct pl_disk *d);
#define quiesce_poll(d)                                                                                                \
	do {                                                                                                           \
		if (unlikely((d)->quiesce != NULL))                                                                    \
			quiesce_poll_slow(d);                                                                          \
	} while (0)

#endif
