#include "tests/support/medium.h"

#include <string.h>

#include "base/invariant.h"

/* ---- memory. Media come and go by the thousand, and fresh pages cost more than what is done with them. */

#define SPARES 16

static struct spare {
	uint8_t *bytes;
	uint64_t room_bytes;
} spares[SPARES];

/* Of any content. */
static void take(struct mem_file *f, uint64_t bytes)
{
	struct spare *best = NULL;
	for (size_t i = 0; i < SPARES; i++)
		if (spares[i].room_bytes >= bytes && (!best || spares[i].room_bytes < best->room_bytes))
			best = &spares[i];
	f->bytes = best ? best->bytes : malloc(bytes);
	f->room_bytes = best ? best->room_bytes : bytes;
	invariant(f->bytes);
	if (best)
		*best = (struct spare){0};
}

/* The largest stay. */
static void give_back(struct mem_file *f)
{
	struct spare *least = &spares[0];
	for (size_t i = 1; i < SPARES; i++)
		if (spares[i].room_bytes < least->room_bytes)
			least = &spares[i];
	struct spare given = {f->bytes, f->room_bytes};
	if (least->room_bytes < given.room_bytes) {
		struct spare last = *least;
		*least = given;
		given = last;
	}
	free(given.bytes);
}

/* ---- bytes */

static void hold(struct mem_file *f, uint64_t bytes)
{
	if (bytes <= f->held_bytes)
		return;
	struct mem_file old = *f;
	uint64_t held = MAX(bytes, f->held_bytes * 2);
	if (held > f->room_bytes) {
		take(f, held);
		if (old.held_bytes)
			memcpy(f->bytes, old.bytes, old.held_bytes);
		give_back(&old);
	}
	memset(f->bytes + f->held_bytes, 0, held - f->held_bytes);
	f->held_bytes = held;
}

/* @to has nothing yet. */
static void copy(struct mem_file *to, const struct mem_file *from)
{
	invariant(!to->bytes);
	if (from->held_bytes) {
		take(to, from->held_bytes);
		memcpy(to->bytes, from->bytes, from->held_bytes);
	}
	to->held_bytes = from->held_bytes;
	to->size_bytes = from->size_bytes;
}

static void put(struct mem_file *f, const void *data, uint64_t length, uint64_t offset)
{
	hold(f, offset + length);
	memcpy(f->bytes + offset, data, length);
	f->size_bytes = MAX(f->size_bytes, offset + length);
}

static void zero(struct mem_file *f, uint64_t length, uint64_t offset)
{
	if (offset < f->held_bytes)
		memset(f->bytes + offset, 0, MIN(length, f->held_bytes - offset));
}

static void set_size(struct mem_file *f, uint64_t bytes)
{
	if (bytes < f->size_bytes)
		zero(f, f->size_bytes - bytes, bytes);
	f->size_bytes = bytes;
}

uint64_t medium_read(const struct medium *m, void *buf, uint64_t length, uint64_t offset)
{
	const struct mem_file *f = &m->now;
	if (offset >= f->size_bytes)
		return 0;
	uint64_t n = MIN(length, f->size_bytes - offset);
	uint64_t held = offset < f->held_bytes ? MIN(n, f->held_bytes - offset) : 0;
	if (held)
		memcpy(buf, f->bytes + offset, held);
	memset((char *)buf + held, 0, n - held);
	return n;
}

struct medium *medium_new(void)
{
	struct medium *m = calloc(1, sizeof(*m));
	invariant(m);
	m->last = &m->first;
	return m;
}

struct medium *medium_clone(const struct medium *m)
{
	struct medium *c = medium_new();
	copy(&c->now, &m->now);
	c->sealed = m->sealed;
	c->data_from = m->data_from;
	return c;
}

static void free_first(struct medium *m)
{
	struct record *r = m->first;
	m->first = r->next;
	if (!m->first)
		m->last = &m->first;
	free(r->data);
	free(r);
}

void medium_free(struct medium *m)
{
	if (!m)
		return;
	while (m->first)
		free_first(m);
	give_back(&m->base);
	give_back(&m->now);
	free(m);
}

void medium_start_journal(struct medium *m, struct power *power)
{
	invariant(!m->power);
	m->power = power;
	m->stamp = 1;
	copy(&m->base, &m->now);
}

bool medium_spend_power(struct medium *m)
{
	struct power *p = m->power;
	if (!p)
		return true;
	p->ops += !p->idle;
	if (p->fails_at_op && p->ops >= p->fails_at_op)
		p->failed = true;
	return !p->failed;
}

/* ---- changes */

static void apply_part(struct mem_file *f, const struct record *r, uint64_t from, uint64_t n)
{
	if (r->kind == RECORD_WRITE)
		put(f, r->data + from, n, r->offset + from);
	else
		zero(f, n, r->offset + from);
}

static void apply(struct mem_file *f, const struct record *r)
{
	if (r->kind == RECORD_SIZE)
		set_size(f, r->length);
	else
		apply_part(f, r, 0, r->length);
}

static struct record *change(struct medium *m, const struct record *r)
{
	invariant(!m->sealed);
	if (r->offset >= m->data_from && r->kind != RECORD_SIZE)
		m->has_new_data = true;
	struct record *kept = NULL;
	if (m->power) {
		kept = malloc(sizeof(*kept));
		invariant(kept);
		*kept = *r;
		if (r->data) {
			kept->data = malloc(r->length);
			invariant(kept->data);
			memcpy(kept->data, r->data, r->length);
		}
		*m->last = kept;
		m->last = &kept->next;
	}
	if (medium_has_power(m))
		apply(&m->now, r);
	return kept;
}

struct record *medium_write(struct medium *m, const void *data, uint64_t length, uint64_t offset)
{
	return change(m, &(struct record){RECORD_WRITE, .data = (void *)data, .length = length, .offset = offset});
}

struct record *medium_zero(struct medium *m, uint64_t length, uint64_t offset)
{
	return change(m, &(struct record){RECORD_ZERO, .length = length, .offset = offset});
}

struct record *medium_set_size(struct medium *m, uint64_t bytes)
{
	return change(m, &(struct record){RECORD_SIZE, .length = bytes});
}

/* ---- durability */

static void compact(struct medium *m)
{
	while (m->first && m->first->durable) {
		apply(&m->base, m->first);
		free_first(m);
	}
}

void medium_complete(struct medium *m, struct record *r, bool durable)
{
	if (!r || !medium_has_power(m))
		return;
	r->completed = ++m->stamp;
	if (durable)
		r->durable = true;
	compact(m);
}

void medium_sync(struct medium *m, uint64_t stamp)
{
	if (!m->power || m->power->failed)
		return;
	if (m->lies && m->has_new_data) {
		m->has_new_data = false;
		return;
	}
	for (struct record *r = m->first; r; r = r->next)
		if (r->completed && r->completed <= stamp)
			r->durable = true;
	compact(m);
}

static void survive_some(struct medium *m, const struct record *r, struct prng *p)
{
	uint32_t fate = prng_below(p, 4);
	if (fate == 0)
		return;
	if (fate == 1 || r->kind == RECORD_SIZE) {
		apply(&m->now, r);
		return;
	}
	for (uint64_t at = 0; at < r->length; at += SECTOR_BYTES)
		if (prng_percent(p, fate == 2 ? 50 : 90))
			apply_part(&m->now, r, at, MIN(SECTOR_BYTES, r->length - at));
}

struct medium *medium_after_crash(const struct medium *m, enum survivors what, struct prng *p)
{
	struct medium *left = medium_new();
	copy(&left->now, m->power ? &m->base : &m->now);
	left->data_from = m->data_from;
	for (const struct record *r = m->first; r; r = r->next) {
		if (r->durable || what == SURVIVES_ALL)
			apply(&left->now, r);
		else if (what == SURVIVES_SOME)
			survive_some(left, r, p);
	}
	return left;
}
