/* A disk whose base has data in each cluster, for tests of what becomes partial above it. */
#ifndef PLOOP_TEST_PARTIAL_RIG_H
#define PLOOP_TEST_PARTIAL_RIG_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <string.h>

#include "base/byteorder.h"
#include "ploop/disk.h"
#include "ploop/fill.h"
#include "ploop/partial.h"
#include "tests/support/rig.h"

#define UNIT (LAY_UNIT_BYTES / SECTOR_BYTES)
#define CLUSTER ((uint64_t)RIG_CLUSTER_SECTORS)

static struct pl_loop *loop;
static struct fault_plan plan; /* counts; fails what a test says */

static inline void setup(void)
{
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
}

static inline void teardown(void)
{
	pl_loop_free(loop);
}

static const struct rig_shape small = {
	.version = 2, .clusters = 8, .depth = 2, .full_base = true, .io_align = 512};

static inline struct rig *full(uint64_t seed)
{
	struct rig *r = rig_new(loop, &small, seed);
	cr_assert(eq(str, r->why, ""));
	return r;
}

static inline void open_rig(struct rig *r, uint32_t flags)
{
	plan = (struct fault_plan){0};
	r->faults = &plan;
	r->faults_everywhere = true;
	cr_assert(eq(int, rig_open_flags(r, flags), 0), "%s", pl_error());
}

static inline struct rig *open_full(uint64_t seed)
{
	struct rig *r = full(seed);
	open_rig(r, 0);
	return r;
}

static inline void finish_rig(struct rig *r)
{
	cr_assert(rig_drain(r) && rig_wait(r), "%s", r->why);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	cr_assert(rig_check_closed(r), "%s", r->why);
	open_rig(r, PL_OPEN_READONLY);
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	rig_close(r);
	rig_free(r);
}

static inline void leave(struct rig *r)
{
	cr_assert(rig_drain(r) && rig_wait(r), "%s", r->why);
	cr_assert(eq(int, rig_leave(r), 0), "%s", pl_error());
	cr_assert(rig_check_left(r), "%s", r->why);
}

static inline void request(struct rig *r, enum pl_op op, uint32_t flags, uint64_t first, uint64_t count)
{
	cr_assert(rig_submit(r, op, flags, first, count, false) && rig_drain(r), "%s", r->why);
}

static inline void write_at(struct rig *r, uint64_t first, uint64_t count)
{
	request(r, PL_WRITE, 0, first, count);
}

static inline struct rig *left_unfinished(uint64_t seed)
{
	struct rig *r = open_full(seed);
	for (uint64_t g = 0; g < 5; g++)
		write_at(r, g * CLUSTER + g * UNIT, UNIT);
	leave(r);
	return r;
}

#endif
