/* What a disk says of itself: sizes, extents, its recent story. None of it blocks. */
#include <stdio.h>
#include <string.h>

#include "ploop/partial_io.h"

static uint32_t partials_of(const struct writer *w)
{
	return writer_has_partials(w) ? w->partials->count : 0;
}

void pl_disk_get_info(const struct pl_disk *d, struct pl_disk_info *out)
{
	*out = (struct pl_disk_info){
		.size_bytes = d->size_bytes,
		.cluster_bytes = d->cluster_bytes,
		.request_align_bytes = SECTOR_BYTES,
		.version = d->top->format == PL_FORMAT_PLOOP ? d->top->header.version : 0,
		.depth = d->depth,
		.readonly = d->readonly,
		.survives = d->writer->survive.life_fd >= 0,
		.allocated_clusters = d->writer->alloc.used_count,
		.partial_clusters = partials_of(d->writer) + partials_of(d->leaving),
	};
}

/* At @offset, up to @length bytes, which are inside a cluster. */
static struct pl_extent extent_at(const struct pl_disk *d, uint64_t offset, uint32_t length)
{
	struct gclu g = {(uint32_t)(offset >> d->cluster_shift)};
	struct map_entry e = map_get(&d->map, g);
	if (unlikely(disk_has_partials(d)))
		e = partial_look(d, g, e, (uint32_t)(offset & (d->cluster_bytes - 1)), &length);
	struct pl_extent out = {.length_bytes = length};
	if (e.level == MAP_HOLE)
		out.flags = PL_EXTENT_HOLE | PL_EXTENT_ZERO;
	else
		out.depth = d->depth - d->rank[e.level];
	return out;
}

size_t pl_map(const struct pl_disk *d, uint64_t offset, uint64_t length, struct pl_extent *out, size_t max)
{
	size_t n = 0;
	for (uint64_t end = offset + length; offset < end;) {
		struct gclu g = {(uint32_t)(offset >> d->cluster_shift)};
		uint64_t next = MIN(((uint64_t)g.n + 1) << d->cluster_shift, end);
		struct pl_extent e = extent_at(d, offset, (uint32_t)(next - offset));
		if (n > 0 && out[n - 1].flags == e.flags && out[n - 1].depth == e.depth)
			out[n - 1].length_bytes += e.length_bytes;
		else if (n == max)
			break;
		else
			out[n++] = e;
		offset += e.length_bytes;
	}
	return n;
}

void pl_disk_stop_waiting(struct pl_disk *d)
{
	d->no_waiting = true;
	door_open(d);
	disk_retry(d);
}

void pl_disk_set_on_full(struct pl_disk *d, enum pl_on_full what)
{
	d->fails_when_full = what == PL_FULL_FAILS;
	disk_retry(d);
}

void pl_disk_retry(struct pl_disk *d)
{
	disk_retry(d);
}

static void full_stat(const struct pl_disk *d, struct pl_disk_stat *out)
{
	const struct full *full = &d->full;
	out->on_full = d->fails_when_full ? PL_FULL_FAILS : PL_FULL_WAITS;
	out->full = full->ever;
	if (!full->since_ns)
		return;
	out->full_ns = pl_now_ns() - full->since_ns;
	out->full_requests = full->frags + full_waiters(d);
	out->full_errno = full->error;
	out->full_path = full->path;
}

void pl_disk_get_stat(const struct pl_disk *d, struct pl_disk_stat *out)
{
	uint64_t ended = 0;
	struct pl_disk_stat stat = {
		.size = out->size,
		.first_writes = d->first_writes,
		.rounds = d->rounds,
		.io_errors = d->io_errors.count,
		.failed = d->failed,
		.limits = d->door.limits,
		.limited = d->door.limited_ever,
		.limited_now = d->door.count,
		.path = d->top->path,
	};
	memcpy(stat.ops, d->ops, sizeof(stat.ops));
	for (size_t i = 0; i < PL_OPS; i++)
		ended += d->ops[i].requests;
	stat.in_flight = d->guest_requests - ended;
	full_stat(d, &stat);
	memcpy(out, &stat, MIN(out->size, sizeof(stat)));
}

void pl_disk_dump(const struct pl_disk *d, void (*line)(void *arg, const char *text), void *arg)
{
	const struct writer *w = d->writer;
	char text[256];
	snprintf(text, sizeof(text),
		 "%s: depth=%u clusters=%u allocated=%u requests=%llu writes=%llu gates=%u round=%d failed=%d",
		 d->top->path, d->depth, d->map.clusters, w->alloc.used_count, (unsigned long long)d->request_count,
		 (unsigned long long)w->writes, d->gate_count, w->commit.state, d->failed);
	line(arg, text);
	if (w->survive.shm)
		pending_dump(w->survive.shm, line, arg);
}
