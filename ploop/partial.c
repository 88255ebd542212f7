#include "ploop/partial.h"

#include <stdlib.h>
#include <string.h>

#include "base/invariant.h"
#include "base/reserve.h"

/* ---- memory */

static uint32_t capacity_of(uint32_t guest_clusters, uint32_t cluster_bytes)
{
	uint32_t cell_bytes = (1 + lay_unit_words(cluster_bytes)) * (uint32_t)sizeof(uint64_t);
	return MIN(guest_clusters, PARTIAL_MAX_BYTES / cell_bytes);
}

uint64_t partial_shm_bytes(uint32_t guest_clusters, uint32_t cluster_bytes)
{
	uint64_t cell_words = 1 + lay_unit_words(cluster_bytes);
	return sizeof(struct partial_shm) + capacity_of(guest_clusters, cluster_bytes) * cell_words * sizeof(uint64_t);
}

void partial_shm_init(struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes)
{
	shm->capacity = capacity_of(guest_clusters, cluster_bytes);
	shm->words = lay_unit_words(cluster_bytes);
}

void partial_shm_clear(struct partial_shm *shm)
{
	memset(shm->cells, 0, (uint64_t)shm->end * (1 + shm->words) * sizeof(uint64_t));
	shm->end = 0;
}

bool partial_shm_fits(const struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes)
{
	return shm->capacity == capacity_of(guest_clusters, cluster_bytes) &&
	       shm->words == lay_unit_words(cluster_bytes) && shm->end <= shm->capacity;
}

struct partials *partials_new(struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes)
{
	struct partials *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct partials){
		.shm = shm,
		.capacity = shm->capacity,
		.words = shm->words,
		.units = cluster_bytes / LAY_UNIT_BYTES,
		.guest_clusters = guest_clusters,
		.slots = space_reserve(shm->capacity * sizeof(*p->slots)),
		.slot_of = space_reserve(guest_clusters * sizeof(*p->slot_of)),
		.free_head = PARTIAL_NONE,
		.dirty_head = PARTIAL_NONE,
	};
	if (p->slots && p->slot_of)
		return p;
	partials_free(p);
	return NULL;
}

void partials_free(struct partials *p)
{
	if (!p)
		return;
	space_release(p->slots, p->capacity * sizeof(*p->slots));
	space_release(p->slot_of, p->guest_clusters * sizeof(*p->slot_of));
	free(p);
}

/* ---- entries */

static void store_word(struct partials *p, uint32_t slot, uint64_t word)
{
	__atomic_store_n(partial_cell(p, slot), word, __ATOMIC_RELEASE);
}

bool partial_reserve(struct partials *p)
{
	if (p->capacity - p->shm->end + p->free_count <= p->reserved)
		return false;
	p->reserved++;
	return true;
}

void partial_unreserve(struct partials *p)
{
	invariant(p->reserved > 0);
	p->reserved--;
}

static uint32_t take_slot(struct partials *p)
{
	uint32_t slot = p->free_head;
	if (slot != PARTIAL_NONE) {
		p->free_head = p->slots[slot].next;
		p->free_count--;
	} else {
		slot = p->shm->end++;
	}
	invariant(slot < p->capacity && p->slots[slot].state == PARTIAL_FREE);
	return slot;
}

static void enter(struct partials *p, uint32_t slot, struct gclu g, struct fclu f)
{
	uint16_t valid = 0;
	for (uint32_t w = 0; w < p->words; w++)
		valid += (uint16_t)__builtin_popcountll(partial_bits(p, slot)[w]);
	p->slots[slot] = (struct partial_slot){
		.g = g, .f = f, .valid = valid, .state = PARTIAL_LIVE, .touched = p->tick};
	p->slot_of[g.n] = slot + 1;
	p->count++;
	partial_mark_dirty(p, slot);
}

uint32_t partial_insert(struct partials *p, struct gclu g, struct fclu f, const uint64_t *bits)
{
	invariant(p->slot_of[g.n] == 0);
	partial_unreserve(p);
	uint32_t slot = take_slot(p);
	memcpy(partial_cell(p, slot) + 1, bits, p->words * sizeof(*bits));
	enter(p, slot, g, f);
	store_word(p, slot, partial_word(g, f));
	return slot;
}

static void push_free(struct partials *p, uint32_t slot)
{
	memset(partial_cell(p, slot), 0, (1 + p->words) * sizeof(uint64_t));
	p->slots[slot] = (struct partial_slot){.state = PARTIAL_FREE, .next = p->free_head};
	p->free_head = slot;
	p->free_count++;
}

void partial_adopt(struct partials *p, uint32_t slot, bool take)
{
	uint64_t word = *partial_cell(p, slot);
	if (take)
		enter(p, slot, partial_word_guest(word), partial_word_file(word));
	else
		push_free(p, slot);
}

uint32_t partial_run(const struct partials *p, uint32_t slot, uint32_t unit, uint32_t end, bool *valid)
{
	uint32_t n = 1;
	*valid = partial_unit_is_valid(p, slot, unit);
	while (unit + n < end && partial_unit_is_valid(p, slot, unit + n) == *valid)
		n++;
	return n;
}

void partial_set(struct partials *p, uint32_t slot, uint32_t from, uint32_t to)
{
	struct partial_slot *s = &p->slots[slot];
	uint64_t *bits = partial_cell(p, slot) + 1;
	invariant(s->state == PARTIAL_LIVE && to <= p->units);
	bool changed = false;
	for (uint32_t u = from; u < to; u++) {
		if (partial_unit_is_valid(p, slot, u))
			continue;
		uint64_t word = bits[u / 64] | UINT64_C(1) << (u % 64);
		__atomic_store_n(&bits[u / 64], word, __ATOMIC_RELEASE);
		s->valid++;
		changed = true;
	}
	if (changed)
		partial_mark_dirty(p, slot);
}

void partial_leave(struct partials *p, uint32_t slot)
{
	struct partial_slot *s = &p->slots[slot];
	invariant(s->state == PARTIAL_LIVE);
	store_word(p, slot, PARTIAL_CELL_EMPTY);
	p->slot_of[s->g.n] = 0;
	p->count--;
	s->state = PARTIAL_GONE;
	partial_mark_dirty(p, slot);
}

/* ---- changes */

void partial_mark_dirty(struct partials *p, uint32_t slot)
{
	struct partial_slot *s = &p->slots[slot];
	if (s->dirty)
		return;
	s->dirty = true;
	s->next = p->dirty_head;
	p->dirty_head = slot;
	p->dirty_count++;
}

uint32_t partial_take_dirty(struct partials *p)
{
	uint32_t first = p->dirty_head;
	p->dirty_head = PARTIAL_NONE;
	p->dirty_count = 0;
	return first;
}

void partial_release(struct partials *p, uint32_t slot)
{
	const struct partial_slot *s = &p->slots[slot];
	invariant(s->state != PARTIAL_LIVE && s->state != PARTIAL_FREE && !s->dirty);
	push_free(p, slot);
}

void partials_check(const struct partials *p)
{
	uint32_t live = 0, dirty = 0;
	for (uint32_t i = 0; i < p->shm->end; i++) {
		const struct partial_slot *s = &p->slots[i];
		bool is_live = s->state == PARTIAL_LIVE;
		live += is_live;
		dirty += s->dirty;
		invariant(is_live == (*partial_cell(p, i) != PARTIAL_CELL_EMPTY));
		invariant(!is_live || *partial_cell(p, i) == partial_word(s->g, s->f));
		invariant(!is_live || p->slot_of[s->g.n] == i + 1);
		invariant(!is_live || (s->valid > 0 && s->valid <= p->units));
	}
	invariant(live == p->count && dirty == p->dirty_count);
}
