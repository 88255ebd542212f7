/* Units and index types. A sector is 512 bytes, always; a cluster is the unit of allocation of one image. */
#ifndef PLOOP_BASE_UNITS_H
#define PLOOP_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR_BYTES 512u
#define SECTOR_SHIFT 9

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)

/* A cluster of the virtual disk, and a cluster of an image file: two types, so that mixing them does not compile. */
struct gclu {
	uint32_t n;
};
struct fclu {
	uint32_t n;
};

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1u << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline bool is_pow2(uint64_t v)
{
	return v != 0 && (v & (v - 1)) == 0;
}

static inline uint64_t div_up(uint64_t v, uint64_t by)
{
	return v / by + (v % by != 0);
}

/* @to is a power of two. The caller has made sure that rounding up does not overflow. */
static inline uint64_t round_down_pow2(uint64_t v, uint64_t to)
{
	return v & ~(to - 1);
}

static inline uint64_t round_up_pow2(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static inline bool is_aligned(uint64_t v, uint64_t to)
{
	return (v & (to - 1)) == 0;
}

#endif
