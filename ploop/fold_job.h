/* The inside of a fold: its state, and what its files share. fold.c decides what comes next and keeps the destination
 * consistent; fold_copy.c moves bytes.
 *
 *   MARK ──> COPY ──> SYNC ──> BAT ──> BAT_SYNC ──> CLOSE ──> DONE
 *              └───────<── more to copy ──┘
 *   an error of a copy: COPY ──> CLOSE, without the entries of the round · of anything else: ──> DONE, it stays marked
 *
 * A round is what is copied between two syncs. Its new entries are *pending* until its data is durable (D3). */
#ifndef PLOOP_FOLD_JOB_H
#define PLOOP_FOLD_JOB_H

#include "ploop/bat_file.h"
#include "ploop/ext_copy.h"
#include "ploop/fold.h"

#define FOLD_PIECE_BYTES (1u << 20) /* the most that one copy moves */
#define FOLD_MAX_DEPTH 64u

enum fold_state { FOLD_MARK, FOLD_COPY, FOLD_ROUND, FOLD_CLOSE, FOLD_DONE };

struct fold_entry {
	struct gclu g;
	struct fclu f;
};

struct fold_run { /* clusters that lie in a row in both files */
	struct fclu from, to;
	uint32_t clusters;
	uint32_t entries; /* of them, new: the last ones of the pending */
	bool fresh;       /* the destination reads as zeros */
	uint64_t bytes, at; /* moved, or on the way, up to here */
};

struct fold_copier { /* a piece on its way */
	struct fold *fold;
	struct pl_io io;
	struct pl_buf *buf;
	uint64_t from, to; /* offsets in the files */
	uint64_t length, done;
	struct fold_copier *next; /* free ones */
};

struct fold {
	/* fixed */
	struct fold_options o;
	struct bat_file child, parent; /* of a raw parent only store and cluster size */
	struct bat_file *from, *to;
	bool raw;
	uint64_t raw_bytes;   /* length of a raw parent */
	struct ext_copy *ext; /* the child's; NULL: none */
	uint64_t total_bytes;
	struct fold_copier *copiers;

	/* changes */
	enum fold_state state;
	bool cancelled;
	int res;         /* the first error */
	char error[512]; /* its sentence */
	uint64_t done_bytes;
	uint32_t cursor; /* guest cluster to look at next */
	struct fold_run run;
	struct fold_entry *pending;
	uint32_t pending_count, pending_max;
	struct fold_copier *free_copiers;
	uint32_t in_flight;
	struct pl_timer timer; /* pace; memory; a long walk over nothing */
	bool was_paced;        /* the next copy has waited */

	/* one write or sync after the other */
	struct pl_io io;
	void (*then)(struct fold *f);
	uint8_t *page_run; /* FOLD_PIECE_BYTES of BAT pages */
	uint32_t next_pending;
};

/* As fold_start() up to the first write. *@must_have_sectors: 0, or the parent has to grow to it first, and there is no
 * *@out. */
int fold_new(const struct fold_options *options, struct fold **out, uint64_t *must_have_sectors);
/* Go on with a new one. */
void fold_begin(struct fold *f);

/* fold_copy.c: copy until the round is full, the end, or a reason to stop; then fold_copied(). */
void fold_pump(struct fold *f);
void fold_timer_fired(struct pl_timer *timer);
/* Bytes that are going to be copied. */
uint64_t fold_count(const struct fold *f);

/* fold.c: nothing is in flight. */
void fold_copied(struct fold *f);
/* Remember the sentence of pl_error() unless there was an error before. */
void fold_fail(struct fold *f, int res);

static inline bool fold_is_at_end(const struct fold *f)
{
	return f->cursor == f->from->clusters && f->run.at == f->run.bytes;
}

#endif
