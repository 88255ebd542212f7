/* The monotonic clock. */
#ifndef PLOOP_BASE_CLOCK_H
#define PLOOP_BASE_CLOCK_H

#include "base/units.h"

#include <time.h>

static inline uint64_t clock_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

#endif
