/* Address space for tables that are mostly empty: zero, and not there until it is touched. */
#ifndef PLOOP_RESERVE_H
#define PLOOP_RESERVE_H

#include <stddef.h>
#include <sys/mman.h>

/* NULL: none is left. */
static inline void *space_reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_DONTFORK);
	return p;
}

/* NULL is fine. */
static inline void space_release(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

#endif
