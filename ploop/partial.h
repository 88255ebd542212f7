/* Clusters of an image that have only some of their data: a first write over a lower delta puts down what the guest
 * wrote, and the rest is filled in later. A cluster's *units*, of 4 KiB, are valid (here) or not (below).
 *
 *   absent ----write of a whole cluster, or onto a hole----------------------------------------------> whole
 *     |                                                                                                 ^
 *     | partial_io.c: create                                                          publish_whole     |
 *     v                                                                                                 |
 *   partial --write, write zeroes, discard (partial_io.c: settle_units), fill.c--> all units valid -----+
 *
 *   lower    the map names the image below all the time: the BAT knows nothing of a partial cluster (D7)
 *   whole    map and pending table name the cluster; the entry here is *gone* until the journal says so (journal.h)
 *
 * The table lies in the memory of D2, behind the pending changes: a valid bit is set there after the data was
 * written and before the guest is told, so the next server has all. An entry there is one word, guest and file
 * cluster, behind its bits, so that a reader after our death sees it whole or not at all. */
#ifndef PLOOP_PARTIAL_H
#define PLOOP_PARTIAL_H

#include "base/units.h"
#include "layout/journal.h"
#include "ploop/map.h"

#define PARTIAL_MAX_BYTES (16u << 20) /* of the shared table */
#define PARTIAL_NONE	  UINT32_MAX
#define PARTIAL_CELL_EMPTY 0u

enum partial_state {
	PARTIAL_FREE,
	PARTIAL_LIVE,
	PARTIAL_GONE,    /* whole; its BAT entry is not durable, the journal still has it */
	PARTIAL_SETTLED, /* whole, the BAT entry is durable, the journal still has it */
};

struct partial_slot { /* what need not outlive us */
	struct gclu g;
	struct fclu f;
	uint32_t next;  /* free slots, or those that changed since the last cut */
	uint16_t valid; /* units */
	uint8_t state;  /* enum partial_state */
	bool dirty;     /* on the list of changes */
	bool journaled; /* the journal has an entry of it */
	uint32_t touched; /* tick of the last write */
	struct map_entry below; /* where the rest is, once another image is on top: the map may have forgotten */
};

/* The shared part. Its reader trusts nothing in it but checks all. */
struct partial_shm {
	uint32_t capacity;
	uint32_t words; /* of bits, per cell */
	uint32_t end;   /* no cell at or after it was ever used */
	uint32_t unused;
	uint64_t cells[]; /* of each slot a word (PARTIAL_CELL_EMPTY: none), then its bits */
};

struct partials {
	/* fixed */
	struct partial_shm *shm;
	uint32_t capacity;
	uint32_t words; /* of bits */
	uint32_t units; /* of a cluster */
	uint32_t guest_clusters;

	/* changes */
	struct partial_slot *slots;
	uint32_t *slot_of; /* guest cluster -> slot + 1 of what is live; 0: none */
	uint32_t count;    /* live */
	uint32_t free_head, free_count; /* of those that were used before */
	uint32_t reserved;
	uint32_t dirty_head, dirty_count;
	uint32_t tick; /* see fill.c */
};

/* What the shared part takes for a disk of so many clusters. */
uint64_t partial_shm_bytes(uint32_t guest_clusters, uint32_t cluster_bytes);
/* @shm is zero: make it an empty table. */
void partial_shm_init(struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes);
/* Is it the table of such a disk, in memory of partial_shm_bytes()? */
bool partial_shm_fits(const struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes);

static inline uint64_t *partial_shm_cell(struct partial_shm *shm, uint32_t slot)
{
	return shm->cells + (uint64_t)slot * (1 + shm->words);
}

void partial_shm_clear(struct partial_shm *shm);

/* Has it no entry? */
static inline bool partial_shm_is_empty(struct partial_shm *shm)
{
	for (uint32_t i = 0; i < shm->end && i < shm->capacity; i++)
		if (*partial_shm_cell(shm, i) != PARTIAL_CELL_EMPTY)
			return false;
	return true;
}

/* @shm, which fits, stays the caller's. Its entries are not looked at: partial_adopt() each, in order. NULL: no
 * memory. */
struct partials *partials_new(struct partial_shm *shm, uint32_t guest_clusters, uint32_t cluster_bytes);
void partials_free(struct partials *p);

/* Promise that a partial_insert() will find a slot. */
bool partial_reserve(struct partials *p);
void partial_unreserve(struct partials *p);
/* @g has a part at @f: those units of @bits. Consumes a reservation. Written (D2) on return. */
uint32_t partial_insert(struct partials *p, struct gclu g, struct fclu f, const uint64_t *bits);
/* Slot @slot of a dead server's table, ascending: take it, which has been judged, or let it be free. */
void partial_adopt(struct partials *p, uint32_t slot, bool take);

/* PARTIAL_NONE: it has none. */
static inline uint32_t partial_find(const struct partials *p, struct gclu g)
{
	return p && p->count > 0 ? p->slot_of[g.n] - 1 : PARTIAL_NONE;
}

static inline uint64_t *partial_cell(const struct partials *p, uint32_t slot)
{
	return partial_shm_cell(p->shm, slot);
}

static inline const uint64_t *partial_bits(const struct partials *p, uint32_t slot)
{
	return partial_cell(p, slot) + 1;
}

static inline bool partial_unit_is_valid(const struct partials *p, uint32_t slot, uint32_t unit)
{
	return partial_bits(p, slot)[unit / 64] >> (unit % 64) & 1;
}

/* How many units from @unit on, up to @end, are alike; *@valid tells in what. */
uint32_t partial_run(const struct partials *p, uint32_t slot, uint32_t unit, uint32_t end, bool *valid);
/* Units [@from, @to) are written. Written (D2) on return. */
void partial_set(struct partials *p, uint32_t slot, uint32_t from, uint32_t to);

static inline bool partial_is_full(const struct partials *p, uint32_t slot)
{
	return p->slots[slot].valid == p->units;
}

/* It is whole, and the pending table says so: forget it here. What the journal has of it must be taken back later. */
void partial_leave(struct partials *p, uint32_t slot);

/* Begin a walk over what changed since the last one: the caller takes all. */
uint32_t partial_take_dirty(struct partials *p);
/* The change is not taken after all. */
void partial_mark_dirty(struct partials *p, uint32_t slot);
/* Nothing on disk has it any more. */
void partial_release(struct partials *p, uint32_t slot);

/* Is the table as it must be? For test builds. */
void partials_check(const struct partials *p);

/* ---- the words of shared memory */

static inline uint64_t partial_word(struct gclu g, struct fclu f)
{
	return (uint64_t)g.n << 32 | f.n; /* no file cluster of data is 0 */
}

static inline struct gclu partial_word_guest(uint64_t word)
{
	return (struct gclu){(uint32_t)(word >> 32)};
}

static inline struct fclu partial_word_file(uint64_t word)
{
	return (struct fclu){(uint32_t)word};
}

#endif
