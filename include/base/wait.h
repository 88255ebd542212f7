/* Trying again until a deadline, with growing pauses. Times are pl_now_ns(). */
#ifndef PLOOP_BASE_WAIT_H
#define PLOOP_BASE_WAIT_H

#include "base/units.h"

#include <time.h>

#define WAIT_FIRST_NS (2 * NS_PER_MS)
#define WAIT_MOST_NS  (500 * NS_PER_MS)

struct wait {
	uint64_t deadline_ns, pause_ns;
};
#define WAIT_UNTIL(deadline) {.deadline_ns = (deadline), .pause_ns = WAIT_FIRST_NS}

/* Sleep a bit longer than the last time; a signal ends it early. False: the deadline is over. */
static inline bool wait_a_moment(struct wait *w, uint64_t now_ns)
{
	if (now_ns >= w->deadline_ns)
		return false;
	uint64_t ns = MIN(w->pause_ns, w->deadline_ns - now_ns);
	w->pause_ns = MIN(w->pause_ns * 2, WAIT_MOST_NS);
	nanosleep(&(struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)}, NULL);
	return true;
}

#endif
