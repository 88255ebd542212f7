#include "ploop/journal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/reserve.h"
#include "ploop/disk.h"

#define ROOM_BYTES MIB /* for records, at least, when a journal is new */

int journal_init(struct writer *w)
{
	struct journal *j = &w->journal;
	if (!w->partials)
		return 0;
	j->buffer_bytes = LAY_JOURNAL_BLOCK_BYTES + lay_record_bytes(w->partials->capacity, w->partials->words);
	j->buffer = space_reserve(j->buffer_bytes);
	return j->buffer ? 0 : pl_fail(-ENOMEM, "%s: no memory for its journal", w->image->path);
}

void journal_fini(struct writer *w)
{
	space_release(w->journal.buffer, w->journal.buffer_bytes);
}

/* ---- what a round does */

static uint64_t area_bytes(const struct writer *w, struct journal_area a)
{
	return (uint64_t)a.clusters << w->disk->cluster_shift;
}

static bool has_room(const struct writer *w)
{
	const struct journal *j = &w->journal;
	uint64_t bytes = lay_record_bytes(w->partials->dirty_count, w->partials->words);
	return j->at_bytes + bytes <= area_bytes(w, j->area);
}

/* Nothing is partial or about to be. A whole cluster whose BAT entry is not durable must not lose the journal's. */
static bool may_unfence(const struct partials *p)
{
	if (p->count > 0 || p->reserved > 0)
		return false;
	uint32_t slot = p->dirty_head;
	while (slot != PARTIAL_NONE && !(p->slots[slot].state == PARTIAL_GONE && p->slots[slot].journaled))
		slot = p->slots[slot].next;
	return slot == PARTIAL_NONE;
}

static enum journal_step choose(const struct writer *w)
{
	const struct journal *j = &w->journal;
	const struct partials *p = w->partials;
	if (!p)
		return JOURNAL_NONE;
	if (j->fenced && j->unwanted && may_unfence(p))
		return JOURNAL_UNFENCE;
	if (j->wanted && !j->fenced)
		return JOURNAL_REBUILD;
	if (!j->fenced || (p->dirty_count == 0 && !j->rebuild))
		return JOURNAL_NONE;
	return !j->rebuild && has_room(w) ? JOURNAL_APPEND : JOURNAL_REBUILD;
}

bool journal_has_work(const struct writer *w)
{
	return choose(w) != JOURNAL_NONE;
}

enum journal_fence journal_raise(struct writer *w)
{
	struct journal *j = &w->journal;
	j->unwanted = false;
	if (likely(j->fenced && j->step != JOURNAL_UNFENCE))
		return FENCE_UP;
	if (j->refused) {
		j->refused = false; /* told to one; the next tries again */
		return FENCE_NO;
	}
	j->wanted = true;
	return FENCE_WAIT;
}

/* Room for all there is twice, so that records find place before the next one. */
static uint32_t wanted_clusters(const struct writer *w)
{
	uint64_t live = lay_record_bytes(w->partials->count + w->partials->dirty_count, w->partials->words);
	return (uint32_t)div_up(LAY_JOURNAL_BLOCK_BYTES + live + MAX(live, ROOM_BYTES), w->disk->cluster_bytes);
}

/* No part of the file points there. */
static void give(struct writer *w, struct journal_area *a)
{
	for (uint32_t i = 0; i < a->clusters; i++)
		alloc_give(&w->alloc, (struct fclu){a->first.n + i});
	a->clusters = 0;
}

void journal_give_space(struct writer *w)
{
	give(w, &w->journal.next);
	give(w, &w->journal.area);
}

static int take_next(struct writer *w, int (*take)(struct writer *w, uint32_t n, struct fclu *first))
{
	struct journal_area *next = &w->journal.next;
	uint32_t clusters = wanted_clusters(w);
	if (next->clusters >= clusters)
		return 0;
	give(w, next); /* what is to be told has grown */
	int r = take(w, clusters, &next->first);
	if (r == 0)
		next->clusters = clusters;
	return r;
}

bool journal_prepare(struct writer *w)
{
	struct journal *j = &w->journal;
	j->step = choose(w);
	int r = j->step == JOURNAL_REBUILD ? take_next(w, space_take_run) : 0;
	if (r == 0)
		return true;
	if (r == -EAGAIN || (j->fenced && is_no_space(r)))
		return false;
	if (j->fenced) {
		j->error = r;
		return true;
	}
	j->wanted = false; /* first writes copy whole clusters instead */
	j->refused = true;
	j->step = JOURNAL_NONE;
	return true;
}

void journal_prepare_last(struct writer *w)
{
	struct journal *j = &w->journal;
	j->step = choose(w);
	if (j->step == JOURNAL_REBUILD)
		j->error = take_next(w, space_take_run_now);
}

/* ---- the cut */

static void put(struct writer *w, uint8_t *record, uint32_t *n, uint32_t slot, struct fclu f)
{
	const struct partials *p = w->partials;
	struct lay_journal_entry e = {.g = p->slots[slot].g, .f = f};
	lay_record_put(record, (*n)++, e, partial_bits(p, slot), p->words);
}

/* Does the map say that the cluster, which became whole, is where it was? Then its BAT entry is in this round or
 * durable already; else it moved on, and its entry is cleared in this round or was never made. */
static bool is_in_place(const struct writer *w, const struct partial_slot *s)
{
	struct map_entry e = map_get(&w->disk->map, s->g);
	return e.level == w->image->level && e.file.n == s->f.n;
}

/* Clusters that are no longer partial: those whose entry is durable leave the journal now. */
static void put_gone(struct writer *w, uint8_t *record, uint32_t *n, uint32_t dirty)
{
	struct partials *p = w->partials;
	for (uint32_t slot = dirty, next; slot != PARTIAL_NONE; slot = next) {
		struct partial_slot *s = &p->slots[slot];
		next = s->next;
		if (s->state == PARTIAL_LIVE)
			continue;
		s->dirty = false;
		if (s->journaled && s->state == PARTIAL_GONE && is_in_place(w, s)) {
			s->state = PARTIAL_SETTLED; /* when this round is durable: the next one takes it back */
			partial_mark_dirty(p, slot);
			continue;
		}
		if (s->journaled)
			put(w, record, n, slot, (struct fclu){0});
		partial_release(p, slot);
	}
}

static void put_live(struct writer *w, uint8_t *record, uint32_t *n, uint32_t slot)
{
	struct partial_slot *s = &w->partials->slots[slot];
	s->journaled = true;
	s->dirty = false;
	put(w, record, n, slot, s->f);
}

/* Live slots of a list of changes are chained by `next`, which put_gone() reuses: they are collected first. */
static uint32_t split_live(struct partials *p, uint32_t dirty, uint32_t *gone)
{
	uint32_t live = PARTIAL_NONE;
	*gone = PARTIAL_NONE;
	for (uint32_t slot = dirty, next; slot != PARTIAL_NONE; slot = next) {
		struct partial_slot *s = &p->slots[slot];
		uint32_t *list = s->state == PARTIAL_LIVE ? &live : gone;
		next = s->next;
		s->next = *list;
		*list = slot;
	}
	return live;
}

static uint64_t append(struct writer *w, uint8_t *record, const uint8_t *id, uint64_t number, uint32_t n)
{
	invariant(lay_record_seal(record, n, w->partials->words, id, number));
	return lay_record_bytes(n, w->partials->words);
}

static void cut_append(struct writer *w)
{
	struct journal *j = &w->journal;
	struct partials *p = w->partials;
	uint32_t n = 0, gone, live = split_live(p, partial_take_dirty(p), &gone);
	put_gone(w, j->buffer, &n, gone); /* first: its guest cluster may be partial anew */
	for (uint32_t slot = live; slot != PARTIAL_NONE; slot = p->slots[slot].next)
		put_live(w, j->buffer, &n, slot);
	if (n == 0)
		j->step = JOURNAL_NONE;
	else
		j->record_bytes = append(w, j->buffer, j->id, j->number, n);
}

/* The new journal need not tell what is over, but for a cluster whose BAT entry is written beside the header that
 * points to it. */
static void cut_rebuild(struct writer *w)
{
	struct journal *j = &w->journal;
	struct partials *p = w->partials;
	uint8_t *record = j->buffer + LAY_JOURNAL_BLOCK_BYTES;
	uint32_t n = 0;
	partial_take_dirty(p);
	for (uint32_t slot = 0; slot < p->shm->end; slot++) {
		struct partial_slot *s = &p->slots[slot];
		s->dirty = false;
		if (s->state == PARTIAL_FREE)
			continue;
		if (s->state == PARTIAL_LIVE) {
			put_live(w, record, &n, slot);
		} else if (s->state == PARTIAL_GONE && is_in_place(w, s)) {
			put(w, record, &n, slot, s->f);
			s->state = PARTIAL_SETTLED;
			s->journaled = true;
			partial_mark_dirty(p, slot);
		} else {
			partial_release(p, slot);
		}
	}
	struct lay_journal head = {
		.cluster_sectors = w->image->header.cluster_sectors,
		.flags = w->image->header.flags,
		.area_bytes = area_bytes(w, j->next),
	};
	invariant(getrandom(head.id, sizeof(head.id), 0) == sizeof(head.id));
	invariant(lay_journal_head_encode(&head, j->buffer));
	memcpy(j->id, head.id, sizeof(j->id));
	j->record_bytes = n == 0 ? 0 : append(w, record, j->id, 0, n);
}

static void free_area_after_round(struct writer *w, struct journal_area a)
{
	for (uint32_t i = 0; i < a.clusters; i++)
		file_list_add(&w->freed_round, (struct fclu){a.first.n + i});
}

static void cut_unfence(struct writer *w)
{
	struct partials *p = w->partials;
	for (uint32_t slot = partial_take_dirty(p), next; slot != PARTIAL_NONE; slot = next) {
		next = p->slots[slot].next;
		p->slots[slot].dirty = false;
		partial_release(p, slot);
	}
	free_area_after_round(w, w->journal.area);
}

void journal_cut(struct writer *w)
{
	struct journal *j = &w->journal;
	if (w->partials)
		paranoid((partials_check(w->partials), true));
	j->record_bytes = 0;
	if (unlikely(j->error))
		return;
	if (j->step == JOURNAL_APPEND)
		cut_append(w);
	else if (j->step == JOURNAL_REBUILD) {
		cut_rebuild(w);
		free_area_after_round(w, j->area);
	} else if (j->step == JOURNAL_UNFENCE)
		cut_unfence(w);
}

struct journal_write journal_output(const struct writer *w)
{
	const struct journal *j = &w->journal;
	if (j->step == JOURNAL_APPEND)
		return (struct journal_write){j->buffer, j->record_bytes,
					      file_offset(w->disk, j->area.first, 0) + j->at_bytes};
	if (j->step == JOURNAL_REBUILD)
		return (struct journal_write){j->buffer, LAY_JOURNAL_BLOCK_BYTES + j->record_bytes,
					      file_offset(w->disk, j->next.first, 0)};
	return (struct journal_write){0};
}

struct lay_header journal_header(const struct writer *w)
{
	const struct journal *j = &w->journal;
	const struct lay_header *plain = &w->image->header;
	if (j->step == JOURNAL_REBUILD)
		return lay_header_fenced(plain, j->next.first);
	if (j->step == JOURNAL_UNFENCE || !j->fenced)
		return *plain;
	return lay_header_fenced(plain, j->area.first);
}

/* ---- the end of a round */

/* A record of all there is takes memory that small ones do not need. */
static void trim(struct journal *j)
{
	if (j->record_bytes > MIB)
		space_clear(j->buffer, j->buffer_bytes);
}

void journal_settle(struct writer *w)
{
	struct journal *j = &w->journal;
	switch (j->step) {
	case JOURNAL_NONE:
		return;
	case JOURNAL_APPEND:
		j->at_bytes += j->record_bytes;
		j->number++;
		break;
	case JOURNAL_REBUILD:
		j->area = j->next;
		j->next.clusters = 0;
		j->at_bytes = LAY_JOURNAL_BLOCK_BYTES + j->record_bytes;
		j->number = j->record_bytes ? 1 : 0;
		j->fenced = true;
		j->wanted = j->rebuild = false;
		break;
	case JOURNAL_UNFENCE:
		j->area.clusters = 0;
		j->fenced = j->unwanted = false;
		break;
	}
	trim(j);
	j->step = JOURNAL_NONE;
}

int journal_drop(struct writer *w)
{
	struct journal *j = &w->journal;
	invariant(!j->fenced || w->partials->count == 0);
	bool was_fenced = j->fenced;
	j->fenced = false;
	int r = was_fenced ? writer_mark(w, LAY_IN_USE, 0) : 0;
	if (r == 0)
		journal_give_space(w);
	return r;
}
