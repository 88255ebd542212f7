/* Map changes that the BAT on disk does not have yet, in memory that outlives this process (D2).
 *
 * A slot is one guest cluster and its new file cluster (0: none any more), stored as one 8-byte word, so that whoever
 * reads the table after our death sees the old word or the new one. A change is put here after its data was written
 * and before the guest is told; it leaves when the BAT entry is durable (commit.c).
 *
 *   free --pending_reserve--> reserved --pending_set--> live --pending_cut--> in round --pending_settle--> free
 *                                                        ^                        |
 *                                                        +---- pending_set -------+  changed again meanwhile
 *
 * The table also keeps the last events, so that a dead server's story can be read. */
#ifndef PLOOP_PENDING_H
#define PLOOP_PENDING_H

#include "base/units.h"
#include "ploop/partial.h"

#define PENDING_SLOTS 16384u
#define PENDING_EMPTY UINT64_MAX
#define PENDING_MAX_PAGES 1024u /* BAT pages that one round writes */
#define PENDING_EVENTS 256u

struct pending_event {
	uint64_t time_ns;
	char what[16];
	uint64_t a, b;
};

/* The shared part. Its reader trusts nothing in it but checks all. */
struct pending_shm {
	uint64_t magic;
	uint32_t guest_clusters;
	uint32_t cluster_sectors;
	uint64_t dev, ino; /* of the top image */
	uint64_t bytes;    /* of all this memory: the table of partial clusters lies behind, at PENDING_PARTIAL_AT */
	uint32_t server_pid;
	uint32_t event_next;
	struct pending_event events[PENDING_EVENTS];
	uint64_t slots[PENDING_SLOTS];
};
#define PENDING_MAGIC UINT64_C(0x32444e50504f4c50) /* "PLOPPND2" */
#define PENDING_PARTIAL_AT ((sizeof(struct pending_shm) + 4095) & ~(size_t)4095)

static inline struct partial_shm *pending_partials(struct pending_shm *shm)
{
	return (struct partial_shm *)((char *)shm + PENDING_PARTIAL_AT);
}

struct pending {
	struct pending_shm *shm;
	uint64_t shm_bytes;
	uint32_t free_head;
	uint32_t free_count, reserved_count, live_count;
	uint32_t page_count;                   /* dirty BAT pages, of slots not in a round */
	uint32_t round_page_count;             /* those of the round */
	bool data_first, round_data_first;     /* the data of one must be durable before its page (D3) */
	uint64_t *dirty_pages;                 /* bit per 4 KiB page of the BAT */
	uint32_t pages_total;
	uint32_t buckets[PENDING_SLOTS];       /* hash by guest cluster: first slot */
	uint32_t next[PENDING_SLOTS];          /* chain of a bucket, or of the free slots */
	uint8_t state[PENDING_SLOTS];          /* enum in pending.c */
};

/* @shm: fresh memory or what a dead server left (its slots stay and are live). -ENOMEM;
 * -EUCLEAN: more than one round can write, which no server of ours leaves. */
int pending_new(struct pending_shm *shm, uint32_t guest_clusters, struct pending **out);
void pending_free(struct pending *p);

/* Anonymous shared memory for the tables of such a disk, empty. -errno */
int pending_shm_new(uint32_t guest_clusters, uint32_t cluster_bytes, int *fd, struct pending_shm **out);

/* Promise that a pending_set() will find a slot. -EAGAIN: a round must free some first. */
int pending_reserve(struct pending *p);
void pending_unreserve(struct pending *p);

/* Record g → f (f.n = 0: nothing). Consumes one reservation. Written (D2) on return. */
void pending_set(struct pending *p, struct gclu g, struct fclu f);
/* The same where g was a hole, and f reads as zeros after a power failure until its data arrives: the guest cannot tell
 * the entry without the data from no entry, so the page may be written beside the data. */
void pending_set_fresh(struct pending *p, struct gclu g, struct fclu f);

bool pending_has(const struct pending *p, struct gclu g);

/* Begin a round: everything live is in it. Fills @pages with the numbers of the dirty BAT pages, at most
 * PENDING_MAX_PAGES of them; returns the count. */
uint32_t pending_cut(struct pending *p, uint32_t pages[PENDING_MAX_PAGES]);
/* The round is durable: forget what it had and nobody changed since. */
void pending_settle(struct pending *p);
/* The round failed: what it had is live again. */
void pending_unsettle(struct pending *p);

/* Half full: time for a round even if nobody waits for one. */
static inline bool pending_is_tight(const struct pending *p)
{
	return p->live_count > PENDING_SLOTS / 2 || p->page_count > PENDING_MAX_PAGES / 2;
}

void pending_event(struct pending_shm *shm, const char *what, uint64_t a, uint64_t b);
/* The events, oldest first, a line each: seconds, name, two numbers (legend: README.md). */
void pending_dump(const struct pending_shm *shm, void (*line)(void *arg, const char *text), void *arg);
/* Is there nothing that the image may lack, in either table? */
static inline bool pending_shm_is_empty(struct pending_shm *shm)
{
	for (uint32_t i = 0; i < PENDING_SLOTS; i++)
		if (shm->slots[i] != PENDING_EMPTY)
			return false;
	return partial_shm_is_empty(pending_partials(shm));
}

/* The page of the BAT, counted in 4096 bytes from the start of the file, that holds the slot of @g. */
static inline uint32_t bat_page_of(struct gclu g)
{
	return (uint32_t)((g.n + 16u) / 1024u);
}

#endif
