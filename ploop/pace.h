/* How work of our own beside the guest leaves the disk to it: small steps, and a rest after each. */
#ifndef PLOOP_PACE_H
#define PLOOP_PACE_H

#include "base/units.h"
#include "ploop/disk.h"

#define PACE_STEP_BYTES	  (64u << 10) /* a request of the guest waits behind one such read or write */
#define PACE_SHARE	  3u           /* of the time is the guest's, to each that is ours */
#define PACE_MOST_NS	  (100 * NS_PER_MS)
#define PACE_PRESENT_NS	  (250 * NS_PER_MS)

static inline uint64_t pace_rest_ns(uint64_t took_ns)
{
	return MIN(took_ns * PACE_SHARE, PACE_MOST_NS);
}

struct pace_guest { /* zero: never seen */
	uint64_t requests, seen_ns;
};

/* Has the guest asked for anything in the last quarter of a second? One that leaves the disk some time does not do so
 * within every step of ours. */
static inline bool pace_guest_works(struct pace_guest *g, const struct pl_disk *d)
{
	uint64_t now_ns = pl_now_ns();
	if (g->requests != d->guest_requests) {
		g->requests = d->guest_requests;
		g->seen_ns = now_ns;
	}
	return g->seen_ns && now_ns - g->seen_ns < PACE_PRESENT_NS;
}

#endif
