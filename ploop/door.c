#include "ploop/door.h"

#include <string.h>

#include "ploop/disk.h"

static uint64_t cost_ns(const struct rate *rate, uint64_t n)
{
	return rate->per_s ? (uint64_t)((unsigned __int128)n * NS_PER_S / rate->per_s) : 0;
}

static uint64_t cost_of_bytes(const struct door *door, const struct pl_req *req)
{
	bool moves_bytes = req->op == PL_READ || req->op == PL_WRITE;
	return moves_bytes ? cost_ns(&door->bytes, req->length_bytes) : 0;
}

static void use(struct rate *rate, uint64_t now, uint64_t cost)
{
	rate->used_ns = MAX(rate->used_ns, now) + cost;
}

/* When the next one may pass: both limits are no further used up than the burst. */
static uint64_t opens_at(const struct door *door)
{
	uint64_t used = MAX(door->bytes.used_ns, door->requests.used_ns);
	return used > door->burst_ns ? used - door->burst_ns : 0;
}

static struct door_side *next_side(struct door *door)
{
	struct door_side *reads = &door->sides[DOOR_READS], *changes = &door->sides[DOOR_CHANGES];
	if (queue_is_empty(&reads->waiting) || queue_is_empty(&changes->waiting))
		return queue_is_empty(&reads->waiting) ? changes : reads;
	return reads->turn_ns <= changes->turn_ns ? reads : changes;
}

static void let_through(struct door *door, struct door_side *side, uint64_t now)
{
	struct pl_req *req = req_of_node(queue_take(&side->waiting));
	uint64_t of_bytes = cost_of_bytes(door, req), of_request = cost_ns(&door->requests, 1);
	use(&door->bytes, now, of_bytes);
	use(&door->requests, now, of_request);
	door->count--;
	door->limited_ever += now > req_state(req)->began_ns; /* not in the turn it came in */
	door->turn_ns = side->turn_ns;
	side->turn_ns += MAX(of_bytes, of_request);
	req_enter(req);
}

static void run(struct pl_disk *d)
{
	struct door *door = &d->door;
	uint64_t now = loop_now_ns(d->loop);
	while (door->count > 0 && opens_at(door) <= now)
		let_through(door, next_side(door), now);
	if (door->count == 0)
		pl_timer_stop(d->loop, &door->timer);
	else if (!door->timer.deadline_ns)
		pl_timer_start(d->loop, &door->timer, opens_at(door) - now);
}

void door_wait(struct pl_disk *d, struct pl_req *req)
{
	struct door *door = &d->door;
	struct door_side *side = &door->sides[req->op == PL_READ ? DOOR_READS : DOOR_CHANGES];
	if (queue_is_empty(&side->waiting))
		side->turn_ns = MAX(side->turn_ns, door->turn_ns); /* a pause earns nothing */
	queue_append(&side->waiting, &req_state(req)->node);
	door->count++;
	run(d);
}

static void timer_fired(struct pl_timer *timer)
{
	run(container_of(timer, struct pl_disk, door.timer));
}

void door_init(struct pl_disk *d)
{
	d->door.timer.fire = timer_fired;
}

static void set(struct pl_disk *d, const struct pl_limits *limits)
{
	struct door *door = &d->door;
	door->limits = *limits;
	door->limited = limits->bytes_per_s || limits->requests_per_s;
	door->bytes = (struct rate){.per_s = limits->bytes_per_s};
	door->requests = (struct rate){.per_s = limits->requests_per_s};
	door->burst_ns = limits->burst_ms * NS_PER_MS;
	pl_timer_stop(d->loop, &door->timer);
	run(d);
}

void door_open(struct pl_disk *d)
{
	if (d->door.limited)
		set(d, &(struct pl_limits){.size = sizeof(struct pl_limits)});
}

int pl_disk_set_limits(struct pl_disk *d, const struct pl_limits *limits)
{
	struct pl_limits l = {.size = sizeof(l)};
	memcpy(&l, limits, MIN(limits->size, sizeof(l)));
	if (l.burst_ms > DOOR_MAX_BURST_MS)
		return pl_fail(-EINVAL, "burst: %u ms, the limit is %u", l.burst_ms, DOOR_MAX_BURST_MS);
	if (MAX(l.bytes_per_s, l.requests_per_s) > PL_LIMIT_MAX)
		return pl_fail(-EINVAL, "a limit of more than %llu a second", (unsigned long long)PL_LIMIT_MAX);
	if (l.burst_ms == 0)
		l.burst_ms = DOOR_BURST_MS;
	set(d, &l);
	return 0;
}
