#include "ploop/alloc.h"

#include <errno.h>
#include <string.h>

#include "base/invariant.h"
#include "base/reserve.h"
#include "ploop.h"

static size_t bitmap_bytes(uint32_t clusters)
{
	return div_up(clusters, 64) * sizeof(uint64_t);
}

int alloc_init(struct alloc *a, uint32_t first, uint32_t max)
{
	void *used = space_reserve(bitmap_bytes(max));
	if (!used)
		return pl_fail(-ENOMEM, "no memory for the allocation bitmap of %u clusters", max);
	*a = (struct alloc){.first = first, .max = max, .used = used, .hint = first};
	return 0;
}

void alloc_fini(struct alloc *a)
{
	space_release(a->used, bitmap_bytes(a->max));
	memset(a, 0, sizeof(*a));
}

void alloc_start(struct alloc *a, uint32_t file_clusters)
{
	a->space = MIN(file_clusters, a->max);
	a->tail = MAX(a->space, a->first);
	a->space = a->tail;
}

/* Lowest free cluster in [from, tail), or tail. */
static uint32_t find_free(const struct alloc *a, uint32_t from)
{
	for (uint32_t word = from / 64; word <= (a->tail - 1) / 64 && from < a->tail; word++, from = word * 64) {
		uint64_t free = ~a->used[word] >> (from % 64);
		if (free)
			return MIN(from + (uint32_t)__builtin_ctzll(free), a->tail);
	}
	return a->tail;
}

int alloc_take(struct alloc *a, struct fclu *out, bool *reused)
{
	uint32_t f = a->hint < a->tail ? find_free(a, a->hint) : a->tail;
	a->hint = f;
	*reused = f < a->tail;
	if (f == a->tail) {
		if (f == a->max)
			return -ENOSPC;
		if (f == a->space)
			return -EAGAIN;
		a->tail++;
	}
	a->hint = f + 1;
	invariant(!alloc_is_used(a, (struct fclu){f}));
	*out = (struct fclu){f};
	alloc_mark(a, *out);
	return 0;
}

int alloc_take_run(struct alloc *a, uint32_t n, struct fclu *out)
{
	if (n > a->max - a->tail)
		return -ENOSPC;
	if (n > a->space - a->tail)
		return -EAGAIN;
	*out = (struct fclu){a->tail};
	for (uint32_t i = 0; i < n; i++)
		alloc_mark(a, (struct fclu){a->tail + i});
	a->tail += n;
	return 0;
}

void alloc_give(struct alloc *a, struct fclu f)
{
	invariant(f.n >= a->first && f.n < a->tail && alloc_is_used(a, f));
	a->used[f.n / 64] &= ~(UINT64_C(1) << (f.n % 64));
	a->used_count--;
	a->hint = MIN(a->hint, f.n);
}

uint32_t alloc_end(const struct alloc *a)
{
	uint32_t word = (uint32_t)div_up(a->tail, 64);
	while (word > 0 && a->used[word - 1] == 0)
		word--;
	uint32_t end = word ? word * 64 - (uint32_t)__builtin_clzll(a->used[word - 1]) : 0;
	return MAX(end, a->first);
}
