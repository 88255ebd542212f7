/* The forms of `ploop stat`: a table for people, JSON, rates, and the text that OpenMetrics scrapers read. */
#include "cli/stat_disks.h"

#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const op_names[PL_OPS] = {
	[PL_READ] = "read", [PL_WRITE] = "write", [PL_FLUSH] = "flush", [PL_DISCARD] = "discard",
	[PL_WRITE_ZEROES] = "zeroes",
};

void stat_full_text(const struct pl_disk_stat *s, char *out, size_t bytes)
{
	out[0] = '\0';
	if (s->full_ns)
		pl_full_sentence(s->full_errno, s->full_path ? s->full_path : "", s->full_ns / NS_PER_S, out, bytes);
}

/* ------------------------------------------------------------------ text and JSON */

struct stat_row {
	const char *device, *image, *waits, *limit_text, *on_full;
	uint64_t in_flight, first_writes, rounds, io_errors, limited, limited_now, full, full_requests, full_ns;
	uint64_t bytes_per_s, requests_per_s;
	uint32_t burst_ms, full_errno;
	bool failed;
	struct pl_op_stat ops[PL_OPS];
};

#define OP_COLUMNS(word, op)                                                                                           \
	{word "_requests", NULL, 0, NULL, OUT_KIND_U64, offsetof(struct stat_row, ops[op].requests)},                  \
		{word "_errors", NULL, 0, NULL, OUT_KIND_U64, offsetof(struct stat_row, ops[op].errors)},              \
		{word "_bytes", NULL, 0, NULL, OUT_KIND_U64, offsetof(struct stat_row, ops[op].bytes)},                \
		{word "_time_ns", NULL, 0, NULL, OUT_KIND_U64, offsetof(struct stat_row, ops[op].time_ns)},            \
		{word "_latency", NULL, 0, NULL, OUT_KIND_LATENCY, offsetof(struct stat_row, ops[op].latency)}

static const struct out_column columns[] = {
	OUT_TEXT("device", "", 0, "\t", struct stat_row, device),
	OUT_TEXT("image", "", 0, "\n", struct stat_row, image),
	OP_COLUMNS("read", PL_READ),
	OP_COLUMNS("write", PL_WRITE),
	OP_COLUMNS("flush", PL_FLUSH),
	OP_COLUMNS("discard", PL_DISCARD),
	OP_COLUMNS("zeroes", PL_WRITE_ZEROES),
	OUT_U64("in_flight", NULL, 0, NULL, struct stat_row, in_flight),
	OUT_U64("first_writes", NULL, 0, NULL, struct stat_row, first_writes),
	OUT_U64("commit_rounds", NULL, 0, NULL, struct stat_row, rounds),
	OUT_U64("storage_errors", NULL, 0, NULL, struct stat_row, io_errors),
	OUT_BOOL("failed", NULL, 0, NULL, struct stat_row, failed),
	OUT_U64("iolimit", NULL, 0, NULL, struct stat_row, bytes_per_s),
	OUT_U64("iopslimit", NULL, 0, NULL, struct stat_row, requests_per_s),
	OUT_U32("burst_ms", NULL, 0, NULL, struct stat_row, burst_ms),
	OUT_U64("limited", NULL, 0, NULL, struct stat_row, limited),
	OUT_U64("limited_now", NULL, 0, NULL, struct stat_row, limited_now),
	OUT_TEXT("on_full", NULL, 0, NULL, struct stat_row, on_full),
	OUT_U64("full", NULL, 0, NULL, struct stat_row, full),
	OUT_U64("full_now_ns", NULL, 0, NULL, struct stat_row, full_ns),
	OUT_U64("full_now_requests", NULL, 0, NULL, struct stat_row, full_requests),
	OUT_U32("full_errno", NULL, 0, NULL, struct stat_row, full_errno),
	OUT_TEXT("waits", NULL, 0, NULL, struct stat_row, waits),
	OUT_END,
};

/* Upper edge of the bucket in which the request of this rank lies. */
static uint64_t below_us(const struct pl_op_stat *op, uint64_t rank)
{
	uint64_t seen = 0;
	for (uint32_t i = 0; i < PL_LATENCY_BUCKETS; i++) {
		seen += op->latency[i];
		if (seen >= rank)
			return UINT64_C(1) << i;
	}
	return UINT64_C(1) << PL_LATENCY_BUCKETS;
}

static void print_op(const char *name, const struct pl_op_stat *op)
{
	if (!op->requests)
		return;
	printf("    %-8s %12" PRIu64 " %12.1f %8" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 "\n", name,
	       op->requests, (double)op->bytes / MIB, op->errors, op->time_ns / op->requests / NS_PER_US,
	       below_us(op, div_up(op->requests, 2)), below_us(op, op->requests - op->requests / 100));
}

static void print_text(const struct pl_disk_stat *s, const char *waits)
{
	printf("    %-8s %12s %12s %8s %10s %10s %10s\n", "", "requests", "MiB", "errors", "mean, us", "half <",
	       "99% <");
	for (size_t i = 0; i < PL_OPS; i++)
		print_op(op_names[i], &s->ops[i]);
	printf("    %" PRIu64 " in flight, %" PRIu64 " first writes, %" PRIu64 " commit rounds, %" PRIu64
	       " storage errors%s\n",
	       s->in_flight, s->first_writes, s->rounds, s->io_errors,
	       s->failed ? ", A SYNC FAILED: no more writes" : "");
	if (s->limits.bytes_per_s || s->limits.requests_per_s)
		printf("    limits: %" PRIu64 " bytes/s, %" PRIu64 " requests/s (0: none), burst %" PRIu32
		       " ms; %" PRIu64 " requests waited, %" PRIu64 " wait\n",
		       s->limits.bytes_per_s, s->limits.requests_per_s, s->limits.burst_ms, s->limited, s->limited_now);
	if (s->full || s->on_full == PL_FULL_FAILS)
		printf("    a full host: writes %s, it happened %" PRIu64 " times\n",
		       s->on_full == PL_FULL_FAILS ? "fail" : "wait", s->full);
	if (waits[0])
		printf("    %s\n", waits);
}

static void print_one(const struct stat_disk *d, struct out *out)
{
	char waits[5000];
	const struct pl_disk_stat *s = &d->now.disk;
	stat_full_text(s, waits, sizeof(waits));
	struct stat_row row = {
		.device = d->device[0] ? d->device : "-",
		.image = d->now.path,
		.waits = waits,
		.on_full = s->on_full == PL_FULL_FAILS ? "fail" : "wait",
		.in_flight = s->in_flight,
		.first_writes = s->first_writes,
		.rounds = s->rounds,
		.io_errors = s->io_errors,
		.failed = s->failed,
		.bytes_per_s = s->limits.bytes_per_s,
		.requests_per_s = s->limits.requests_per_s,
		.burst_ms = s->limits.burst_ms,
		.limited = s->limited,
		.limited_now = s->limited_now,
		.full = s->full,
		.full_ns = s->full_ns,
		.full_requests = s->full_requests,
		.full_errno = (uint32_t)s->full_errno,
	};
	memcpy(row.ops, s->ops, sizeof(row.ops));
	out_row(out, columns, &row);
	if (!out->json)
		print_text(s, waits);
}

void stat_print(const struct stat_disks *disks, struct out *out)
{
	out_list_begin(out, "disks");
	for (size_t i = 0; i < disks->count; i++)
		if (disks->at[i].live)
			print_one(&disks->at[i], out);
	out_list_end(out);
}

/* ------------------------------------------------------------------ rates */

void stat_print_rates_head(void)
{
	printf("%-12s %9s %9s %9s %9s %9s %9s %9s  %s\n", "device", "read/s", "MiB/s", "write/s", "MiB/s", "read us",
	       "write us", "in flight", "");
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return (double)(now - before) / seconds;
}

static double mean_us(const struct pl_op_stat *now, const struct pl_op_stat *before)
{
	uint64_t requests = now->requests - before->requests;
	return requests ? (double)(now->time_ns - before->time_ns) / (double)requests / NS_PER_US : 0;
}

void stat_print_rates(const struct stat_disks *disks, double seconds)
{
	for (size_t i = 0; i < disks->count; i++) {
		const struct stat_disk *d = &disks->at[i];
		const struct pl_op_stat *now = d->now.disk.ops, *was = d->before.disk.ops;
		char waits[5000];
		if (!d->live)
			continue;
		stat_full_text(&d->now.disk, waits, sizeof(waits));
		printf("%-12s %9.0f %9.1f %9.0f %9.1f %9.0f %9.0f %9" PRIu64 "  %s%s\n",
		       d->device[0] ? d->device : d->now.path,
		       per_second(now[PL_READ].requests, was[PL_READ].requests, seconds),
		       per_second(now[PL_READ].bytes, was[PL_READ].bytes, seconds) / MIB,
		       per_second(now[PL_WRITE].requests, was[PL_WRITE].requests, seconds),
		       per_second(now[PL_WRITE].bytes, was[PL_WRITE].bytes, seconds) / MIB,
		       mean_us(&now[PL_READ], &was[PL_READ]), mean_us(&now[PL_WRITE], &was[PL_WRITE]),
		       d->now.disk.in_flight, d->now.disk.limited_now ? "limited " : "", waits);
	}
	fflush(stdout);
}
