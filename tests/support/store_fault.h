/* A store around another one, in which things go wrong as planned. */
#ifndef PLOOP_TEST_STORE_FAULT_H
#define PLOOP_TEST_STORE_FAULT_H

#include "ploop/store.h"

#define FAULT_KIND(kind) (1u << (kind))
#define FAULT_ANY	 UINT32_MAX

/* The caller's; may be changed while the store is open. Operations are counted from 1. */
struct fault_plan {
	uint32_t kinds;	   /* FAULT_KIND()s that count; 0: any */
	uint64_t seen;	   /* operations of these kinds so far */
	uint64_t from, to; /* these fail (0, 0: none) … */
	int error;	   /* … with this; 0: they are cut short, to half or at least a sector less */
};

struct store *store_fault_wrap(struct store *inner, struct fault_plan *plan);

#endif
