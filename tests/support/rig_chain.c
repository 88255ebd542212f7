#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/byteorder.h"
#include "base/invariant.h"
#include "layout/bat.h"
#include "ploop/disk.h"
#include "ploop/disk_open.h"
#include "ploop/switch.h"
#include "tests/support/rig.h"

#define PATH_BYTES 512

/* ---- opening and closing */

static void image_path(const struct rig *r, uint32_t number, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s/level-%u", r->shape.dir ? r->shape.dir : "memory", number);
}

static bool is_raw(const struct rig *r, uint32_t place)
{
	return place == 0 && r->shape.raw_base;
}

static struct store *open_medium(struct rig *r, struct medium *m, struct fault_plan *faults)
{
	struct store_mem_options o = {
		.io_align = r->shape.io_align,
		.mem_align = r->shape.mem_align,
		.order = r->reorder ? &r->order : NULL,
		.no_punch = r->shape.no_punch,
		.no_zero_range = r->shape.no_zero_range,
		.no_allocate = r->shape.no_allocate,
	};
	struct store *s = store_mem_open(r->loop, m, &o);
	return faults ? store_fault_wrap(s, faults) : s;
}

/* Only the top is written (D5). */
static void seal_lower(const struct rig_chain *c, bool top_too)
{
	for (uint32_t i = 0; i < c->depth; i++)
		if (c->at[i].m)
			c->at[i].m->sealed = top_too || i + 1 < c->depth;
}

static int open_chain(struct rig *r, const struct rig_chain *c, uint32_t flags,
		      struct pl_disk **out)
{
	char paths[RIG_MAX_DEPTH][PATH_BYTES];
	struct pl_image_ref refs[RIG_MAX_DEPTH];
	struct store *stores[RIG_MAX_DEPTH];
	for (uint32_t i = 0; i < c->depth; i++) {
		image_path(r, c->at[i].number, paths[i]);
		refs[i] = (struct pl_image_ref){
			.path = paths[i],
			.dir_fd = -1,
			.format = is_raw(r, i) ? PL_FORMAT_RAW : PL_FORMAT_PLOOP,
		};
	}
	struct pl_chain_spec spec = {
		.size = sizeof(spec),
		.images = refs,
		.count = c->depth,
		.cluster_sectors = RIG_CLUSTER_SECTORS,
		.size_sectors = rig_disk_sectors(r),
		.preallocated = r->shape.preallocated,
	};
	struct pl_open_options options = {.size = sizeof(options), .flags = flags};
	if (r->shape.dir)
		return pl_disk_open(r->loop, &spec, &options, out);
	seal_lower(c, flags & PL_OPEN_READONLY);
	for (uint32_t i = 0; i < c->depth; i++)
		stores[i] = open_medium(r, c->at[i].m, r->faults_everywhere || i + 1 == c->depth ? r->faults : NULL);
	return disk_open_stores(r->loop, stores, &spec, &options, out);
}

int rig_open_flags(struct rig *r, uint32_t flags)
{
	return open_chain(r, &r->chain, flags, &r->disk);
}

int rig_open(struct rig *r)
{
	return rig_open_flags(r, r->no_partials ? PL_OPEN_NO_PARTIAL : 0);
}

int rig_close(struct rig *r)
{
	struct pl_disk *d = r->disk;
	r->disk = NULL;
	r->change.cancelled = true; /* a merge that runs is */
	if (r->pushed)
		r->other.depth = 0;
	r->pushed = false;
	return pl_disk_close(d);
}

int rig_settle_lower(struct rig *r)
{
	int res = 0;
	for (uint32_t i = is_raw(r, 0); res == 0 && i + 1 < r->chain.depth; i++) {
		struct rig_chain prefix = r->chain;
		struct lay_header h;
		struct pl_disk *d;
		prefix.depth = i + 1;
		if (lay_header_decode(prefix.at[i].m->now.bytes, &h) != LAY_OK || h.in_use != LAY_IN_USE)
			continue;
		res = open_chain(r, &prefix, 0, &d);
		if (res == 0)
			res = pl_disk_close(d);
	}
	return res;
}

/* ---- judging the files */

static bool check_image(struct rig *r, uint32_t place)
{
	const struct medium *m = r->chain.at[place].m;
	struct lay_header h;
	struct lay_fault fault = {0};
	uint32_t files[4096];
	uint8_t slots[sizeof(files)];
	uint64_t used[1024] = {0};
	if (lay_header_decode(m->now.bytes, &h) != LAY_OK || h.in_use != LAY_CLOSED_V20)
		return rig_wrong(r, "closed, but the marker of image %u is %x", place, h.in_use);
	struct lay_bat_scan scan = {
		.h = &h,
		.file_clusters = lay_file_clusters(&h, m->now.size_bytes),
		.used = used,
		.guest_clusters = lay_guest_clusters(&h),
	};
	invariant(scan.guest_clusters <= ARRAY_LEN(files) && scan.file_clusters <= ARRAY_LEN(used) * 64);
	medium_read(m, slots, sizeof(slots), LAY_HEADER_BYTES);
	enum lay_finding_id id = lay_bat_decode(&scan, 0, slots, scan.guest_clusters, files, &fault);
	if (id != LAY_OK)
		return rig_wrong(r, "closed, but BAT entry %llu of image %u is wrong", (unsigned long long)fault.index,
				 place);
	uint64_t end = lay_header_clusters(&h);
	for (uint32_t i = 0; i < scan.guest_clusters; i++)
		end = MAX(end, (uint64_t)files[i] + 1);
	if (m->now.size_bytes != end * RIG_CLUSTER_BYTES && !r->shape.preallocated)
		return rig_wrong(r, "image %u closed with %llu bytes, its last cluster ends at %llu", place,
				 (unsigned long long)m->now.size_bytes, (unsigned long long)(end * RIG_CLUSTER_BYTES));
	return true;
}

bool rig_check_closed(struct rig *r)
{
	for (uint32_t i = is_raw(r, 0); i < r->chain.depth; i++)
		if (!check_image(r, i))
			return false;
	return true;
}

/* What stock tools look at, in an image that they must not take for a plain one. */
static bool is_fenced(const struct medium *m)
{
	const uint8_t *header = m->now.bytes;
	return load_le32(header + 28) == 0 && load_le32(header + 44) == LAY_IN_USE &&
	       (load_le32(header + 52) & LAY_FLAG_CONVERT) && load_le64(header + 56) != 0;
}

bool rig_check_left(struct rig *r)
{
	uint32_t top = r->chain.depth - 1;
	if (r->top && is_fenced(r->top))
		r->chain.depth--;
	bool ok = rig_check_closed(r);
	r->chain.depth = top + 1;
	return ok;
}

/* ---- images */

static struct medium *adopt(struct rig *r, struct medium *m)
{
	m->next = r->own;
	r->own = m;
	return m;
}

struct medium *rig_blank_medium(struct rig *r)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h;
	struct medium *m = adopt(r, medium_new());
	invariant(lay_header_compute(rig_disk_sectors(r), RIG_CLUSTER_SECTORS, r->shape.version, &h) == LAY_OK);
	lay_header_encode(&h, bytes);
	medium_write(m, bytes, sizeof(bytes), 0);
	m->data_from = (uint64_t)h.first_block_sectors * SECTOR_BYTES;
	medium_set_size(m, m->data_from);
	return m;
}

static void make_file(struct rig *r, uint32_t number, bool raw)
{
	char path[PATH_BYTES];
	image_path(r, number, path);
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = rig_disk_sectors(r),
		.cluster_sectors = RIG_CLUSTER_SECTORS,
		.version = r->shape.version,
		.mode = raw ? PL_MODE_RAW : PL_MODE_EXPANDED,
		.sparse = true,
	};
	if (pl_image_create(path, &o) < 0)
		rig_wrong(r, "%s", pl_error());
}

static struct rig_member make_image(struct rig *r, bool raw)
{
	struct rig_member made = {.number = r->files++};
	if (r->shape.dir) {
		make_file(r, made.number, raw);
	} else if (raw) {
		made.m = adopt(r, medium_new());
		made.m->now.size_bytes = rig_disk_sectors(r) * SECTOR_BYTES;
	} else {
		made.m = rig_blank_medium(r);
	}
	return made;
}

/* ---- making one */

static void name(struct rig *r, const struct rig_chain *c)
{
	r->chain = *c;
	r->top = c->at[c->depth - 1].m;
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

static bool fill_base(struct rig *r)
{
	bool ok = true;
	for (uint64_t at = 0, n; ok && r->chain.depth == 1 && r->shape.full_base && at < r->sectors; at += n) {
		n = MIN(RIG_MAX_SECTORS, r->sectors - at);
		rig_place(r, at, &n);
		ok = rig_submit(r, PL_WRITE, 0, at, n, false);
	}
	return ok;
}

struct rig *rig_new(struct pl_loop *loop, const struct rig_shape *shape, uint64_t seed)
{
	struct rig *r = bare(loop, shape, seed);
	invariant(shape->depth >= 1 && shape->depth <= RIG_MAX_DEPTH);
	r->model = model_new(r->sectors);
	while (r->chain.depth < shape->depth && !r->why[0]) {
		struct rig_chain more = r->chain;
		more.at[more.depth] = make_image(r, is_raw(r, more.depth));
		more.depth++;
		name(r, &more);
		if (more.depth == shape->depth || r->why[0])
			break;
		if (rig_open(r) < 0 || !rig_run(r, 2 + prng_below(&r->random, 12)) || !rig_drain(r) || !fill_base(r) ||
		    !rig_drain(r) || rig_close(r) < 0)
			rig_wrong(r, "making image %u: %s", more.depth - 1, pl_error());
	}
	return r;
}

struct rig *rig_clone(const struct rig *r, uint64_t seed)
{
	invariant(!r->shape.dir && !r->disk);
	struct rig *c = bare(r->loop, &r->shape, seed);
	struct rig_chain same = r->chain;
	for (uint32_t i = 0; i < same.depth; i++)
		same.at[i].m = adopt(c, medium_clone(r->chain.at[i].m));
	name(c, &same);
	c->files = r->files;
	c->model = model_clone(r->model);
	return c;
}

void rig_free(struct rig *r)
{
	if (!r || r->disk) /* it hangs, and much of it is still in use */
		return;
	r->chain.depth = 0;
	rig_forget_others(r);
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		free(r->slots[i].memory);
	model_free(r->model);
	free(r);
}

/* ---- power */

void rig_start_journal(struct rig *r, uint64_t fails_at_op)
{
	r->power = (struct power){.fails_at_op = fails_at_op, .idle = r->fails_in != RIG_ANYTIME};
	r->journaled = true;
	for (uint32_t i = 0; i < r->chain.depth; i++)
		medium_start_journal(r->chain.at[i].m, &r->power);
}

void rig_lose_power(struct rig *r, const struct rig_chain *named, enum survivors what)
{
	struct rig_chain left = *named;
	for (uint32_t i = 0; i < left.depth; i++)
		left.at[i].m = adopt(r, medium_after_crash(named->at[i].m, what, &r->random));
	name(r, &left);
	r->other.depth = 0;
	r->pushed = r->journaled = false;
	r->power = (struct power){0};
}

static bool is_member(const struct rig_chain *c, const struct medium *m)
{
	for (uint32_t i = 0; i < c->depth; i++)
		if (c->at[i].m == m)
			return true;
	return false;
}

void rig_forget_others(struct rig *r)
{
	for (struct medium **at = &r->own; *at;) {
		struct medium *m = *at;
		if (is_member(&r->chain, m)) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		medium_free(m);
	}
}

/* ---- changes */

int rig_push(struct rig *r)
{
	char path[PATH_BYTES];
	struct rig_chain more = r->chain;
	invariant(more.depth < RIG_MAX_DEPTH);
	struct rig_member *top = &more.at[more.depth++];
	*top = make_image(r, false);
	image_path(r, top->number, path);
	if (top->m && r->journaled)
		medium_start_journal(top->m, &r->power);
	r->other = more; /* the power may fail in the push */
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	struct fault_plan *faults = r->faults_everywhere ? r->faults : NULL;
	int res = r->shape.dir ? pl_disk_push(r->disk, &ref)
			       : disk_push_store(r->disk, open_medium(r, top->m, faults));
	r->pushed = res == 0;
	if (res < 0 && !r->power.failed)
		r->other.depth = 0;
	return res;
}

void rig_abandon(struct rig *r)
{
	pl_disk_abandon(r->disk);
	r->pushed = false;
	if (!r->power.failed)
		r->other.depth = 0;
}

static void begin(struct rig *r, enum rig_change_kind kind, void (*done)(struct pl_change *))
{
	invariant(r->change.kind == RIG_NO_CHANGE);
	r->change.kind = kind;
	r->change.cancelled = false;
	r->change.change = (struct pl_change){.done = done, .owner = r};
}

/* Does a change that did not succeed need an excuse? */
static void judge_end(struct rig *r, const struct pl_change *c)
{
	r->change.kind = RIG_NO_CHANGE;
	if (c->res == 0)
		r->change.done++;
	else if (!r->errors_expected && !r->power.failed && !(c->res == -ECANCELED && r->change.cancelled))
		rig_wrong(r, "the chain was not changed: %s", c->error);
}

static void switch_done(struct pl_change *c)
{
	struct rig *r = c->owner;
	if (c->res < 0 && c->disk->depth < r->chain.depth) { /* it is still pushed */
		r->other = r->chain;
		r->chain.depth--;
		name(r, &r->chain);
		r->pushed = true;
	}
	if (c->res == 0 && !r->shape.dir)
		seal_lower(&r->chain, false);
	judge_end(r, c);
}

void rig_switch(struct rig *r, const struct pl_switch_options *options)
{
	static const struct pl_switch_options defaults = {.size = sizeof(defaults)};
	invariant(r->pushed);
	r->pushed = false;
	name(r, &r->other); /* the descriptor does from before the switch on */
	r->other.depth = 0;
	begin(r, RIG_SWITCH, switch_done);
	pl_disk_switch(r->disk, options ? options : &defaults, &r->change.change);
}

static void remove_member(struct rig_chain *c, uint32_t place)
{
	for (uint32_t i = place; i + 1 < c->depth; i++)
		c->at[i] = c->at[i + 1];
	c->depth--;
}

static void merge_done(struct pl_change *c)
{
	struct rig *r = c->owner;
	if (c->res == 0) {
		struct rig_chain less = r->chain;
		r->other = r->chain;
		remove_member(&less, r->change.leaves);
		name(r, &less);
		seal_lower(&r->other, false);
	}
	if (c->res == 0 || c->res == -ECANCELED) /* else it may have ended half-way */
		seal_lower(&r->chain, false);
	judge_end(r, c);
}

void rig_merge(struct rig *r, uint32_t child, enum pl_merge_into into)
{
	invariant(child >= 1 && child < r->chain.depth && !r->pushed);
	r->other.depth = 0;
	r->change.leaves = into == PL_INTO_PARENT ? child : child - 1;
	begin(r, RIG_MERGE, merge_done);
	pl_disk_merge(r->disk, child, into, &r->change.change);
}

void rig_cancel(struct rig *r)
{
	r->change.cancelled = true;
	pl_disk_change_cancel(r->disk);
}

static void finish_done(struct pl_change *c)
{
	judge_end(c->owner, c);
}

void rig_finish(struct rig *r)
{
	begin(r, RIG_FINISH, finish_done);
	pl_disk_finish(r->disk, &r->change.change);
}

static void random_merge(struct rig *r)
{
	uint32_t child = 1 + prng_below(&r->random, r->chain.depth - 1);
	bool down = is_raw(r, child - 1) || prng_percent(&r->random, 50);
	rig_merge(r, child, down ? PL_INTO_PARENT : PL_INTO_CHILD);
}

bool rig_random_change(struct rig *r)
{
	uint32_t n = prng_below(&r->random, 100);
	bool may_merge = r->merges && r->chain.depth > 1, may_push = r->chain.depth < RIG_MAX_DEPTH;
	if ((r->change.kind == RIG_MERGE || r->change.kind == RIG_FINISH) && n < 20)
		rig_cancel(r);
	if (r->change.kind != RIG_NO_CHANGE || r->power.failed)
		return true;
	if (r->pushed && n < 85)
		rig_switch(r, NULL);
	else if (r->pushed)
		rig_abandon(r);
	else if (n < 15)
		r->other.depth = 0;
	else if (may_merge && (n < 55 || !may_push))
		random_merge(r);
	else if (may_push && rig_push(r) < 0 && !r->power.failed)
		return rig_wrong(r, "push: %s", pl_error());
	return true;
}
