/* Arithmetic on numbers that others wrote: true means that the result fits and was stored. */
#ifndef PLOOP_BASE_CHECKED_H
#define PLOOP_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* Does [offset, offset + length) lie inside [0, limit)? */
static inline bool range_fits(uint64_t offset, uint64_t length, uint64_t limit)
{
	return length <= limit && offset <= limit - length;
}

#endif
