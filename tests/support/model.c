#include "tests/support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/invariant.h"
#include "base/units.h"

#define WORDS	(SECTOR_BYTES / sizeof(uint64_t))
#define FOREIGN UINT32_MAX

/* ---- bytes */

static uint64_t word(uint64_t sector, uint32_t id, uint64_t i)
{
	return ((uint64_t)id << 32 | (uint32_t)sector) ^ (UINT64_C(0x9e3779b97f4a7c15) * (i + 1));
}

static void fill_sector(uint64_t *out, uint64_t sector, uint32_t id)
{
	for (uint64_t i = 0; i < WORDS; i++)
		out[i] = id == MODEL_ZEROS ? 0 : word(sector, id, i);
}

void model_fill(void *buf, uint64_t first, uint64_t count, uint32_t id)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t sector[WORDS];
		fill_sector(sector, first + i, id);
		memcpy((char *)buf + i * SECTOR_BYTES, sector, SECTOR_BYTES);
	}
}

/* Which version of @sector this is, or FOREIGN; @owner: whose bytes they seem to be. */
static uint32_t identify(const void *bytes, uint64_t sector, uint64_t *owner)
{
	static const uint64_t zeros[WORDS];
	uint64_t got[WORDS], want[WORDS];
	memcpy(got, bytes, SECTOR_BYTES);
	*owner = sector;
	if (memcmp(got, zeros, SECTOR_BYTES) == 0)
		return MODEL_ZEROS;
	uint64_t tag = got[0] ^ word(0, 0, 0);
	*owner = (uint32_t)tag;
	fill_sector(want, *owner, (uint32_t)(tag >> 32));
	bool whole = memcmp(got, want, SECTOR_BYTES) == 0;
	return whole && *owner == sector ? (uint32_t)(tag >> 32) : FOREIGN;
}

/* ---- versions */

static struct version *add(struct versions *v)
{
	if (v->count == v->max) {
		v->max = v->max ? v->max * 2 : 2;
		v->at = realloc(v->at, v->max * sizeof(*v->at));
		invariant(v->at);
	}
	return &v->at[v->count++];
}

struct model *model_new(uint64_t sectors)
{
	struct model *m = calloc(1, sizeof(*m));
	invariant(m);
	m->sectors = sectors;
	m->next_id = 1;
	m->of = calloc(sectors, sizeof(*m->of));
	invariant(m->of);
	for (uint64_t s = 0; s < sectors; s++)
		*add(&m->of[s]) = (struct version){.id = MODEL_ZEROS};
	return m;
}

struct model *model_clone(const struct model *m)
{
	struct model *c = model_new(m->sectors);
	c->clock = m->clock;
	c->flushed = m->flushed;
	c->next_id = m->next_id;
	for (uint64_t s = 0; s < m->sectors; s++) {
		c->of[s].count = 0;
		for (uint32_t i = 0; i < m->of[s].count; i++)
			*add(&c->of[s]) = m->of[s].at[i];
	}
	return c;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (uint64_t s = 0; s < m->sectors; s++)
		free(m->of[s].at);
	free(m->of);
	free(m);
}

/* Does @w count, when all that completed before @until counts? */
static bool counts(const struct version *w, uint32_t until, bool fua_counts)
{
	return !w->weak && (w->completed < until || (fua_counts && w->fua && w->completed != MODEL_NEVER));
}

static bool is_over(const struct versions *all, const struct version *v, uint32_t until, bool fua_counts)
{
	for (uint32_t i = 0; i < all->count; i++)
		if (counts(&all->at[i], until, fua_counts) && all->at[i].submitted > v->completed)
			return true;
	return false;
}

static bool may_show(const struct versions *all, uint32_t id, uint32_t until, bool fua_counts)
{
	for (uint32_t i = 0; i < all->count; i++)
		if (all->at[i].id == id && !is_over(all, &all->at[i], until, fua_counts))
			return true;
	return false;
}

static void forget_what_is_over(struct model *m)
{
	for (uint64_t s = 0; s < m->sectors; s++) {
		struct versions *all = &m->of[s];
		uint32_t n = all->count;
		bool over[64];
		if (n < 2 || n > ARRAY_LEN(over))
			continue;
		for (uint32_t i = 0; i < n; i++)
			over[i] = is_over(all, &all->at[i], m->flushed, true);
		all->count = 0;
		for (uint32_t i = 0; i < n; i++)
			if (!over[i])
				all->at[all->count++] = all->at[i];
	}
}

/* ---- judging */

static void explain(struct model *m, uint64_t sector, uint32_t id, uint64_t owner, const char *when)
{
	int n;
	if (id == FOREIGN && owner != sector && owner < m->sectors)
		n = snprintf(m->why, sizeof(m->why), "%s sector %llu shows bytes of sector %llu; expected", when,
			     (unsigned long long)sector, (unsigned long long)owner);
	else if (id == FOREIGN)
		n = snprintf(m->why, sizeof(m->why), "%s sector %llu shows what nobody wrote; expected", when,
			     (unsigned long long)sector);
	else
		n = snprintf(m->why, sizeof(m->why), "%s sector %llu shows version %u; expected", when,
			     (unsigned long long)sector, id);
	for (uint32_t i = 0; i < m->of[sector].count && n > 0 && (size_t)n < sizeof(m->why); i++)
		n += snprintf(m->why + n, sizeof(m->why) - (size_t)n, " %u(%u..%d%s)", m->of[sector].at[i].id,
			      m->of[sector].at[i].submitted, (int)m->of[sector].at[i].completed,
			      m->of[sector].at[i].fua	 ? " fua"
			      : m->of[sector].at[i].weak ? " discarded"
							 : "");
}

static bool judge(struct model *m, const void *buf, uint64_t first, uint64_t count, uint32_t until, bool fua_counts,
		  const char *when)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t owner;
		uint32_t id = identify((const char *)buf + i * SECTOR_BYTES, first + i, &owner);
		if (id != FOREIGN && may_show(&m->of[first + i], id, until, fua_counts))
			continue;
		explain(m, first + i, id, owner, when);
		return false;
	}
	return true;
}

bool model_judge(struct model *m, enum model_event event, const void *buf, uint64_t first, uint64_t count)
{
	if (event == MODEL_PROCESS_DIED)
		return judge(m, buf, first, count, MODEL_NEVER, true, "after death");
	return judge(m, buf, first, count, m->flushed, true, "after power failure");
}

void model_settle(struct model *m, const void *buf, uint64_t first, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t owner;
		uint32_t id = identify((const char *)buf + i * SECTOR_BYTES, first + i, &owner);
		m->of[first + i].count = 0;
		*add(&m->of[first + i]) = (struct version){.id = id};
	}
	m->reads = 0;
}

/* ---- requests */

void model_submit(struct model *m, struct model_op *op)
{
	op->submitted = ++m->clock;
	if (op->kind == MODEL_READ)
		m->reads++;
	if (op->kind == MODEL_READ || op->kind == MODEL_FLUSH)
		return;
	op->id = op->kind == MODEL_WRITE ? m->next_id++ : MODEL_ZEROS;
	for (uint64_t s = op->first; s < op->first + op->count; s++)
		*add(&m->of[s]) = (struct version){
			.id = op->id,
			.submitted = op->submitted,
			.completed = MODEL_NEVER,
			.fua = op->fua,
			.weak = op->kind == MODEL_DISCARD,
		};
}

static void acknowledge(struct model *m, const struct model_op *op)
{
	uint32_t now = ++m->clock;
	for (uint64_t s = op->first; s < op->first + op->count; s++)
		for (uint32_t i = 0; i < m->of[s].count; i++)
			if (m->of[s].at[i].submitted == op->submitted)
				m->of[s].at[i].completed = now;
}

bool model_done(struct model *m, const struct model_op *op, bool acknowledged, const void *buf)
{
	if (op->kind == MODEL_READ)
		m->reads--;
	if (!acknowledged)
		return true;
	if (op->kind == MODEL_READ)
		return judge(m, buf, op->first, op->count, op->submitted, false, "read:");
	if (op->kind == MODEL_FLUSH) {
		m->flushed = MAX(m->flushed, op->submitted);
		if (m->reads == 0)
			forget_what_is_over(m);
		return true;
	}
	acknowledge(m, op);
	return true;
}
