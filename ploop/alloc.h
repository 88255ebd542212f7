/* File clusters of the top image: which are used, which are free, and how far the file has space.
 *
 *   | header + BAT | used, free, used, …          | reserved ahead | not yet in the file
 *   0              first                           tail             space
 *
 * Free clusters below the tail are taken first, lowest first; they hold bytes of a previous owner and must be zeroed
 * or wholly written before they are mapped (D4). At the tail the file is extended in growing runs, so that a disk
 * written in order lies in order on the host. Nothing here does I/O: see space.c. */
#ifndef PLOOP_ALLOC_H
#define PLOOP_ALLOC_H

#include "base/units.h"

struct alloc {
	uint32_t first;     /* first data cluster of the file */
	uint32_t max;       /* the file never has more clusters than this */
	uint64_t *used;     /* bit per file cluster, of max */
	uint32_t used_count; /* data clusters in use */
	uint32_t tail;      /* no cluster at or after it was ever used */
	uint32_t space;     /* the file has space up to here; ≥ tail */
	uint32_t hint;      /* no free cluster below it */
};

/* -ENOMEM. Bits of @used are set by whoever loads the BAT; then alloc_start(). */
int alloc_init(struct alloc *a, uint32_t first, uint32_t max);
void alloc_fini(struct alloc *a);

/* The BAT is loaded, the file has @file_clusters whole clusters. */
void alloc_start(struct alloc *a, uint32_t file_clusters);

/* Take a cluster. *@reused tells that it may hold old bytes. -EAGAIN: the file must be extended first; -ENOSPC: the
 * format cannot address more. */
int alloc_take(struct alloc *a, struct fclu *out, bool *reused);

/* Take @n that lie in a row and are fresh. Fails as alloc_take() does. */
int alloc_take_run(struct alloc *a, uint32_t n, struct fclu *out);

/* Give one back. Only after nothing on disk points to it durably (D3, D4) and no I/O on it is in flight. */
void alloc_give(struct alloc *a, struct fclu f);

/* One past the last cluster in use: where a closed file ends. */
uint32_t alloc_end(const struct alloc *a);

static inline bool alloc_is_used(const struct alloc *a, struct fclu f)
{
	return a->used[f.n / 64] >> (f.n % 64) & 1;
}

static inline void alloc_mark(struct alloc *a, struct fclu f)
{
	a->used[f.n / 64] |= UINT64_C(1) << (f.n % 64);
	a->used_count++;
}

#endif
