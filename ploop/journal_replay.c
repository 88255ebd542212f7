#include "ploop/journal_replay.h"

#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/reserve.h"
#include "ploop/finding.h"
#include "ploop/partial.h"

int fence_read(struct store *store, struct lay_header *h, struct image_fence *out)
{
	*out = (struct image_fence){0};
	if (!lay_is_fenced(h))
		return 0;
	autofree uint8_t *block = aligned_alloc(LAY_JOURNAL_BLOCK_BYTES, LAY_JOURNAL_BLOCK_BYTES);
	if (!block)
		return pl_fail(-ENOMEM, "%s: no memory to read its journal", store->path);
	struct lay_fault fault = {.value = h->ext_sectors};
	uint64_t at;
	enum lay_finding_id id = LAY_F_JOURNAL_HEAD;
	uint64_t sectors = h->ext_sectors;
	if (checked_mul(sectors, SECTOR_BYTES, &at) && is_aligned(at, LAY_JOURNAL_BLOCK_BYTES) &&
	    range_fits(at, LAY_JOURNAL_BLOCK_BYTES, store->size_bytes)) {
		int r = store_read(store, block, LAY_JOURNAL_BLOCK_BYTES, at);
		if (r < 0)
			return r;
		id = lay_journal_head_decode(block, store->size_bytes, h, &out->journal, &fault);
	}
	if (id != LAY_OK)
		return finding_fail(id, &fault, store->path);
	out->up = true;
	out->area.n = (uint32_t)(sectors / h->cluster_sectors);
	return 0;
}

/* ---- judging */

static int bad_entry(const struct writer *w, struct gclu g, struct fclu f)
{
	return pl_fail(-EUCLEAN,
		       "%s: its journal has guest cluster %u in file cluster %u, which cannot be: the disk has %u "
		       "clusters, the file %llu, and each belongs to one",
		       w->image->path, g.n, f.n, w->disk->map.clusters,
		       (unsigned long long)(w->image->store->size_bytes >> w->disk->cluster_shift));
}

static bool units_are_sound(const struct partials *p, const uint64_t *units)
{
	uint64_t any = 0, beyond = p->units % 64 ? ~UINT64_C(0) << p->units % 64 : 0;
	for (uint32_t w = 0; w < p->words; w++)
		any |= units[w];
	return any && !(units[p->words - 1] & beyond);
}

/* 1: take it · 0: the cluster is whole, what is said here is old · -EUCLEAN */
static int judge(struct writer *w, struct gclu g, struct fclu f)
{
	const struct pl_disk *d = w->disk;
	const struct lay_header *h = &w->image->header;
	uint64_t in_file = w->image->store->size_bytes >> d->cluster_shift;
	if (g.n >= d->map.clusters || f.n < lay_header_clusters(h) || f.n >= in_file)
		return bad_entry(w, g, f);
	struct map_entry e = map_get(&d->map, g);
	if (e.level == w->image->level)
		return 0;
	if (e.level == MAP_HOLE)
		return pl_fail(-EUCLEAN,
			       "%s: guest cluster %u is partly written and no image below has the rest: open it with "
			       "the images below it",
			       w->image->path, g.n);
	if (d->readonly)
		return 1;
	if (alloc_is_used(&w->alloc, f))
		return bad_entry(w, g, f);
	alloc_mark(&w->alloc, f);
	return 1;
}

/* ---- a dead server's table */

static int adopt_shared(struct writer *w)
{
	struct partials *p = w->partials;
	uint32_t end = p->shm->end;
	for (uint32_t slot = 0; slot < end; slot++) {
		uint64_t word = *partial_cell(p, slot);
		struct gclu g = partial_word_guest(word);
		struct fclu f = partial_word_file(word);
		int take = word == PARTIAL_CELL_EMPTY ? 0 : judge(w, g, f);
		if (take > 0 && (partial_find(p, g) != PARTIAL_NONE || !units_are_sound(p, partial_bits(p, slot))))
			take = bad_entry(w, g, f);
		if (take < 0)
			return take;
		partial_adopt(p, slot, take);
	}
	w->journal.rebuild = true;
	return 0;
}

/* ---- the journal in the file */

/* What is over gives its slot back at once: the same clusters may come in each record. */
static void sweep(struct partials *p)
{
	for (uint32_t slot = partial_take_dirty(p), next; slot != PARTIAL_NONE; slot = next) {
		struct partial_slot *s = &p->slots[slot];
		next = s->next;
		s->dirty = false;
		if (s->state == PARTIAL_LIVE)
			s->journaled = true;
		else
			partial_release(p, slot);
	}
}

static int apply_entry(struct writer *w, struct lay_journal_entry e, const uint64_t *units)
{
	struct partials *p = w->partials;
	if (e.g.n >= w->disk->map.clusters)
		return bad_entry(w, e.g, e.f);
	uint32_t slot = partial_find(p, e.g);
	if (slot != PARTIAL_NONE) {
		partial_leave(p, slot);
		sweep(p);
	}
	if (e.f.n == 0)
		return 0;
	if (!units_are_sound(p, units) || !partial_reserve(p))
		return bad_entry(w, e.g, e.f);
	partial_insert(p, e.g, e.f, units);
	return 0;
}

static int apply_record(struct writer *w, const uint8_t *record, uint32_t entries)
{
	uint64_t units[LAY_MAX_UNIT_WORDS];
	for (uint32_t i = 0; i < entries; i++) {
		struct lay_journal_entry e;
		lay_record_get(record, i, &e, units, w->partials->words);
		int r = apply_entry(w, e, units);
		if (r < 0)
			return r;
	}
	sweep(w->partials);
	return 0;
}

/* The record at j->at_bytes: 1, or 0 when there is none. */
static int replay_next(struct writer *w, uint64_t area_bytes, uint8_t *block)
{
	struct journal *j = &w->journal;
	struct store *store = w->image->store;
	uint64_t at = file_offset(w->disk, j->area.first, 0) + j->at_bytes, room = area_bytes - j->at_bytes;
	uint32_t entries;
	if (room < LAY_JOURNAL_BLOCK_BYTES)
		return 0;
	int r = store_read(store, block, LAY_JOURNAL_BLOCK_BYTES, at);
	if (r < 0)
		return r;
	uint64_t bytes = lay_record_length(block, room, w->partials->words, j->id, j->number, &entries);
	if (bytes == 0)
		return 0;
	autofree uint8_t *record = aligned_alloc(LAY_JOURNAL_BLOCK_BYTES, bytes);
	if (!record)
		return pl_fail(-ENOMEM, "%s: no memory for its journal", store->path);
	r = store_read(store, record, bytes, at);
	if (r < 0 || !lay_record_is_whole(record, bytes))
		return MIN(r, 0);
	r = apply_record(w, record, entries);
	j->at_bytes += bytes;
	j->number++;
	return r < 0 ? r : 1;
}

static int judge_all(struct writer *w)
{
	struct partials *p = w->partials;
	for (uint32_t slot = 0; slot < p->shm->end; slot++) {
		if (p->slots[slot].state != PARTIAL_LIVE)
			continue;
		int take = judge(w, p->slots[slot].g, p->slots[slot].f);
		if (take < 0)
			return take;
		if (take == 0)
			partial_leave(p, slot); /* the journal is told in the next round */
	}
	return 0;
}

static int replay(struct writer *w, uint64_t area_bytes)
{
	autofree uint8_t *block = aligned_alloc(LAY_JOURNAL_BLOCK_BYTES, LAY_JOURNAL_BLOCK_BYTES);
	if (!block)
		return pl_fail(-ENOMEM, "%s: no memory for its journal", w->image->path);
	int r;
	while ((r = replay_next(w, area_bytes, block)) > 0)
		;
	return r < 0 ? r : judge_all(w);
}

/* ---- both */

/* The header says where the journal is; its clusters are nobody else's. */
static int take_area(struct writer *w)
{
	const struct image_fence *fence = &w->image->fence;
	struct journal *j = &w->journal;
	j->fenced = true;
	j->area = (struct journal_area){fence->area, (uint32_t)(fence->journal.area_bytes >> w->disk->cluster_shift)};
	memcpy(j->id, fence->journal.id, sizeof(j->id));
	j->at_bytes = LAY_JOURNAL_BLOCK_BYTES;
	for (uint32_t i = 0; !w->disk->readonly && i < j->area.clusters; i++) {
		struct fclu f = {j->area.first.n + i};
		struct lay_fault fault = {.index = f.n, .value = fence->journal.area_bytes,
					  .limit = w->image->store->size_bytes};
		if (alloc_is_used(&w->alloc, f))
			return finding_fail(LAY_F_JOURNAL_PLACE, &fault, w->image->path);
		alloc_mark(&w->alloc, f);
	}
	return 0;
}

/* Its own, to read only: the other's changes while we look. */
static int copy_table(struct writer *w)
{
	const struct pl_disk *d = w->disk;
	w->own_shm = space_reserve(partial_shm_bytes(d->map.clusters, d->cluster_bytes));
	if (!w->own_shm)
		return pl_fail(-ENOMEM, "%s: no memory for its partial clusters", w->image->path);
	partial_shm_init(w->own_shm, d->map.clusters, d->cluster_bytes);
	if (!w->survive.inherited)
		return 0;
	const struct partial_shm *theirs = pending_partials(w->survive.shm);
	w->own_shm->end = MIN(theirs->end, w->own_shm->capacity);
	memcpy(w->own_shm->cells, theirs->cells, (uint64_t)w->own_shm->end * (1 + theirs->words) * sizeof(uint64_t));
	return 0;
}

int partials_load(struct writer *w)
{
	const struct pl_disk *d = w->disk;
	int r = d->readonly ? copy_table(w) : 0;
	if (r < 0)
		return r;
	struct partial_shm *shm = d->readonly ? w->own_shm : pending_partials(w->survive.shm);
	w->partials = partials_new(shm, d->map.clusters, d->cluster_bytes);
	if (!w->partials)
		return pl_fail(-ENOMEM, "%s: no memory for its partial clusters", w->image->path);
	if (w->image->fence.up)
		r = take_area(w);
	if (r == 0 && w->survive.inherited)
		r = adopt_shared(w);
	else if (r == 0 && w->image->fence.up)
		r = replay(w, w->image->fence.journal.area_bytes);
	if (r == 0 && w->partials->count > 0)
		pl_log(PL_LOG_INFO, "disk", "%s: has partial clusters count=%u", w->image->path, w->partials->count);
	return r;
}
