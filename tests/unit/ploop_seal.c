/* The end of an image that was the top, under a running disk. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>

#include "tests/support/rig.h"

TestSuite(ploop_seal, .timeout = 120);

/* A hole before it is cut off, where the host can make one. */
static void give_up_space(int error)
{
	struct pl_loop *loop;
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
	struct rig_shape shape = {.version = 2, .clusters = 8, .depth = 1, .io_align = 512, .mem_align = 512};
	struct fault_plan holes = {.kinds = FAULT_KIND(PL_IO_FALLOCATE), .error = error};
	struct rig *r = rig_new(loop, &shape, 1);
	r->faults = &holes;
	cr_assert(zero(int, rig_open(r)), "%s", pl_error());
	cr_assert(rig_submit(r, PL_WRITE, 0, 0, RIG_CLUSTER_SECTORS, false) && rig_drain(r), "%s", r->why);
	cr_assert(zero(int, rig_push(r)), "%s", pl_error());
	uint64_t seen = holes.seen, before = r->chain.at[0].m->now.size_bytes;
	if (error)
		holes.from = holes.to = seen + 1;
	rig_switch(r, NULL);
	cr_assert(rig_wait(r), "%s", r->why);
	cr_expect(zero(int, r->change.change.res));
	cr_expect(eq(u64, holes.seen, seen + 2), "a hole, and the new size");
	cr_expect(lt(u64, r->chain.at[0].m->now.size_bytes, before));
	cr_assert(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(zero(int, rig_close(r)), "%s", pl_error());
	cr_expect(rig_check_closed(r), "%s", r->why);
	rig_free(r);
	pl_loop_free(loop);
}

Test(ploop_seal, space_that_is_not_used_is_given_up)
{
	give_up_space(0);
}

Test(ploop_seal, space_is_given_up_where_no_hole_can_be_made)
{
	give_up_space(-EOPNOTSUPP);
}
