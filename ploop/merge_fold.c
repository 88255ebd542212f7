/* Merging two images below the top: fold.c moves the data while the chain is read as before; then the map changes and
 * the emptied image leaves, in one moment. The descriptor may name either chain: they read the same. */
#include <string.h>

#include "ploop/chain.h"
#include "ploop/merge_job.h"

static struct image *source_of(const struct merge *m)
{
	return m->into == m->parent ? m->child : m->parent;
}

static void exchange(struct merge *m)
{
	struct map *map = &m->disk->map;
	uint8_t from = source_of(m)->level;
	bool raw = m->into->format == PL_FORMAT_RAW;
	for (uint32_t i = 0; i < map->clusters; i++) {
		struct gclu g = {i};
		if (map->level[i] == from)
			map_set(map, g, m->into->level, raw ? (struct fclu){i} : fold_place(m->fold, g));
	}
	merge_forget(m->disk, source_of(m));
}

static void alone(struct quiesce *q, int res)
{
	struct merge *m = container_of(q, struct merge, quiesce);
	if (res < 0) {
		quiesce_begin(m->disk, q, MERGE_HOLD_NS); /* all is moved: wait on */
		return;
	}
	merge_close_written(m->into, m->writing);
	exchange(m);
	quiesce_end(q);
	m->disk->change->pause_ns = q->pause_ns;
	merge_end(m, 0);
}

static void cancel_late(struct merge *m)
{
}

static void folded(void *arg, int res)
{
	struct merge *m = arg;
	m->cancel = cancel_late;
	if (res < 0) {
		merge_close_written(m->into, m->writing);
		merge_end(m, res);
		return;
	}
	m->quiesce.ready = alone;
	quiesce_begin(m->disk, &m->quiesce, MERGE_HOLD_NS);
}

static void progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct merge *m = arg;
	change_progress(m->disk, done_bytes, total_bytes);
}

static uint64_t pace(void *arg)
{
	struct merge *m = arg;
	uint64_t now = pl_now_ns();
	uint64_t took_ns = m->copy_began_ns && now > m->copy_began_ns ? now - m->copy_began_ns : 0;
	uint64_t delay_ns = merge_pace_ns(m, took_ns);
	m->copy_began_ns = now + delay_ns;
	return delay_ns;
}

static uint32_t step_bytes(void *arg)
{
	return merge_step_bytes(arg);
}

static void cancel(struct merge *m)
{
	fold_cancel(m->fold);
}

int merge_begin_fold(struct merge *m, enum pl_merge_into into)
{
	m->into = into == PL_INTO_PARENT ? m->parent : m->child;
	int r = merge_open_for_writing(m->into, &m->writing);
	if (r < 0)
		return r;
	struct fold_options o = {
		.loop = m->disk->loop,
		.child = into == PL_INTO_CHILD ? m->writing : m->child->store,
		.parent = into == PL_INTO_PARENT ? m->writing : m->parent->store,
		.parent_format = m->parent->format,
		.into = into,
		.cluster_sectors = m->disk->cluster_bytes / SECTOR_BYTES,
		.delay_ns = pace,
		.step_bytes = step_bytes,
		.progress = progress,
		.done = folded,
		.arg = m,
	};
	m->cancel = cancel;
	r = fold_start(&o, &m->fold);
	if (r < 0)
		merge_close_written(m->into, m->writing);
	return r;
}
