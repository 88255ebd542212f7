/* What makes partial clusters durable, and keeps stock tools out as long as there are any (D1, D3, D7): a journal in
 * the image file, to which a fenced header points. Format: layout/README.md. Commit rounds carry it (commit.h):
 *
 *   APPEND    one record of what changed since the last one: written when the data is durable, beside the BAT pages
 *   REBUILD   a new journal with all there is, in clusters of its own: written before the data is synced, and pointed
 *             to when both are durable. The clusters of the old one are free after the round
 *   UNFENCE   nothing is partial any more: the plain header again; the journal's clusters are free after the round
 *
 * A cluster that became whole leaves the journal a round after its BAT entry has become durable, never in the same one:
 * of two writes between two syncs either may be lost. Who reads both believes the BAT.
 *
 *   power fails after…       leaves                                  the next open
 *   REBUILD's first write    header as before                        reads the journal before, or none
 *   the header is written    fenced, a whole journal                 reads it
 *   APPEND                   a whole record or none                  reads up to it
 *   UNFENCE                  plain and in use, all in the BAT; or    as any disk that was in use; or reads a journal
 *                            fenced, with an old journal             of which the BAT has everything */
#ifndef PLOOP_JOURNAL_H
#define PLOOP_JOURNAL_H

#include "base/units.h"
#include "layout/journal.h"

struct writer;

enum journal_step { JOURNAL_NONE, JOURNAL_APPEND, JOURNAL_REBUILD, JOURNAL_UNFENCE };

struct journal_area { /* clusters of the file that lie in a row */
	struct fclu first;
	uint32_t clusters; /* 0: none */
};

struct journal {
	bool fenced;   /* the header says so, and points to @area */
	bool wanted;   /* first writes wait for the fence */
	bool refused;  /* the host had no space for a journal when it was wanted last */
	bool rebuild;  /* what the file has is not to be continued */
	bool unwanted; /* nothing is partial, and has not been for a while */
	struct journal_area area;
	uint8_t id[LAY_JOURNAL_ID_BYTES];
	uint64_t at_bytes; /* in @area: where the next record goes */
	uint64_t number;   /* of it */

	/* of the round */
	int error; /* it cannot begin: the file could not be extended */
	enum journal_step step;
	struct journal_area next; /* taken for a rebuild */
	uint64_t record_bytes;
	uint8_t *buffer; /* address space for a head and the largest record */
	uint64_t buffer_bytes;
};

/* -ENOMEM */
int journal_init(struct writer *w);
void journal_fini(struct writer *w);

/* Is the fence up, so that clusters may be partial? WAIT: after the next round, look again. */
enum journal_fence { FENCE_UP, FENCE_WAIT, FENCE_NO };
enum journal_fence journal_raise(struct writer *w);

/* Is there something for a round? */
bool journal_has_work(const struct writer *w);
/* A round is about to start: choose its step, and take the space that it needs. false: the round must wait for it;
 * commit_resume() comes when there is some. */
bool journal_prepare(struct writer *w);
/* The same for the last round of an image that no request writes any more: it does not wait. */
void journal_prepare_last(struct writer *w);
/* The cut: build what the step writes. After swap_freed(). */
void journal_cut(struct writer *w);
/* Does the round write page 0 for the header's sake? */
static inline bool journal_changes_header(const struct journal *j)
{
	return j->step == JOURNAL_REBUILD || j->step == JOURNAL_UNFENCE;
}
/* What the round writes: where in the file, or length 0. */
struct journal_write {
	void *data;
	uint64_t length_bytes, offset_bytes;
};
struct journal_write journal_output(const struct writer *w);
/* The round is durable. */
void journal_settle(struct writer *w);

/* The header as the file shall have it, at the end of the round that runs. */
struct lay_header journal_header(const struct writer *w);

/* The header is plain, durably: what the journal took is free. */
void journal_give_space(struct writer *w);

/* Closing, nothing is partial: the plain header, marked in use, durable on return; the journal's clusters are free. */
int journal_drop(struct writer *w);

#endif
