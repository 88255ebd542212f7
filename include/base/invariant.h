/* What only a bug of ours can break. invariant() stays on in release builds; paranoid() is for checks whose cost
 * grows with the data and is on in test builds (PLOOP_PARANOID). Input from outside is checked and refused instead. */
#ifndef PLOOP_BASE_INVARIANT_H
#define PLOOP_BASE_INVARIANT_H

#include <stdio.h>
#include <stdlib.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

_Noreturn static inline void invariant_failed(const char *cond, const char *file, int line)
{
	fprintf(stderr, "ploop: invariant broken: %s (%s:%d)\n", cond, file, line);
	abort();
}

#define invariant(cond) (likely(cond) ? (void)0 : invariant_failed(#cond, __FILE__, __LINE__))

#ifdef PLOOP_PARANOID
#define paranoid(cond) invariant(cond)
#else
#define paranoid(cond) ((void)sizeof(!!(cond)))
#endif

#endif
