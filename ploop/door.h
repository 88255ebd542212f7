/* The door of a disk: where the guest's requests wait when it has limits (pl_disk_set_limits()).
 *
 *   pl_submit --> [no limits, or a flush] -----------------> req_enter
 *             --> waits: a queue of reads, one of changes --> let through when both limits allow it
 *
 * A limit is a rate and the time until which it is used up: a request may pass when that is no further ahead than the
 * burst, and moves it on by what it costs. So the rate is kept to the nanosecond, however late a timer fires. Of two
 * sides that wait, the one that has had less goes first, and within a side who came first. What is ours (merges) does
 * not come this way. */
#ifndef PLOOP_DOOR_H
#define PLOOP_DOOR_H

#include "base/list.h"
#include "ploop.h"

#define DOOR_BURST_MS     100u
#define DOOR_MAX_BURST_MS 60000u

enum { DOOR_READS, DOOR_CHANGES, DOOR_SIDES };

struct rate {
	uint64_t per_s;   /* 0: no limit */
	uint64_t used_ns; /* until then it is used up */
};

struct door_side {
	struct queue waiting;
	uint64_t turn_ns; /* what it has had, in time at the limit: the lower goes first */
};

struct door {
	bool limited;
	struct pl_limits limits;
	struct rate bytes, requests;
	uint64_t burst_ns;
	struct door_side sides[DOOR_SIDES];
	uint64_t turn_ns;      /* of the side that was let through last */
	uint32_t count;        /* wait */
	uint64_t limited_ever; /* had to */
	struct pl_timer timer;
};

void door_init(struct pl_disk *d);
/* Let @req through as soon as the limits allow it. */
void door_wait(struct pl_disk *d, struct pl_req *req);
/* No limits any more: everybody may come in. */
void door_open(struct pl_disk *d);

#endif
