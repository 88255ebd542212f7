/* A disk under test: a chain on memory (or in files), several requests in flight, and the model that judges them.
 *
 *   rig_new -> rig_open -> rig_random_op, rig_submit, rig_turn … -> rig_drain -> rig_close -> rig_check_closed
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
#define RIG_MAX_DEPTH	    4u

struct rig_shape {
	uint32_t version; /* 1, 2 */
	uint32_t clusters;
	uint32_t depth;
	bool raw_base;
	uint32_t io_align, mem_align; /* 0: 1 */
	bool no_punch, no_zero_range, no_allocate;
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

struct rig {
	struct rig_shape shape;
	struct pl_loop *loop;
	struct prng random; /* of the operations */
	struct prng order;  /* of the store */
	bool reorder;
	uint64_t sectors;
	struct medium *media[RIG_MAX_DEPTH];
	struct medium *top;
	struct fault_plan *faults; /* of the top; NULL: none */
	struct model *model;
	struct pl_disk *disk;
	struct rig_slot slots[RIG_SLOTS];
	uint32_t busy;
	uint64_t refused; /* requests that ended with an error */
	bool errors_expected;
	bool reuses_early; /* breaks D4 on purpose */
	char why[512];
};

/* A chain with random content in every delta below the top, and an empty top. The loop stays the caller's. */
struct rig *rig_new(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed);
/* The same disk once more, as it is now; not open. Memory only. */
struct rig *rig_clone(const struct rig *r, uint64_t seed);
void rig_free(struct rig *r);
/* A shape out of the common ones, from @p. */
struct rig_shape rig_random_shape(struct prng *p);
void rig_describe(const struct rig_shape *s, char *out, size_t n);

int rig_open(struct rig *r);
int rig_open_flags(struct rig *r, uint32_t flags);
int rig_close(struct rig *r);

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
/* Is the top, after a clean close, a plain image? Memory only. */
bool rig_check_closed(struct rig *r);
/* Another top, for instance what a crash left; the old one is freed. */
void rig_replace_top(struct rig *r, struct medium *m);

#endif
