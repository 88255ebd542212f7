#include "tests/support/rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/invariant.h"
#include "layout/bat.h"
#include "ploop/disk.h"
#include "ploop/disk_open.h"

#define HANG_NS	   (20 * NS_PER_S)
#define PATH_BYTES 512

static bool wrong(struct rig *r, const char *fmt, ...) PL_PRINTF(2, 3);

static bool wrong(struct rig *r, const char *fmt, ...)
{
	va_list args;
	if (r->why[0])
		return false;
	va_start(args, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, args);
	va_end(args);
	return false;
}

/* ---- opening and closing */

static void image_path(const struct rig *r, uint32_t level, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s/level-%u", r->shape.dir ? r->shape.dir : "memory", level);
}

static bool is_raw(const struct rig *r, uint32_t level)
{
	return level == 0 && r->shape.raw_base;
}

static struct store *open_medium(struct rig *r, uint32_t level, uint32_t depth)
{
	struct store_mem_options o = {
		.io_align = r->shape.io_align,
		.mem_align = r->shape.mem_align,
		.order = r->reorder ? &r->order : NULL,
		.no_punch = r->shape.no_punch,
		.no_zero_range = r->shape.no_zero_range,
		.no_allocate = r->shape.no_allocate,
	};
	r->media[level]->sealed = level + 1 < depth;
	struct store *s = store_mem_open(r->loop, r->media[level], &o);
	return r->faults && level + 1 == depth ? store_fault_wrap(s, r->faults) : s;
}

/* The lowest @depth levels as a disk. */
static int open_depth(struct rig *r, uint32_t depth, uint32_t flags)
{
	char paths[RIG_MAX_DEPTH][PATH_BYTES];
	struct pl_image_ref refs[RIG_MAX_DEPTH];
	struct store *stores[RIG_MAX_DEPTH];
	for (uint32_t i = 0; i < depth; i++) {
		image_path(r, i, paths[i]);
		refs[i] = (struct pl_image_ref){
			.path = paths[i],
			.dir_fd = -1,
			.format = is_raw(r, i) ? PL_FORMAT_RAW : PL_FORMAT_PLOOP,
		};
	}
	struct pl_chain_spec spec = {
		.size = sizeof(spec),
		.images = refs,
		.count = depth,
		.cluster_sectors = RIG_CLUSTER_SECTORS,
		.size_sectors = r->sectors,
		.preallocated = r->shape.preallocated,
	};
	struct pl_open_options options = {.size = sizeof(options), .flags = flags};
	if (r->shape.dir)
		return pl_disk_open(r->loop, &spec, &options, &r->disk);
	for (uint32_t i = 0; i < depth; i++)
		stores[i] = open_medium(r, i, depth);
	return disk_open_stores(r->loop, stores, &spec, &options, &r->disk);
}

int rig_open_flags(struct rig *r, uint32_t flags)
{
	return open_depth(r, r->shape.depth, flags);
}

int rig_open(struct rig *r)
{
	return rig_open_flags(r, 0);
}

int rig_close(struct rig *r)
{
	struct pl_disk *d = r->disk;
	r->disk = NULL;
	return pl_disk_close(d);
}

/* ---- requests */

static void slot_done(struct pl_req *req)
{
	struct rig_slot *slot = container_of(req, struct rig_slot, req);
	struct rig *r = slot->rig;
	bool counts = !(r->top && r->top->powerless);
	slot->busy = false;
	r->busy--;
	if (req->res < 0 && counts) {
		r->refused++;
		bool slow_zeroes = req->res == -EOPNOTSUPP && req->flags & PL_FAST_ZERO;
		if (!r->errors_expected && !slow_zeroes)
			wrong(r, "request %u at sector %llu: %s", req->op, (unsigned long long)slot->op.first,
			      strerror(-req->res));
	}
	if (!model_done(r->model, &slot->op, counts && req->res == 0, req->buf))
		wrong(r, "%s", r->model->why);
}

/* D4, broken on purpose: what was unmapped may be reused before its BAT entry is cleared. */
static void reuse_early(struct rig *r)
{
	struct file_list *freed = &r->disk->writer->freed;
	while (freed->count > 0)
		alloc_give(&r->disk->writer->alloc, freed->at[--freed->count]);
}

bool rig_turn(struct rig *r)
{
	if (pl_loop_step(r->loop, false) < 0)
		return wrong(r, "loop: %s", pl_error());
	if (r->reuses_early && r->disk)
		reuse_early(r);
	return !r->why[0];
}

/* Goes on after something was wrong, so that the disk can be closed. */
static bool turn_until(struct rig *r, uint32_t busy)
{
	uint64_t give_up_ns = pl_now_ns() + HANG_NS;
	while (r->busy > busy) {
		rig_turn(r);
		if (pl_now_ns() > give_up_ns)
			return wrong(r, "%u requests hang", r->busy);
	}
	return !r->why[0];
}

bool rig_drain(struct rig *r)
{
	return turn_until(r, 0);
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
	if (!turn_until(r, RIG_SLOTS - 1))
		return false;
	struct rig_slot *slot = free_slot(r);
	bool has_data = op == PL_READ || op == PL_WRITE;
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
		.offset_bytes = first * SECTOR_BYTES,
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

bool rig_random_op(struct rig *r)
{
	uint32_t flags;
	uint64_t first = 0, count = 0;
	bool zeros;
	enum pl_op op = random_kind(&r->random, &flags, &zeros);
	if (op != PL_FLUSH)
		random_range(r, &first, &count);
	return rig_submit(r, op, flags, first, count, zeros);
}

bool rig_run(struct rig *r, uint32_t ops)
{
	for (uint32_t i = 0; i < ops && !r->top->powerless; i++) {
		if (!rig_random_op(r))
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
	for (uint64_t at = 0; at < r->sectors; at += RIG_MAX_SECTORS) {
		uint64_t n = MIN(RIG_MAX_SECTORS, r->sectors - at);
		if (pl_read(r->disk, buf, n * SECTOR_BYTES, at * SECTOR_BYTES) < 0)
			return wrong(r, "%s", pl_error());
		if (!look(r, buf, at, n))
			return wrong(r, "%s", r->model->why);
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

bool rig_check_closed(struct rig *r)
{
	const struct medium *m = r->top;
	struct lay_header h;
	struct lay_fault fault = {0};
	uint32_t files[4096];
	uint64_t used[1024] = {0};
	if (r->shape.raw_base && r->shape.depth == 1)
		return true;
	if (lay_header_decode(m->now.bytes, &h) != LAY_OK || h.in_use != LAY_CLOSED_V20)
		return wrong(r, "closed, but its marker is %x", h.in_use);
	struct lay_bat_scan scan = {
		.h = &h,
		.file_clusters = lay_file_clusters(&h, m->now.size_bytes),
		.used = used,
		.guest_clusters = lay_guest_clusters(&h),
	};
	invariant(scan.guest_clusters <= ARRAY_LEN(files) && scan.file_clusters <= ARRAY_LEN(used) * 64);
	enum lay_finding_id id =
		lay_bat_decode(&scan, 0, m->now.bytes + LAY_HEADER_BYTES, scan.guest_clusters, files, &fault);
	if (id != LAY_OK)
		return wrong(r, "closed, but BAT entry %llu is wrong", (unsigned long long)fault.index);
	uint64_t end = lay_header_clusters(&h);
	for (uint32_t i = 0; i < scan.guest_clusters; i++)
		end = MAX(end, (uint64_t)files[i] + 1);
	if (m->now.size_bytes != end * RIG_CLUSTER_BYTES && !r->shape.preallocated)
		return wrong(r, "closed with %llu bytes, its last cluster ends at %llu",
			     (unsigned long long)m->now.size_bytes, (unsigned long long)(end * RIG_CLUSTER_BYTES));
	return true;
}

/* ---- making one */

static void make_image(struct rig *r, uint32_t level)
{
	char path[PATH_BYTES];
	image_path(r, level, path);
	if (r->shape.dir) {
		struct pl_create_options o = {
			.size = sizeof(o),
			.size_sectors = r->sectors,
			.cluster_sectors = RIG_CLUSTER_SECTORS,
			.version = r->shape.version,
			.mode = is_raw(r, level) ? PL_MODE_RAW : PL_MODE_EXPANDED,
			.sparse = true,
		};
		int made = pl_image_create(path, &o);
		if (made < 0)
			wrong(r, "%s", pl_error());
		return;
	}
	struct lay_header h;
	struct medium *m = r->media[level] = medium_new();
	m->now.size_bytes = r->sectors * SECTOR_BYTES;
	if (is_raw(r, level))
		return;
	uint8_t bytes[LAY_HEADER_BYTES];
	invariant(lay_header_compute(r->sectors, RIG_CLUSTER_SECTORS, r->shape.version, &h) == LAY_OK);
	lay_header_encode(&h, bytes);
	m->now.size_bytes = 0;
	medium_write(m, bytes, sizeof(bytes), 0);
	m->data_from = (uint64_t)h.first_block_sectors * SECTOR_BYTES;
	medium_set_size(m, m->data_from);
}

static struct rig *bare(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = calloc(1, sizeof(*r));
	invariant(r);
	r->shape = *shape;
	r->loop = loop;
	r->random.state = seed;
	r->order.state = ~seed;
	r->reorder = true;
	r->sectors = (uint64_t)shape->clusters * RIG_CLUSTER_SECTORS;
	for (uint32_t i = 0; i < RIG_SLOTS; i++) {
		r->slots[i].rig = r;
		r->slots[i].memory = aligned_alloc(4096, RIG_MAX_SECTORS * SECTOR_BYTES + 4096);
		invariant(r->slots[i].memory);
	}
	return r;
}

struct rig *rig_new(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed)
{
	static struct medium nowhere; /* of files: the power never fails */
	struct rig *r = bare(loop, shape, seed);
	invariant(shape->depth >= 1 && shape->depth <= RIG_MAX_DEPTH);
	r->model = model_new(r->sectors);
	r->top = &nowhere;
	for (uint32_t level = 0; level < shape->depth && !r->why[0]; level++) {
		make_image(r, level);
		if (level + 1 == shape->depth || r->why[0])
			break;
		if (open_depth(r, level + 1, 0) < 0 || !rig_run(r, 2 + prng_below(&r->random, 12)) || !rig_drain(r) ||
		    rig_close(r) < 0)
			wrong(r, "making level %u: %s", level, pl_error());
	}
	if (!r->shape.dir)
		r->top = r->media[shape->depth - 1];
	return r;
}

struct rig *rig_clone(const struct rig *r, uint64_t seed)
{
	invariant(!r->shape.dir && !r->disk);
	struct rig *c = bare(r->loop, &r->shape, seed);
	for (uint32_t i = 0; i < r->shape.depth; i++) {
		c->media[i] = medium_clone(r->media[i]);
	}
	c->top = c->media[r->shape.depth - 1];
	c->model = model_clone(r->model);
	return c;
}

void rig_replace_top(struct rig *r, struct medium *m)
{
	medium_free(r->top);
	r->top = r->media[r->shape.depth - 1] = m;
}

void rig_free(struct rig *r)
{
	if (!r)
		return;
	invariant(!r->disk);
	for (uint32_t i = 0; i < RIG_MAX_DEPTH; i++)
		medium_free(r->media[i]);
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		free(r->slots[i].memory);
	model_free(r->model);
	free(r);
}

struct rig_shape rig_random_shape(struct prng *p)
{
	static const uint32_t aligns[] = {1, 512, 512, 4096};
	struct rig_shape s = {
		.version = 1 + prng_below(p, 2),
		.clusters = prng_percent(p, 80) ? 4 + prng_below(p, 20) : 50 + prng_below(p, 150),
		.depth = 1 + prng_below(p, RIG_MAX_DEPTH),
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
	snprintf(out, n, "v%u clusters=%u depth=%u%s align=%u%s%s%s%s", s->version, s->clusters, s->depth,
		 s->raw_base ? " raw-base" : "", s->io_align, s->no_punch ? " no-punch" : "",
		 s->no_zero_range ? " no-zero-range" : "", s->no_allocate ? " no-allocate" : "",
		 s->preallocated ? " preallocated" : "");
}
