/* A merge from inside: what its kinds share. Begin in merge.c. */
#ifndef PLOOP_MERGE_JOB_H
#define PLOOP_MERGE_JOB_H

#include "ploop/change.h"
#include "ploop/fold.h"
#include "ploop/merge.h"
#include "ploop/pace.h"
#include "ploop/quiesce.h"

#define MERGE_SLOTS   16u /* clusters that move at a time */
#define MERGE_HOLD_NS (30 * NS_PER_S) /* how long requests in flight may take when the chain changes */

struct merge_slot { /* a cluster on its way */
	struct pl_req req;
	struct merge *m;
	uint64_t started_ns;
	bool busy;
};

struct merge {
	struct pl_disk *disk;
	struct image *child, *parent;
	void (*cancel)(struct merge *m); /* of its kind; may be called again */
	bool cancelled;
	int res; /* the first thing that failed */
	struct quiesce quiesce;

	/* with a live top: clusters of @source move one by one */
	struct image *source;
	uint8_t op; /* of the requests that move them */
	void (*moved_all)(struct merge *m);
	struct merge_slot slots[MERGE_SLOTS];
	uint32_t next;      /* cluster to look at */
	uint32_t in_flight;
	uint64_t moved, total;
	struct pace_guest guest;
	struct pl_timer pace;
	struct pl_req flush;
	bool flushed_twice;

	/* draining: the writer that takes over, and what its BAT named below the top */
	struct writer *writer;
	uint32_t *stale;
	uint64_t durable_round; /* of that writer: all that was published is durable when so many have ended */
	bool cut_wanted;        /* a round of the top waits for it, and publishing for that round's cut */

	/* a sealed pair */
	struct fold *fold;
	struct image *into;    /* which of the two */
	struct store *writing; /* its file, opened for writing */
	uint64_t copy_began_ns; /* the last one */
};

/* Is the guest at work? Then the merge leaves it most of the time: how long to wait after a step that took @took_ns. */
uint64_t merge_pace_ns(struct merge *m, uint64_t took_ns);

/* The merge is over; it is freed. */
void merge_end(struct merge *m, int res);
/* @img, which the chain no longer needs, leaves it. No request uses it. What it had stays marked as below until the
 * disk is opened again: the descriptor may still name it, and a hole in the top would uncover it. */
void merge_forget(struct pl_disk *d, struct image *img);

/* Open the file of @img for writing, with the writer's lock instead of the reader's. -EBUSY somebody else reads it ·
 * -EMLINK, -EROFS it may not be written. */
int merge_open_for_writing(struct image *img, struct store **out);
/* Back to the reader's lock. */
void merge_close_written(struct image *img, struct store *written);

/* One kind each. On failure nothing has begun, and @m is the caller's. */
int merge_begin_pull(struct merge *m);
int merge_begin_drain(struct merge *m);
int merge_begin_fold(struct merge *m, enum pl_merge_into into);

/* ---- merge_live.c: move what m->source has in the map with requests of m->op, then m->moved_all() */
void merge_move_all(struct merge *m);

#endif
