/* A store on a medium in memory. Operations are done by the loop's turns: in order, or, with a random source, late and
 * in any order, as devices do. It insists on what direct I/O insists on: alignment of offset, length and address.
 * On a medium with a journal it is the crash store: once the power is out, nothing completes but with -EIO. */
#ifndef PLOOP_TEST_STORE_MEM_H
#define PLOOP_TEST_STORE_MEM_H

#include "ploop/store.h"
#include "tests/support/medium.h"

struct store_mem_options {
	uint32_t io_align, mem_align;		   /* 0: 1 */
	struct prng *order;			   /* NULL: in order */
	bool no_punch, no_zero_range, no_allocate; /* fallocate modes this file system lacks */
};

/* @m stays the caller's and must outlive the store. */
struct store *store_mem_open(struct pl_loop *loop, struct medium *m, const struct store_mem_options *options);

#endif
