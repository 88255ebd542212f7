/* A disk behind the control protocol without an engine: a chain of three images. A change runs until the test says
 * control_fake_finish(), or, with a loop, in ten steps of 10 ms. */
#ifndef PLOOP_TEST_CONTROL_FAKE_H
#define PLOOP_TEST_CONTROL_FAKE_H

#include "kmod-free/control_conn.h"

#define CONTROL_FAKE_MEMBERS 3

struct control_fake {
	struct control_backend backend;
	struct pl_member members[CONTROL_FAKE_MEMBERS];
	struct pl_loop *loop; /* NULL: changes wait for the test */
	struct pl_timer tick;
	int push_fails; /* negative errno for the next push */
	void (*on_push)(struct control_fake *fake); /* called from inside; NULL: nothing */

	char pushed[CONTROL_NAME_BYTES + 1]; /* "": nothing is */
	struct pl_disk_stat stat; /* what stat tells; set and set_on_full change it */
	uint32_t retries;
	char replaced_by[CONTROL_NAME_BYTES + 1];
	uint32_t pushes, abandons, switches, merges, replaces, finishes, handovers, cancels;
	uint32_t child; /* of the last merge, or the place of the last replace */
	enum pl_merge_into into;
	struct pl_switch_options options; /* of the last switch; its cbt_uuid lies in @uuid */
	char uuid[64];
	bool cancelled;
	struct pl_change *change; /* runs */
	bool switching;
};

void control_fake_init(struct control_fake *f, struct pl_loop *loop);
/* The running change is done with @res. */
void control_fake_finish(struct control_fake *f, int res);

#endif
