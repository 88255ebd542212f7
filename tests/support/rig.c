#include "tests/support/rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/invariant.h"
#include "ploop/disk.h"
#include "ploop/partial.h"

#define HANG_NS	     (60 * NS_PER_S)
#define UNIT_SECTORS (LAY_UNIT_BYTES / SECTOR_BYTES)

bool rig_wrong(struct rig *r, const char *fmt, ...)
{
	va_list args;
	if (r->why[0])
		return false;
	va_start(args, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, args);
	va_end(args);
	return false;
}

/* ---- the gap */

static uint64_t gap_sectors(const struct rig *r)
{
	return (uint64_t)r->shape.gap * RIG_CLUSTER_SECTORS;
}

uint64_t rig_disk_sectors(const struct rig *r)
{
	return r->sectors + gap_sectors(r);
}

uint64_t rig_place(const struct rig *r, uint64_t first, uint64_t *count)
{
	uint64_t gap_at = (uint64_t)(r->shape.clusters / 2) * RIG_CLUSTER_SECTORS;
	if (first >= gap_at)
		return first + gap_sectors(r);
	if (r->shape.gap > 0)
		*count = MIN(*count, gap_at - first);
	return first;
}

/* ---- requests */

static void slot_done(struct pl_req *req)
{
	struct rig_slot *slot = container_of(req, struct rig_slot, req);
	struct rig *r = slot->rig;
	bool counts = !r->power.failed;
	slot->busy = false;
	r->busy--;
	if (req->res < 0 && counts) {
		r->refused++;
		bool slow_zeroes = req->res == -EOPNOTSUPP && req->flags & PL_FAST_ZERO;
		if (!r->errors_expected && !slow_zeroes)
			rig_wrong(r, "request %u at sector %llu: %s", req->op, (unsigned long long)slot->op.first,
			      strerror(-req->res));
	}
	if (!model_done(r->model, &slot->op, counts && req->res == 0, req->buf))
		rig_wrong(r, "%s", r->model->why);
}

/* D4, broken on purpose: what was unmapped may be reused before its BAT entry is cleared. */
static void reuse_early(struct rig *r)
{
	struct file_list *freed = &r->disk->writer->freed;
	while (freed->count > 0)
		alloc_give(&r->disk->writer->alloc, freed->at[--freed->count]);
}

/* D1, broken on purpose: who waits for a top that is being sealed is told at once. */
static void forget_old_top(struct pl_disk *d)
{
	struct queue waiters;
	queue_move(&waiters, &d->leaving->commit.waiters);
	for (struct qnode *n; (n = queue_take(&waiters));)
		req_complete(req_of_node(n));
}

/* D1, broken on purpose: a record lacks what has changed. */
static void forget_units(struct rig *r)
{
	struct partials *p = r->disk->writer->partials;
	for (uint32_t slot = p ? partial_take_dirty(p) : PARTIAL_NONE, next; slot != PARTIAL_NONE; slot = next) {
		next = p->slots[slot].next;
		p->slots[slot].dirty = false;
	}
}

static bool is_in_phase(const struct rig *r)
{
	if (r->fails_in == RIG_ANYTIME || !r->disk)
		return true;
	return r->fails_in == RIG_SEALING ? r->disk->seal != NULL : r->disk->merge != NULL;
}

bool rig_turn(struct rig *r)
{
	r->power.idle = !is_in_phase(r);
	if (pl_loop_step(r->loop, false) < 0)
		return rig_wrong(r, "loop: %s", pl_error());
	if (r->reuses_early && r->disk)
		reuse_early(r);
	if (r->forgets_order && r->disk)
		r->disk->writer->pending->data_first = false;
	if (r->forgets_units && r->disk)
		forget_units(r);
	if (r->forgets_old_top && r->disk && r->disk->leaving)
		forget_old_top(r->disk);
	return !r->why[0];
}

/* Goes on after something was wrong, so that the disk can be closed. */
static bool turn_until(struct rig *r, uint32_t busy, bool changing)
{
	uint64_t give_up_ns = pl_now_ns() + HANG_NS;
	while (r->busy > busy || (r->change.kind != RIG_NO_CHANGE && !changing)) {
		rig_turn(r);
		if (pl_now_ns() > give_up_ns)
			return rig_wrong(r, "%u requests hang%s", r->busy, r->change.kind ? ", and a change" : "");
	}
	return !r->why[0];
}

bool rig_drain(struct rig *r)
{
	return turn_until(r, 0, true);
}

bool rig_wait(struct rig *r)
{
	return turn_until(r, RIG_SLOTS, false);
}

static struct rig_slot *free_slot(struct rig *r)
{
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		if (!r->slots[i].busy)
			return &r->slots[i];
	return NULL;
}

static enum model_kind model_kind_of(enum pl_op op, bool zeros)
{
	switch (op) {
	case PL_READ:
		return MODEL_READ;
	case PL_WRITE:
		return zeros ? MODEL_ZERO : MODEL_WRITE;
	case PL_WRITE_ZEROES:
		return MODEL_ZERO;
	case PL_DISCARD:
		return MODEL_DISCARD;
	default:
		return MODEL_FLUSH;
	}
}

bool rig_submit(struct rig *r, enum pl_op op, uint32_t flags, uint64_t first, uint64_t count, bool zeros)
{
	if (!turn_until(r, RIG_SLOTS - 1, true))
		return false;
	struct rig_slot *slot = free_slot(r);
	bool has_data = op == PL_READ || op == PL_WRITE;
	uint64_t place = rig_place(r, first, &count);
	/* Addresses of all kinds: of a page, of a sector, of nothing. */
	static const uint32_t shifts[] = {0, 0, 512, 8};
	uint8_t *buf = slot->memory + shifts[prng_below(&r->random, ARRAY_LEN(shifts))];
	invariant(count <= RIG_MAX_SECTORS || !has_data);
	slot->op = (struct model_op){
		.kind = model_kind_of(op, zeros),
		.fua = flags & PL_FUA,
		.first = first,
		.count = count,
	};
	slot->req = (struct pl_req){
		.done = slot_done,
		.op = (uint8_t)op,
		.flags = (uint8_t)flags,
		.buf_index = PL_IO_NO_BUFFER,
		.offset_bytes = place * SECTOR_BYTES,
		.length_bytes = count * SECTOR_BYTES,
		.buf = has_data ? buf : NULL,
	};
	slot->busy = true;
	r->busy++;
	model_submit(r->model, &slot->op);
	if (op == PL_READ)
		memset(buf, 0xa5, count * SECTOR_BYTES);
	else if (has_data)
		model_fill(buf, first, count, slot->op.id);
	pl_submit(r->disk, &slot->req);
	return !r->why[0];
}

/* ---- random ones */

static enum pl_op random_kind(struct prng *p, uint32_t *flags, bool *zeros)
{
	uint32_t n = prng_below(p, 100);
	*flags = 0;
	*zeros = false;
	if (n < 45) {
		*flags = prng_percent(p, 15) ? PL_FUA : 0;
		*zeros = prng_percent(p, 8);
		return PL_WRITE;
	}
	if (n < 60)
		return PL_READ;
	if (n < 70)
		return PL_FLUSH;
	if (n < 85)
		return PL_DISCARD;
	*flags = prng_percent(p, 15) ? PL_FUA : 0;
	*flags |= prng_percent(p, 30) ? PL_NO_HOLE : 0;
	*flags |= prng_percent(p, 15) ? PL_FAST_ZERO : 0;
	return PL_WRITE_ZEROES;
}

/* Whole clusters, pieces of one, pieces of several; mostly where something was already. */
static void random_range(struct rig *r, uint64_t *first, uint64_t *count)
{
	struct prng *p = &r->random;
	uint32_t hot = prng_percent(p, 60) ? MIN(r->shape.clusters, 4) : r->shape.clusters;
	uint64_t cluster = prng_below(p, hot);
	*first = cluster * RIG_CLUSTER_SECTORS;
	uint32_t n = prng_below(p, 10);
	if (n < 4) {
		*count = (1 + prng_below(p, 3)) * RIG_CLUSTER_SECTORS;
	} else {
		*first += n < 7 ? prng_below(p, RIG_CLUSTER_SECTORS) : prng_below(p, RIG_CLUSTER_SECTORS / 8) * 8;
		*count = n == 9 ? 1 + prng_below(p, RIG_MAX_SECTORS - 1) : 1 + prng_below(p, RIG_CLUSTER_SECTORS);
		if (n == 7 || n == 8)
			*count = round_up_pow2(*count, 8);
	}
	*first = MIN(*first, r->sectors - 1);
	*count = MIN(*count, r->sectors - *first);
}

/* A few units, or parts of them; where something partial was already, mostly. */
static bool random_small_write(struct rig *r)
{
	struct prng *p = &r->random;
	uint32_t hot = prng_percent(p, 60) ? MIN(r->shape.clusters, 4) : r->shape.clusters;
	bool in_units = prng_percent(p, 60);
	uint64_t first = (uint64_t)prng_below(p, hot) * RIG_CLUSTER_SECTORS + prng_below(p, RIG_CLUSTER_SECTORS);
	uint64_t count = 1 + prng_below(p, 20);
	if (in_units) {
		first = round_down_pow2(first, UNIT_SECTORS);
		count = round_up_pow2(count, UNIT_SECTORS);
	}
	return rig_submit(r, PL_WRITE, prng_percent(p, 10) ? PL_FUA : 0, first, MIN(count, r->sectors - first), false);
}

bool rig_random_op(struct rig *r)
{
	uint32_t flags;
	uint64_t first = 0, count = 0;
	bool zeros;
	if (r->small_percent && prng_percent(&r->random, r->small_percent))
		return random_small_write(r);
	enum pl_op op = random_kind(&r->random, &flags, &zeros);
	if (op != PL_FLUSH)
		random_range(r, &first, &count);
	return rig_submit(r, op, flags, first, count, zeros);
}

bool rig_run(struct rig *r, uint32_t ops)
{
	for (uint32_t i = 0; i < ops && !r->power.failed; i++) {
		if (!rig_random_op(r))
			return false;
		if (r->changes_percent && prng_percent(&r->random, r->changes_percent) && !rig_random_change(r))
			return false;
		if (r->rests_percent && prng_percent(&r->random, r->rests_percent) && !rig_random_rest(r))
			return false;
		for (uint32_t turns = prng_below(&r->random, 4); turns > 0; turns--)
			if (!rig_turn(r))
				return false;
	}
	return true;
}

/* ---- judging */

static bool read_all(struct rig *r, bool (*look)(struct rig *, const void *, uint64_t, uint64_t))
{
	void *buf = r->slots[0].memory;
	for (uint64_t at = 0, n; at < r->sectors; at += n) {
		n = MIN(RIG_MAX_SECTORS, r->sectors - at);
		uint64_t place = rig_place(r, at, &n);
		if (pl_read(r->disk, buf, n * SECTOR_BYTES, place * SECTOR_BYTES) < 0)
			return rig_wrong(r, "%s", pl_error());
		if (!look(r, buf, at, n))
			return rig_wrong(r, "%s", r->model->why);
	}
	return true;
}

static bool after_power_failure(struct rig *r, const void *buf, uint64_t first, uint64_t count)
{
	return model_judge(r->model, MODEL_POWER_FAILED, buf, first, count);
}

static bool after_death(struct rig *r, const void *buf, uint64_t first, uint64_t count)
{
	return model_judge(r->model, MODEL_PROCESS_DIED, buf, first, count);
}

static bool settle(struct rig *r, const void *buf, uint64_t first, uint64_t count)
{
	model_settle(r->model, buf, first, count);
	return true;
}

bool rig_judge(struct rig *r, enum model_event event)
{
	return read_all(r, event == MODEL_POWER_FAILED ? after_power_failure : after_death);
}

bool rig_settle(struct rig *r)
{
	return read_all(r, settle);
}

/* ---- shapes */

struct rig_shape rig_random_shape(struct prng *p)
{
	static const uint32_t aligns[] = {1, 512, 512, 4096};
	struct rig_shape s = {
		.version = 1 + prng_below(p, 2),
		.clusters = prng_percent(p, 80) ? 4 + prng_below(p, 20) : 50 + prng_below(p, 150),
		.depth = 1 + prng_below(p, 4),
		.raw_base = prng_percent(p, 25),
		.io_align = aligns[prng_below(p, ARRAY_LEN(aligns))],
		.no_punch = prng_percent(p, 10),
		.no_zero_range = prng_percent(p, 10),
		.no_allocate = prng_percent(p, 10),
		.preallocated = prng_percent(p, 5),
	};
	s.mem_align = s.io_align;
	return s;
}

void rig_describe(const struct rig_shape *s, char *out, size_t n)
{
	snprintf(out, n, "v%u clusters=%u gap=%u depth=%u%s%s align=%u%s%s%s%s", s->version, s->clusters, s->gap,
		 s->depth, s->raw_base ? " raw-base" : "", s->full_base ? " full-base" : "", s->io_align,
		 s->no_punch ? " no-punch" : "",
		 s->no_zero_range ? " no-zero-range" : "", s->no_allocate ? " no-allocate" : "",
		 s->preallocated ? " preallocated" : "");
}
