/* The text that OpenMetrics scrapers read: each family once, with the samples of all disks below it. */
#include "cli/stat_disks.h"

#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const op_names[PL_OPS] = {
	[PL_READ] = "read", [PL_WRITE] = "write", [PL_FLUSH] = "flush", [PL_DISCARD] = "discard",
	[PL_WRITE_ZEROES] = "zeroes",
};

static void print_escaped(const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", stdout);
		else if (*text == '\\' || *text == '"')
			printf("\\%c", *text);
		else
			putchar(*text);
	}
}

/* NAME{device="…",image="…" and more labels follow, or "}". Of several readers of one image each has its number. */
static void print_name(const char *name, const struct stat_disk *d)
{
	printf("%s{device=\"%s\",image=\"", name, d->device);
	print_escaped(d->now.path);
	putchar('"');
	const char *reader = d->device[0] ? "" : pl_control_reader(d->socket);
	if (reader[0])
		printf(",reader=\"%s\"", reader);
}

struct op_family {
	const char *name, *help, *unit;
	size_t offset;
};

static void print_op_family(const struct stat_disks *disks, const struct op_family *f)
{
	char name[64];
	printf("# TYPE %s counter\n", f->name);
	if (f->unit)
		printf("# UNIT %s %s\n", f->name, f->unit);
	printf("# HELP %s %s\n", f->name, f->help);
	snprintf(name, sizeof(name), "%s_total", f->name);
	for (size_t i = 0; i < disks->count; i++)
		for (size_t op = 0; disks->at[i].live && op < PL_OPS; op++) {
			const char *stat = (const char *)&disks->at[i].now.disk.ops[op];
			print_name(name, &disks->at[i]);
			printf(",op=\"%s\"} %" PRIu64 "\n", op_names[op], *(const uint64_t *)(stat + f->offset));
		}
}

static void print_histogram(const struct stat_disk *d, size_t op)
{
	const struct pl_op_stat *s = &d->now.disk.ops[op];
	uint64_t sum = 0;
	for (uint32_t i = 0; i < PL_LATENCY_BUCKETS; i++) {
		bool last = i + 1 == PL_LATENCY_BUCKETS;
		sum += s->latency[i];
		print_name("ploop_latency_seconds_bucket", d);
		if (last)
			printf(",op=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", op_names[op], sum);
		else
			printf(",op=\"%s\",le=\"%.6f\"} %" PRIu64 "\n", op_names[op],
			       (double)(UINT64_C(1) << i) / 1e6, sum);
	}
	print_name("ploop_latency_seconds_count", d);
	printf(",op=\"%s\"} %" PRIu64 "\n", op_names[op], sum);
	print_name("ploop_latency_seconds_sum", d);
	printf(",op=\"%s\"} %.9f\n", op_names[op], (double)s->time_ns / 1e9);
}

static void print_histograms(const struct stat_disks *disks)
{
	printf("# TYPE ploop_latency_seconds histogram\n# UNIT ploop_latency_seconds seconds\n"
	       "# HELP ploop_latency_seconds From the request's arrival in the server to its end.\n");
	for (size_t i = 0; i < disks->count; i++)
		for (size_t op = 0; disks->at[i].live && op < PL_OPS; op++)
			print_histogram(&disks->at[i], op);
}

struct disk_family {
	const char *name, *type, *suffix, *help;
	size_t offset; /* of a uint64_t in struct pl_disk_stat */
};

static void print_disk_family(const struct stat_disks *disks, const struct disk_family *f)
{
	char name[64];
	printf("# TYPE %s %s\n# HELP %s %s\n", f->name, f->type, f->name, f->help);
	snprintf(name, sizeof(name), "%s%s", f->name, f->suffix);
	for (size_t i = 0; i < disks->count; i++) {
		const char *stat = (const char *)&disks->at[i].now.disk;
		if (!disks->at[i].live)
			continue;
		print_name(name, &disks->at[i]);
		printf("} %" PRIu64 "\n", *(const uint64_t *)(stat + f->offset));
	}
}

#define OP(field) offsetof(struct pl_op_stat, field)
#define DISK(field) offsetof(struct pl_disk_stat, field)

void stat_print_openmetrics(const struct stat_disks *disks)
{
	static const struct op_family op_families[] = {
		{"ploop_requests", "Requests of the guest that ended.", NULL, OP(requests)},
		{"ploop_request_errors", "Those that ended with an error.", NULL, OP(errors)},
		{"ploop_bytes", "Bytes of those that did not.", "bytes", OP(bytes)},
	};
	static const struct disk_family disk_families[] = {
		{"ploop_in_flight", "gauge", "", "Requests that have not ended.", DISK(in_flight)},
		{"ploop_first_writes", "counter", "_total", "Clusters that got space.", DISK(first_writes)},
		{"ploop_commit_rounds", "counter", "_total", "Rounds that make the map durable.", DISK(rounds)},
		{"ploop_storage_errors", "counter", "_total", "Errors of the storage below.", DISK(io_errors)},
		{"ploop_limit_bytes_per_second", "gauge", "", "0: no limit.", DISK(limits.bytes_per_s)},
		{"ploop_limit_requests_per_second", "gauge", "", "0: no limit.", DISK(limits.requests_per_s)},
		{"ploop_limited_requests", "counter", "_total", "Requests that a limit made wait.", DISK(limited)},
		{"ploop_limited_requests_now", "gauge", "", "Requests that wait for it.", DISK(limited_now)},
		{"ploop_host_full", "counter", "_total", "Times that the host had no space.", DISK(full)},
		{"ploop_host_full_nanoseconds", "gauge", "", "For how long it has none; 0: it has.", DISK(full_ns)},
	};
	for (size_t i = 0; i < ARRAY_LEN(op_families); i++)
		print_op_family(disks, &op_families[i]);
	print_histograms(disks);
	for (size_t i = 0; i < ARRAY_LEN(disk_families); i++)
		print_disk_family(disks, &disk_families[i]);
	printf("# EOF\n");
}
