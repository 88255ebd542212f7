/* A disk inside the engine: the chain, its map, and the machine that carries requests.
 *
 * A request is cut into fragments, each inside one guest cluster or a run of clusters that lie in a row in one file.
 * A fragment goes its way in steps; a step starts one operation or one wait and names the next step:
 *
 *   read            read_start -> [I/O] -> read_done
 *   write, mapped   write_start -> [I/O] -> write_done
 *   write, first    write_start -> first_write_* (first_write.c) -> frag_finish
 *   zeroes, discard zero_start -> zero_* (zero.c) -> frag_finish
 *   flush           commit_wait (commit.c)
 *
 * A request is done when its last fragment is; one that must be durable then joins a commit round. */
#ifndef PLOOP_DISK_H
#define PLOOP_DISK_H

#include <errno.h>

#include "base/invariant.h"
#include "base/list.h"
#include "base/units.h"
#include "layout/header.h"
#include "layout/journal.h"
#include "ploop.h"
#include "ploop/door.h"
#include "ploop/full.h"
#include "ploop/io_error.h"
#include "ploop/loop.h"
#include "ploop/map.h"
#include "ploop/store.h"
#include "ploop/writer.h"

#define FRAG_COUNT 512u
#define GATE_BUCKETS 256u
#define BOUNCE_COUNT 8u
#define BOUNCE_BYTES (1u << 20)
#define RUN_MAX_BYTES (32u << 20) /* a fragment takes no further cluster beyond it */
#define FREED_MAX 512u            /* unmapped clusters that wait for a round before one is demanded */
#define PARK_RETRY_NS (200 * NS_PER_MS)

struct frag;
typedef void frag_step(struct frag *f);

struct frag {
	struct pl_io io; /* first: its completion runs @then */
	frag_step *then;
	struct pl_disk *disk;
	struct pl_req *req;
	struct qnode wait; /* on at most one queue of waiters */

	/* the guest range */
	struct gclu g;         /* first cluster */
	uint32_t run;          /* clusters; 1 unless they lie in a row */
	uint32_t offset_bytes; /* in the first cluster */
	uint32_t length_bytes;
	uint8_t *data;         /* guest bytes; NULL: zeros */

	/* where it lives, or will */
	struct writer *w; /* of what is written */
	struct map_entry at;
	struct store *store;  /* of the I/O that was started last */
	struct fclu new_file; /* first write: the cluster taken */
	bool active;          /* I/O on @at may be in flight */
	bool parked;          /* it found no space (D8), and has not since */
	bool reused;          /* new_file may hold old bytes */
	uint32_t copied_bytes; /* COW: how much of the cluster is done */
	uint32_t piece_bytes;  /* COW: at a time */
	uint32_t left_bytes;   /* of a read: what follows the piece that is under way */
	bool creates;          /* new_file becomes a partial cluster */
	void *bounce;

	/* the gate of @g, when this fragment holds it */
	bool holds_gate, excludes_readers;
	struct frag *gate_next; /* chain of the bucket */
	struct queue gate_waiters;
};

struct image_fence {
	bool up;
	struct fclu area; /* where the journal begins */
	struct lay_journal journal;
};

struct image { /* a member of the chain */
	struct store *store;      /* NULL: this level is free */
	struct lay_header header; /* not of a raw image */
	enum pl_format format;
	uint8_t level;            /* in map terms; its place in d->images is one less */
	struct writer *writer;    /* NULL: sealed, it is only read (D5) */
	struct image_fence fence; /* as the header was when it was read */
	char *path;               /* for messages */
};
#define LEVELS_MAX 254u /* MAP_HOLE and a spare */

struct pl_disk {
	/* fixed at open */
	struct pl_loop *loop;
	uint64_t size_bytes;
	uint32_t cluster_bytes;
	uint32_t cluster_shift;
	uint32_t io_align, mem_align; /* the strictest of the stores */
	bool readonly, peek, keep_space;
	bool no_partial; /* first writes copy whole clusters */
	char *holder_program; /* NULL: none is wanted */

	/* the chain: changes only while no fragment is under way (quiesce.c) */
	struct image *images;       /* LEVELS_MAX of them, by level */
	uint8_t order[LEVELS_MAX];  /* levels, base first */
	uint8_t rank[LEVELS_MAX + 1]; /* of a level: its place in order */
	uint32_t depth;
	struct image *top;
	struct writer *writer;      /* where first writes go: the top's */
	struct writer *leaving;     /* written until now: being sealed or drained, or left so for readers. Else NULL */

	/* changes */
	struct map map;
	uint64_t request_count;       /* not done */
	uint64_t guest_requests;      /* ever */
	bool held;                    /* requests wait in @held_requests: quiesce.c */
	struct queue held_requests;
	struct queue withdrawn;       /* fragments that decide anew when the hold is over */
	uint32_t withdrawn_count;
	struct quiesce *quiesce;      /* who asked for it; NULL: nobody */
	struct seal *seal;            /* of @leaving; NULL: none runs */
	struct pushed *pushed;        /* the top that is to come: switch.c */
	struct pl_change *change;     /* the one under way; NULL: none */
	struct merge *merge;          /* what it does, if it is one: merge.c */
	struct fill *fill;            /* of partial clusters */
	struct pl_req finish;         /* finish.c */
	bool filled;                  /* closing: it is done, with @fill_res */
	int fill_res;
	bool no_waiting;              /* no space on the host is an error from now on */
	bool fails_when_full;         /* of the guest's requests, it is anyway */
	bool failed;                  /* a sync failed: nothing more is promised (until reopened and checked) */

	struct frag *frags;
	struct frag *free_frags; /* by gate_next */
	uint32_t frags_in_use;
	struct queue starved;    /* requests that wait for a fragment */
	struct queue woken;      /* fragments whose wait is over */
	struct queue slot_waiters; /* fragments that wait for the end of a round: a pending slot, a free cluster */
	struct queue bounce_waiters;
	struct queue drain_waiters; /* gate holders that wait for I/O on their cluster to end */
	struct queue parked;        /* fragments whose write found no space (D8) */
	uint8_t *bounce_memory; /* BOUNCE_COUNT of BOUNCE_BYTES, in huge pages: few segments for the device */
	void *bounces[BOUNCE_COUNT]; /* the free ones */
	uint32_t bounce_free;
	struct frag *gates[GATE_BUCKETS];
	uint32_t gate_count;
	struct pl_io kick_io; /* runs what waits, from the loop */
	bool kick_pending;
	struct pl_timer park_timer;

	/* what is told */
	struct full full;
	struct door door;
	struct pl_op_stat ops[PL_OPS];
	uint64_t first_writes, rounds;
	struct io_errors io_errors;
};

/* A request's private part, in pl_req.engine. */
struct req_state {
	struct pl_disk *disk;
	uint64_t cursor_bytes, end_bytes;
	uint32_t holds; /* fragments, and one while it is being cut */
	bool in_submit, must_commit;
	uint64_t began_ns;
	struct qnode node;
	struct pl_io nop; /* to complete from the loop */
};
_Static_assert(sizeof(struct req_state) <= sizeof(((struct pl_req *)0)->engine), "pl_req.engine is too small");

static inline struct req_state *req_state(struct pl_req *req)
{
	return (struct req_state *)req->engine;
}

static inline struct pl_req *req_of_node(struct qnode *n)
{
	char *state = (char *)container_of(n, struct req_state, node);
	return (struct pl_req *)(state - offsetof(struct pl_req, engine));
}

static inline struct frag *frag_of_wait(struct qnode *n)
{
	return container_of(n, struct frag, wait);
}

static inline struct image *level_image(const struct pl_disk *d, uint8_t level)
{
	return &d->images[level - 1];
}

static inline struct store *level_store(const struct pl_disk *d, uint8_t level)
{
	return level_image(d, level)->store;
}

static inline struct image *chain_at(const struct pl_disk *d, uint32_t place)
{
	return level_image(d, d->order[place]);
}

/* Who writes what lives at @level; NULL: nobody does, it is a hole or sealed (D5). */
static inline struct writer *level_writer(const struct pl_disk *d, uint8_t level)
{
	return level == MAP_HOLE ? NULL : level_image(d, level)->writer;
}

static inline uint64_t file_offset(const struct pl_disk *d, struct fclu f, uint32_t offset_bytes)
{
	return ((uint64_t)f.n << d->cluster_shift) + offset_bytes;
}

static inline bool is_whole_cluster(const struct frag *f)
{
	return f->length_bytes == f->disk->cluster_bytes;
}

static inline bool is_no_space(int32_t res)
{
	return res == -ENOSPC || res == -EDQUOT || res == -EFBIG;
}

/* ---- frag.c: fragments, waiting, gates */
void frag_cut(struct frag *f);
void frag_finish(struct frag *f, int res);
/* No I/O of @f is under way any more: whoever waits to be alone on its cluster looks again. */
void frag_rest(struct frag *f);
/* Start @f->io, whose kind, buf, length and offset are set, on @store; @then when it is done. */
void frag_io(struct frag *f, struct store *store, frag_step *then);
/* The usual ones: @at is within the cluster. @buf_index: of the loop's buffer that @into or @data lies in. */
void frag_read(struct frag *f, struct map_entry from, uint32_t at, void *into, uint16_t buf_index, uint32_t length,
	       frag_step *then);
void frag_write(struct frag *f, struct fclu to, uint32_t at, void *data, uint16_t buf_index, uint32_t length,
		frag_step *then);
/* @mode: of fallocate(2), without FALLOC_FL_KEEP_SIZE, which is added. */
void frag_fallocate(struct frag *f, struct fclu to, uint32_t at, uint32_t length, int mode, frag_step *then);
/* f->io, which has not failed, has done a part: @then runs with the rest. */
void io_go_on(struct frag *f, struct store *store, frag_step *then);
/* Has the read f->io, which has not failed, got all? What is behind the end of the file is zeros; else @then runs with
 * the rest. */
bool io_is_read(struct frag *f, struct store *store, frag_step *then);
void frag_wait(struct frag *f, struct queue *queue, frag_step *then);
/* Requests are held: @f, whose I/O has not begun, goes on from @then when they go on. */
void frag_withdraw(struct frag *f, frag_step *then);
void frag_release_withdrawn(struct pl_disk *d);
/* Let all that wait on @queue go on, from the loop. */
void disk_wake(struct pl_disk *d, struct queue *queue);

struct frag *gate_find(const struct pl_disk *d, struct gclu g);
void gate_open(struct frag *f);
void gate_close(struct frag *f);
/* Is @f, which holds the gate, alone on its cluster? If not it waits and @then runs when it is. */
bool gate_drain(struct frag *f, frag_step *then);
/* The same, but for reads. */
bool gate_drain_writers(struct frag *f, frag_step *then);

/* A bounce buffer of BOUNCE_BYTES in f->bounce; false: @then runs when there is one. */
bool bounce_get(struct frag *f, frag_step *then);
void bounce_put(struct frag *f);
void bounce_trim(struct pl_disk *d);
bool bounce_init(struct pl_disk *d);
void bounce_fini(struct pl_disk *d);

/* D8: try the writes again that found no space. */
void frag_resume_parked(struct pl_disk *d);

/* ---- io_error.c: count @f's I/O that failed, and tell of it */
void io_error_note(const struct frag *f);

/* ---- request.c */
void req_advance(struct pl_req *req);
/* All fragments of @req are done, req->res is set: complete it, or make it durable first. */
void req_finish(struct pl_req *req);
/* Complete it now, or soon when we are inside its submit. */
void req_complete(struct pl_req *req);
/* Start those that were held. */
void req_release(struct pl_disk *d);
/* Start one that has passed the door, or hold it. */
void req_enter(struct pl_req *req);
/* One of ours: it is neither held nor counted as a change of what the guest has. */
enum own_op { OP_PULL = PL_WRITE_ZEROES + 1, OP_MOVE, OP_FILL };
void req_submit_own(struct pl_disk *d, struct pl_req *req);
static inline bool req_is_own(const struct pl_req *req)
{
	return req->op >= OP_PULL;
}

/* Reserve a pending slot of @w. false: @then runs when a round has freed some, or the request has failed. */
bool slot_take(struct frag *f, struct writer *w, frag_step *then);
/* Is where @g lives not durable yet? */
static inline bool disk_entry_is_pending(const struct pl_disk *d, struct gclu g)
{
	const struct pending *here = d->writer->pending, *leaving = d->leaving ? d->leaving->pending : NULL;
	return (here && pending_has(here, g)) || (leaving && pending_has(leaving, g));
}

/* ---- one file each */
frag_step read_start, write_start, zero_start;
/* Where they look into the map: nothing is decided before. */
frag_step read_place, write_place, zero_place;
frag_step fill_start; /* fill.c */
frag_step pull_start; /* merge_pull.c */
frag_step move_start; /* merge_drain.c */
/* First write to a cluster that the top does not have: gate, space, data, publish. */
void first_write_start(struct frag *f);
/* Of a whole cluster, as a copy where the guest does not write all; @f holds the gate. */
void first_write_whole(struct frag *f);
/* Requests are held: those that only wait for a buffer to copy with are withdrawn. */
void first_writes_withdraw(struct pl_disk *d);
/* The same without a write: the cluster, which is @f->at, as it is into the image of @w. */
void first_write_copy(struct frag *f, struct writer *w);
/* Only the data: into f->new_file of f->w, then move_copied() or move_give_up() (merge_drain.c). */
void first_write_data(struct frag *f);
void move_copied(struct frag *f);
void move_give_up(struct frag *f, int res);
/* Does direct I/O take this range and address as it is? */
bool is_io_aligned(const struct frag *f);
void bounced_read(struct frag *f);
/* What was asked for is read: go on with what is left, or finish. */
void read_piece_done(struct frag *f);
void bounced_write(struct frag *f);

/* ---- space.c */
/* Take a file cluster of f->w for f->new_file. -EAGAIN: @then runs when the file has been extended. */
int space_take(struct frag *f, frag_step *then);
/* Take @n file clusters in a row, fresh ones. -EAGAIN: commit_resume() comes when the file has been extended;
 * -ENOSPC: it cannot be. */
int space_take_run(struct writer *w, uint32_t n, struct fclu *first);
/* The same while nothing else extends the file; blocks, and never finds no space: the run may be a hole. */
int space_take_run_now(struct writer *w, uint32_t n, struct fclu *first);
void space_retry(struct writer *w);

/* D8: try again what found no space. */
void disk_retry(struct pl_disk *d);

/* @fn for each image that is written: the top, and one that is leaving. */
void disk_each_writer(struct pl_disk *d, void (*fn)(struct writer *w));

void disk_event(struct pl_disk *d, const char *what, uint64_t a, uint64_t b);

#endif
