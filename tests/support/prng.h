/* Random numbers from a seed: the same seed, the same run. */
#ifndef PLOOP_TEST_PRNG_H
#define PLOOP_TEST_PRNG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct prng {
	uint64_t state;
};

static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = p->state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 … n - 1 */
static inline uint32_t prng_below(struct prng *p, uint32_t n)
{
	return (uint32_t)(prng_next(p) % n);
}

static inline bool prng_percent(struct prng *p, uint32_t percent)
{
	return prng_below(p, 100) < percent;
}

/* SEED of the environment, or @otherwise. */
static inline uint64_t prng_seed(uint64_t otherwise)
{
	const char *s = getenv("SEED");
	return s && *s ? strtoull(s, NULL, 0) : otherwise;
}

#endif
