/* A disk under test: a chain on memory (or in files), several requests in flight, and the model that judges them.
 *
 *   rig_new -> rig_open -> rig_random_op, rig_submit, rig_turn … -> rig_drain -> rig_close -> rig_check_closed
 *                 rig_push -> rig_switch, rig_merge, rig_cancel -> rig_wait: the chain changes meanwhile
 *
 * What goes wrong is said in rig->why; functions that return bool return false then. */
#ifndef PLOOP_TEST_RIG_H
#define PLOOP_TEST_RIG_H

#include "ploop.h"
#include "tests/support/medium.h"
#include "tests/support/model.h"
#include "tests/support/store_fault.h"
#include "tests/support/store_mem.h"

#define RIG_CLUSTER_SECTORS 64u
#define RIG_CLUSTER_BYTES   (RIG_CLUSTER_SECTORS * SECTOR_BYTES)
#define RIG_SLOTS	    12u
#define RIG_MAX_SECTORS	    (5u * RIG_CLUSTER_SECTORS)
#define RIG_MAX_DEPTH	    12u

struct rig_shape {
	uint32_t version; /* 1, 2 */
	uint32_t clusters;
	uint32_t depth; /* to begin with */
	bool raw_base;
	bool full_base; /* no cluster of it is a hole, so that a first write above is one over data */
	uint32_t io_align, mem_align; /* 0: 1 */
	bool no_punch, no_zero_range, no_allocate;
	uint32_t gap; /* the second half of the clusters lies so many behind the first, on another page of the BAT */
	bool preallocated; /* discard keeps the space */
	const char *dir;   /* NULL: in memory; else image files in this folder */
};

struct rig;
struct rig_slot {
	struct pl_req req;
	struct model_op op;
	struct rig *rig;
	uint8_t *memory;
	bool busy;
};

struct rig_member { /* an image: in memory, or in the file level-@number */
	struct medium *m;
	uint32_t number;
};

struct rig_chain { /* base first, as a descriptor would name it */
	struct rig_member at[RIG_MAX_DEPTH];
	uint32_t depth;
};

struct rig_change {
	struct pl_change change;
	enum rig_change_kind { RIG_NO_CHANGE, RIG_SWITCH, RIG_MERGE, RIG_FINISH } kind; /* under way */
	uint32_t leaves; /* RIG_MERGE: the place of the member that does */
	bool cancelled;
	uint32_t done; /* changes that succeeded */
};

enum rig_phase { RIG_ANYTIME, RIG_SEALING, RIG_MERGING };

struct rig {
	struct rig_shape shape;
	struct pl_loop *loop;
	struct prng random; /* of the operations */
	struct prng order;  /* of the store */
	bool reorder;
	uint64_t sectors; /* without the gap: what requests and the model count */
	/* @chain reads right at any time. @other (depth 0: none) too: with the pushed top, before the switch is asked
	 * for; with both images, after their merge is done. The descriptor may name either. */
	struct rig_chain chain, other;
	struct medium *top; /* of @chain; NULL: files */
	struct medium *own; /* all media there ever were, by next */
	uint32_t files;     /* so many were made */
	bool pushed;        /* other has a top that is not switched to yet */
	struct rig_change change;
	bool merges;		  /* rig_random_change() does */
	uint32_t changes_percent; /* of the requests of rig_run() are followed by rig_random_change() */
	uint32_t small_percent;	  /* of them are writes of some units, or less */
	uint32_t rests_percent;	  /* of them are followed by rig_random_rest() */
	struct power power;
	bool journaled;
	struct fault_plan *faults; /* of the top that is opened; NULL: none */
	bool faults_everywhere;	   /* of all images */
	struct model *model;
	struct pl_disk *disk;
	struct rig_slot slots[RIG_SLOTS];
	uint32_t busy;
	uint64_t refused; /* requests that ended with an error */
	bool errors_expected;
	bool no_partials;     /* rig_open() wants none */
	enum rig_phase fails_in; /* the power does only then, and counts what is done meanwhile */
	bool reuses_early; /* breaks D4 on purpose */
	bool forgets_order; /* breaks D3 on purpose: entries are written beside any data */
	bool forgets_units;   /* breaks D1 on purpose: the journal is not told which units became valid */
	bool forgets_old_top; /* breaks D1 on purpose: a flush does not wait for the top that is being sealed */
	char why[512];
};

/* Keep the first sentence that tells what is wrong. false. */
bool rig_wrong(struct rig *r, const char *fmt, ...) PL_PRINTF(2, 3);

/* A chain with random content in every delta below the top, and an empty top. The loop stays the caller's. */
struct rig *rig_new(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed);
/* The same disk once more, as it is now; not open. Memory only. */
struct rig *rig_clone(const struct rig *r, uint64_t seed);
/* A disk that could not be closed is left behind. */
void rig_free(struct rig *r);
/* A shape out of the common ones, from @p. */
struct rig_shape rig_random_shape(struct prng *p);
void rig_describe(const struct rig_shape *s, char *out, size_t n);

int rig_open(struct rig *r);
int rig_open_flags(struct rig *r, uint32_t flags);
int rig_close(struct rig *r);
/* Close, but for its partial clusters: no request is in flight and no change under way. */
int rig_leave(struct rig *r);

/* @op with @flags of ploop.h; zeros: a PL_WRITE of zeros. Waits for a free slot. */
bool rig_submit(struct rig *r, enum pl_op op, uint32_t flags, uint64_t first, uint64_t count, bool zeros);
bool rig_random_op(struct rig *r);
bool rig_turn(struct rig *r);
/* Until nothing is in flight. */
bool rig_drain(struct rig *r);
bool rig_run(struct rig *r, uint32_t ops);

/* Read it all, and judge. */
bool rig_judge(struct rig *r, enum model_event event);
/* Read it all: so it is from now on. */
bool rig_settle(struct rig *r);
/* Are the images of the chain, after a clean close, plain ones? Memory only. */
bool rig_check_closed(struct rig *r);
/* The same after rig_leave(), but that the top may be fenced. */
bool rig_check_left(struct rig *r);

/* ---- the chain changes; the disk is open and requests may be under way */

/* An empty image of the shape; memory only. The rig frees it. */
struct medium *rig_blank_medium(struct rig *r);
/* A new empty image is the next top. What pl_disk_push() says. */
int rig_push(struct rig *r);
void rig_abandon(struct rig *r);
/* Begin; r->change tells how it goes, rig_wait() waits for its end. @options may be NULL. */
void rig_switch(struct rig *r, const struct pl_switch_options *options);
void rig_merge(struct rig *r, uint32_t child, enum pl_merge_into into);
void rig_finish(struct rig *r);
void rig_cancel(struct rig *r);
/* Until no change is under way. */
bool rig_wait(struct rig *r);
/* Any of these, or the descriptor names r->chain alone from now on. */
bool rig_random_change(struct rig *r);

/* ---- time and closing, as they concern partial clusters */

/* So much time passes that each timer is due, and no partial cluster was written for a while. */
void rig_let_time_pass(struct rig *r);
/* The journal begins anew, time passes, what is partial is finished, or the disk is left and opened again. */
bool rig_random_rest(struct rig *r);

/* ---- a disk with a gap */

/* Of the disk's own count. */
uint64_t rig_disk_sectors(const struct rig *r);
/* Where @first of the rig's count is on the disk, and how many of @count lie in a row there. */
uint64_t rig_place(const struct rig *r, uint64_t first, uint64_t *count);

/* ---- power */

/* From now on the power may fail, at the N-th change or sync (0: when told); all there is is durable. */
void rig_start_journal(struct rig *r, uint64_t fails_at_op);
/* After it has failed: what is left of @named, which r->chain is from now on. Not open, without a journal. */
void rig_lose_power(struct rig *r, const struct rig_chain *named, enum survivors what);
/* The media of r->chain are all that there is any more; memory only. */
void rig_forget_others(struct rig *r);
/* Open and close each image below the top that is marked in use, as opening a disk on files does. */
int rig_settle_lower(struct rig *r);

#endif
