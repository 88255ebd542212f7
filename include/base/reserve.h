/* Address space for tables that are mostly empty: zero, and not there until it is touched. */
#ifndef BASE_RESERVE_H
#define BASE_RESERVE_H

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24 /* Linux 5.18 */
#endif

/* NULL: none is left. */
static inline void *space_reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_DONTFORK);
	return p;
}

/* Zero again, and the memory goes back to the system; before Linux 5.18 locked memory stays. @p begins a page. */
static inline void space_clear(void *p, size_t bytes)
{
	if (madvise(p, bytes, MADV_DONTNEED_LOCKED) < 0 && madvise(p, bytes, MADV_DONTNEED) < 0)
		memset(p, 0, bytes);
}

/* NULL is fine. */
static inline void space_release(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

#endif
