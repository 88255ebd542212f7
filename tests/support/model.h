/* What a disk may show, sector by sector. It judges unit, crash and fuzz runs alike.
 *
 * A sector has versions: those written since, and the one that was there. A version is over when a later one, that was
 * submitted after it had completed, counts: for a read, when that later one completed before the read was submitted;
 * after a power failure, when it is durable (flushed: completed before the submit of a flush that was acknowledged; or
 * acknowledged with FUA); after the death of the process, when it was acknowledged (D2). Any version that is not over
 * may be seen. A discard adds zeros and ends nothing.
 *
 * A sector's bytes name sector and version, so that bytes of another owner (D4) are known for what they are. */
#ifndef PLOOP_TEST_MODEL_H
#define PLOOP_TEST_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_ZEROS 0u /* the version that is all zeros */
#define MODEL_NEVER UINT32_MAX

struct version {
	uint32_t id;
	uint32_t submitted, completed; /* the model's clock; MODEL_NEVER: not acknowledged */
	bool fua, weak;
};

struct versions {
	struct version *at;
	uint32_t count, max;
};

struct model {
	uint64_t sectors;
	struct versions *of;
	uint32_t clock;
	uint32_t flushed; /* what completed before is durable */
	uint32_t reads;	  /* under way */
	uint32_t next_id;
	char why[256]; /* of the last judgement that was "wrong" */
};

/* All zeros, durable. */
struct model *model_new(uint64_t sectors);
struct model *model_clone(const struct model *m);
void model_free(struct model *m);

/* Fill @count sectors with version @id of sector @first and following. */
void model_fill(void *buf, uint64_t first, uint64_t count, uint32_t id);

enum model_kind { MODEL_READ, MODEL_WRITE, MODEL_ZERO, MODEL_DISCARD, MODEL_FLUSH };
struct model_op {
	enum model_kind kind;
	bool fua;
	uint64_t first, count;
	uint32_t id; /* of a write; chosen by the model unless it writes zeros */
	uint32_t submitted;
};
/* Call before the request is submitted … */
void model_submit(struct model *m, struct model_op *op);
/* … and when it is done. @buf: what was read. false: that cannot be, m->why says it. */
bool model_done(struct model *m, const struct model_op *op, bool acknowledged, const void *buf);

enum model_event { MODEL_POWER_FAILED, MODEL_PROCESS_DIED };
/* Is @buf what @count sectors may show after @event? */
bool model_judge(struct model *m, enum model_event event, const void *buf, uint64_t first, uint64_t count);
/* What was found there is what there is now, durable; nothing is under way. */
void model_settle(struct model *m, const void *buf, uint64_t first, uint64_t count);

#endif
