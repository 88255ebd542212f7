/* Moving clusters one by one under a running disk, at the pace that the guest leaves: a request of our own for each. */
#include <string.h>

#include "ploop/merge_job.h"

static void step(struct merge *m);

static bool stops(const struct merge *m)
{
	return m->cancelled || m->res < 0;
}

static void pace_over(struct pl_timer *timer)
{
	step(container_of(timer, struct merge, pace));
}

static void moved(struct pl_req *req)
{
	struct merge_slot *slot = container_of(req, struct merge_slot, req);
	struct merge *m = slot->m;
	uint64_t took_ns = pl_now_ns() - slot->started_ns;
	slot->busy = false;
	m->in_flight--;
	if (req->res < 0 && m->res == 0)
		m->res = req->res;
	m->moved++;
	change_progress(m->disk, m->moved << m->disk->cluster_shift, m->total << m->disk->cluster_shift);
	uint64_t delay_ns = stops(m) ? 0 : merge_pace_ns(m, took_ns);
	if (delay_ns == 0)
		step(m);
	else if (!m->pace.deadline_ns)
		pl_timer_start(m->disk->loop, &m->pace, delay_ns);
}

static bool find_next(struct merge *m)
{
	const struct map *map = &m->disk->map;
	while (m->next < map->clusters && map->level[m->next] != m->source->level)
		m->next++;
	return m->next < map->clusters;
}

static void move(struct merge *m, struct merge_slot *slot)
{
	struct pl_disk *d = m->disk;
	uint64_t at = (uint64_t)m->next << d->cluster_shift;
	m->next++;
	slot->busy = true;
	slot->m = m;
	slot->started_ns = pl_now_ns();
	slot->req = (struct pl_req){
		.done = moved,
		.op = m->op,
		.buf_index = PL_IO_NO_BUFFER,
		.offset_bytes = at,
		.length_bytes = MIN(d->cluster_bytes, d->size_bytes - at),
	};
	m->in_flight++;
	req_submit_own(d, &slot->req);
}

/* Nothing is left, or nothing more shall be done. */
static void settle_down(struct merge *m)
{
	if (m->cancelled && m->res == 0 && m->next < m->disk->map.clusters)
		m->res = pl_fail(-ECANCELED, "merging %s and %s was cancelled; what was moved stays moved",
				 m->parent->path, m->child->path);
	else if (m->res < 0)
		pl_fail(m->res, "merging %s and %s: %s; nothing is lost, it can be done again", m->parent->path,
			m->child->path, strerror(-m->res));
	m->moved_all(m);
}

/* While the guest works one at a time, else as many as there are. */
static void step(struct merge *m)
{
	uint32_t most = m->pace.deadline_ns || pace_guest_works(&m->guest, m->disk) ? 1 : MERGE_SLOTS;
	for (uint32_t i = 0; i < MERGE_SLOTS && m->in_flight < most && !stops(m); i++) {
		if (m->slots[i].busy)
			continue;
		if (!find_next(m))
			break;
		move(m, &m->slots[i]);
	}
	if (m->in_flight == 0 && !m->pace.deadline_ns)
		settle_down(m);
}

static void cancel(struct merge *m)
{
	if (m->in_flight > 0 || !m->pace.deadline_ns)
		return;
	pl_timer_stop(m->disk->loop, &m->pace);
	settle_down(m);
}

void merge_move_all(struct merge *m)
{
	const struct map *map = &m->disk->map;
	for (uint32_t i = 0; i < map->clusters; i++)
		m->total += map->level[i] == m->source->level;
	m->pace.fire = pace_over;
	m->cancel = cancel;
	step(m);
}
