/* Commit rounds: what makes map changes and data durable (D1, D3). All who wait share one.
 *
 *   IDLE --commit_start--> [JOURNAL_WRITE -->] DATA_SYNC --> BAT_WRITE --> BAT_SYNC --> IDLE
 *              |                                  |            ^            |
 *              cut: BAT pages and the journal's   data of      |            entries durable: slots settle, clusters
 *              record are built now               every entry  |            that the round unmapped may be reused
 *              |                                  is durable   |
 *              +--- all entries are of fresh space onto holes -+
 *
 * The journal of partial clusters is written beside the BAT pages, or, if it is a new one, before the sync (journal.h).
 * The pages are built at the cut, so an entry whose data is written during DATA_SYNC is never in them (D3). */
#ifndef PLOOP_COMMIT_H
#define PLOOP_COMMIT_H

#include "base/list.h"
#include "ploop.h"
#include "ploop/pending.h"

enum commit_state { COMMIT_IDLE, COMMIT_JOURNAL_WRITE, COMMIT_DATA_SYNC, COMMIT_BAT_WRITE, COMMIT_BAT_SYNC };

struct writer;

struct commit_write {
	struct pl_io io; /* first */
	struct writer *writer;
};

#define COMMIT_MAX_PAGES (PENDING_MAX_PAGES + 1) /* that of the header may come on top */

struct commit {
	enum commit_state state;
	bool again; /* somebody asked while a round ran */
	bool parked; /* the BAT pages found no space */
	struct queue waiters; /* requests for the next round */
	struct queue serving; /* requests of this round */
	uint64_t rounds;      /* ended, ever */
	struct pl_io io;
	struct pl_timer timer;
	uint64_t writes_at_cut, writes_synced;
	uint32_t space_at_cut; /* see space.durable_end */
	int res;
	uint32_t page_count;
	uint32_t *pages;       /* COMMIT_MAX_PAGES numbers */
	uint8_t *images;       /* and their contents */
	struct commit_write *writes; /* one per run of pages, and the journal's */
	uint32_t writes_left;
};

int commit_init(struct writer *w);
void commit_fini(struct writer *w);

/* Complete @req when everything that completed before now is durable, in every image that is written. */
void commit_wait(struct pl_disk *d, struct pl_req *req);
/* A round soon: slots are short. */
void commit_demand(struct writer *w);
/* The rounds that could not start may now. */
void commit_resume(struct writer *w);
/* The disk has failed: nobody waits for a round any more. */
void commit_refuse(struct pl_disk *d);
/* The last one of @w, now: no request is under way and none will come. None is running. */
void commit_last(struct writer *w);
/* Is all that was written to @w durable? No round runs, and one would have nothing to do. */
bool commit_is_settled(const struct writer *w);
/* Try the BAT pages again that found no space. */
void commit_retry(struct writer *w);
/* A round within a few seconds: there is something new. */
void commit_schedule(struct writer *w);

/* The page of @w's file, in units of 4096 bytes, as a round would write it now. */
void commit_build_page(const struct writer *w, uint32_t page, uint8_t *out);

#endif
