#include "ploop/pending.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/invariant.h"
#include "ploop.h"

#define NONE UINT32_MAX

enum slot_state { SLOT_FREE, SLOT_LIVE, SLOT_IN_ROUND };

int pending_shm_new(uint32_t guest_clusters, uint32_t cluster_bytes, int *out_fd, struct pending_shm **out)
{
	uint64_t bytes = PENDING_PARTIAL_AT + partial_shm_bytes(guest_clusters, cluster_bytes);
	autofd int fd = memfd_create("ploop-pending", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return pl_fail(-errno, "cannot create shared memory for pending map changes: %s", strerror(errno));
	struct pending_shm *shm = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shm == MAP_FAILED)
		return pl_fail(-errno, "cannot map shared memory for pending map changes: %s", strerror(errno));
	memset(shm->slots, 0xff, sizeof(shm->slots));
	shm->bytes = bytes;
	partial_shm_init(pending_partials(shm), guest_clusters, cluster_bytes);
	*out_fd = fd_steal(&fd);
	*out = shm;
	return 0;
}

static uint32_t bucket_of(struct gclu g)
{
	return (g.n * UINT32_C(2654435761)) >> 18; /* 14 bits: PENDING_SLOTS buckets */
}

static struct gclu slot_guest(const struct pending *p, uint32_t slot)
{
	return (struct gclu){(uint32_t)(p->shm->slots[slot] >> 32)};
}

static void store_slot(struct pending *p, uint32_t slot, uint64_t word)
{
	__atomic_store_n(&p->shm->slots[slot], word, __ATOMIC_RELEASE);
}

static uint32_t find(const struct pending *p, struct gclu g)
{
	for (uint32_t s = p->buckets[bucket_of(g)]; s != NONE; s = p->next[s])
		if (slot_guest(p, s).n == g.n)
			return s;
	return NONE;
}

static void mark_page(struct pending *p, struct gclu g)
{
	uint32_t page = bat_page_of(g);
	uint64_t bit = UINT64_C(1) << (page % 64);
	if (!(p->dirty_pages[page / 64] & bit)) {
		p->dirty_pages[page / 64] |= bit;
		p->page_count++;
	}
}

static void push_free(struct pending *p, uint32_t slot)
{
	p->state[slot] = SLOT_FREE;
	p->next[slot] = p->free_head;
	p->free_head = slot;
	p->free_count++;
}

static void link_live(struct pending *p, uint32_t slot)
{
	struct gclu g = slot_guest(p, slot);
	uint32_t *bucket = &p->buckets[bucket_of(g)];
	p->next[slot] = *bucket;
	*bucket = slot;
	p->state[slot] = SLOT_LIVE;
	p->live_count++;
	mark_page(p, g);
}

int pending_new(struct pending_shm *shm, uint32_t guest_clusters, struct pending **out)
{
	autofree struct pending *p = calloc(1, sizeof(*p));
	uint32_t pages = bat_page_of((struct gclu){guest_clusters - 1}) + 1;
	uint64_t *dirty = calloc(div_up(pages, 64), sizeof(*dirty));
	if (!p || !dirty) {
		free(dirty);
		return pl_fail(-ENOMEM, "no memory for pending map changes");
	}
	p->shm = shm;
	p->shm_bytes = shm->bytes;
	p->free_head = NONE;
	p->dirty_pages = dirty;
	p->pages_total = pages;
	p->data_first = true; /* what a dead server left may be anything */
	memset(p->buckets, 0xff, sizeof(p->buckets));
	for (uint32_t s = PENDING_SLOTS; s-- > 0;) {
		if (shm->slots[s] == PENDING_EMPTY)
			push_free(p, s);
		else
			link_live(p, s);
	}
	if (p->page_count > PENDING_MAX_PAGES) {
		pl_fail(-EUCLEAN, "a dead server's table changes %u pages of the BAT, a round writes up to %u",
			p->page_count, PENDING_MAX_PAGES);
		free(dirty);
		return -EUCLEAN;
	}
	*out = mem_steal(&p);
	return 0;
}

void pending_free(struct pending *p)
{
	if (!p)
		return;
	munmap(p->shm, p->shm_bytes);
	free(p->dirty_pages);
	free(p);
}

int pending_reserve(struct pending *p)
{
	/* A reservation may also need a page of its own; whoever takes over has to write them all in one round. */
	uint32_t pages = p->page_count + p->round_page_count + p->reserved_count;
	if (p->reserved_count >= p->free_count || pages >= PENDING_MAX_PAGES)
		return -EAGAIN;
	p->reserved_count++;
	return 0;
}

void pending_unreserve(struct pending *p)
{
	invariant(p->reserved_count > 0);
	p->reserved_count--;
}

void pending_set(struct pending *p, struct gclu g, struct fclu f)
{
	p->data_first = true;
	pending_set_fresh(p, g, f);
}

void pending_set_fresh(struct pending *p, struct gclu g, struct fclu f)
{
	uint64_t word = (uint64_t)g.n << 32 | f.n;
	pending_unreserve(p);
	uint32_t slot = find(p, g);
	if (slot != NONE) {
		store_slot(p, slot, word);
		if (p->state[slot] == SLOT_IN_ROUND)
			p->live_count++;
		p->state[slot] = SLOT_LIVE;
		mark_page(p, g);
		return;
	}
	invariant(p->free_count > 0);
	slot = p->free_head;
	p->free_head = p->next[slot];
	p->free_count--;
	store_slot(p, slot, word);
	link_live(p, slot);
}

bool pending_has(const struct pending *p, struct gclu g)
{
	return find(p, g) != NONE;
}

uint32_t pending_cut(struct pending *p, uint32_t pages[PENDING_MAX_PAGES])
{
	uint32_t n = 0;
	for (uint32_t w = 0; w < div_up(p->pages_total, 64); w++) {
		for (; p->dirty_pages[w]; p->dirty_pages[w] &= p->dirty_pages[w] - 1) {
			invariant(n < PENDING_MAX_PAGES);
			pages[n++] = w * 64 + (uint32_t)__builtin_ctzll(p->dirty_pages[w]);
		}
	}
	p->round_page_count = n;
	p->page_count = 0;
	p->round_data_first = p->data_first;
	p->data_first = false;
	for (uint32_t s = 0; p->live_count > 0; s++) {
		if (p->state[s] != SLOT_LIVE)
			continue;
		p->state[s] = SLOT_IN_ROUND;
		p->live_count--;
	}
	return n;
}

static void unlink_slot(struct pending *p, uint32_t slot)
{
	uint32_t *at = &p->buckets[bucket_of(slot_guest(p, slot))];
	while (*at != slot)
		at = &p->next[*at];
	*at = p->next[slot];
}

void pending_settle(struct pending *p)
{
	p->round_page_count = 0;
	for (uint32_t s = 0; s < PENDING_SLOTS; s++) {
		if (p->state[s] != SLOT_IN_ROUND)
			continue;
		unlink_slot(p, s);
		store_slot(p, s, PENDING_EMPTY);
		push_free(p, s);
	}
}

void pending_unsettle(struct pending *p)
{
	p->round_page_count = 0;
	p->data_first = true;
	for (uint32_t s = 0; s < PENDING_SLOTS; s++) {
		if (p->state[s] != SLOT_IN_ROUND)
			continue;
		p->state[s] = SLOT_LIVE;
		p->live_count++;
		mark_page(p, slot_guest(p, s));
	}
}

void pending_event(struct pending_shm *shm, const char *what, uint64_t a, uint64_t b)
{
	struct pending_event *e = &shm->events[shm->event_next++ % PENDING_EVENTS];
	e->time_ns = pl_now_ns();
	snprintf(e->what, sizeof(e->what), "%s", what);
	e->a = a;
	e->b = b;
}

void pending_dump(const struct pending_shm *shm, void (*line)(void *arg, const char *text), void *arg)
{
	uint32_t end = shm->event_next;
	for (uint32_t i = end > PENDING_EVENTS ? end - PENDING_EVENTS : 0; i != end; i++) {
		const struct pending_event *e = &shm->events[i % PENDING_EVENTS];
		char text[128];
		snprintf(text, sizeof(text), "%llu.%06llu %.*s %llu %llu", (unsigned long long)(e->time_ns / NS_PER_S),
			 (unsigned long long)(e->time_ns % NS_PER_S / 1000), (int)sizeof(e->what), e->what,
			 (unsigned long long)e->a, (unsigned long long)e->b);
		line(arg, text);
	}
}
