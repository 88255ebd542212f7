/* The bytes of an image file in memory, and what a power failure makes of them.
 *
 *   written ──────────────> bytes            what everybody reads, until the power fails
 *      └──> journal ──sync──> durable        what is left afterwards, plus any subset of the journal's rest
 *
 * A record of the journal becomes durable when a sync that was submitted after the record's completion completes, or,
 * written with PL_IO_DSYNC, when it completes itself. Of what is not durable a failure keeps all, nothing, or any
 * sectors. */
#ifndef PLOOP_TEST_MEDIUM_H
#define PLOOP_TEST_MEDIUM_H

#include "base/units.h"
#include "ploop.h"
#include "tests/support/prng.h"

enum record_kind { RECORD_WRITE, RECORD_ZERO, RECORD_SIZE };

struct record {
	enum record_kind kind;
	bool durable;
	uint64_t completed; /* stamp; 0: not yet */
	uint64_t offset, length;
	uint8_t *data;
	struct record *next;
};

/* Memory only as far as something was written: the rest of the size reads as zeros. */
struct mem_file {
	uint8_t *bytes;
	uint64_t held_bytes; /* beyond them it is zero */
	uint64_t room_bytes; /* of @bytes */
	uint64_t size_bytes;
};

struct power { /* one supply for all media of a machine; the caller's */
	uint64_t ops;         /* changes and syncs submitted so far */
	uint64_t fails_at_op; /* it fails when this one is submitted; 0: never */
	bool idle;            /* what is submitted now does not count */
	bool failed;
};

struct medium {
	struct mem_file now;
	bool sealed; /* D5: a change of it is a bug */
	bool stuck;  /* what is submitted is not done until this is over */

	/* the journal; unused unless there is @power that can fail */
	struct power *power;
	struct mem_file base; /* durable, without the records */
	struct record *first, **last;
	uint64_t stamp;

	/* a deliberately broken device, for the test of the tests: the sync that follows a write of data does nothing
	 */
	bool lies;
	uint64_t data_from; /* where data begins */
	bool has_new_data;

	struct medium *next; /* the owner's */
};

struct medium *medium_new(void);
struct medium *medium_clone(const struct medium *m);
void medium_free(struct medium *m);

/* Up to @length bytes; returns the count, less only at the end of the file. */
uint64_t medium_read(const struct medium *m, void *buf, uint64_t length, uint64_t offset);

/* From now on the journal is kept; all there is is durable. */
void medium_start_journal(struct medium *m, struct power *power);

/* Does the power hold? */
static inline bool medium_has_power(const struct medium *m)
{
	return !m->power || !m->power->failed;
}
/* The same, for an operation that changes or syncs and is submitted now. */
bool medium_spend_power(struct medium *m);
/* Do it; the record is completed by medium_complete(), which ignores NULL (no journal). */
struct record *medium_write(struct medium *m, const void *data, uint64_t length, uint64_t offset);
struct record *medium_zero(struct medium *m, uint64_t length, uint64_t offset);
struct record *medium_set_size(struct medium *m, uint64_t bytes);
void medium_complete(struct medium *m, struct record *r, bool durable);
/* A sync submitted at @stamp is done. */
void medium_sync(struct medium *m, uint64_t stamp);

enum survivors { SURVIVES_NOTHING, SURVIVES_ALL, SURVIVES_SOME };
/* What is left after the power failed; all of a medium without a journal. */
struct medium *medium_after_crash(const struct medium *m, enum survivors what, struct prng *p);

#endif
