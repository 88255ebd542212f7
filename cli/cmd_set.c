/* ploop set: limits of a disk and what it does on a full host. Kept beside the descriptor, and told to the server that
 * runs, in this order: a server that starts in between reads the new ones. */
#include "cli/command.h"
#include "cli/output.h"
#include "cli/served.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct set_args {
	const char *iolimit, *iopslimit, *burst, *on_full;
	bool retry, json;
};

static const struct cli_option options[] = {
	CLI_TEXT(0, "iolimit", "SIZE", struct set_args, iolimit,
		 "bytes a second, reads and writes together: a size such as 20M; 0: no limit"),
	CLI_TEXT(0, "iopslimit", "NUMBER", struct set_args, iopslimit,
		 "requests a second, flushes not counted; 0: no limit"),
	CLI_TEXT(0, "burst", "MS", struct set_args, burst,
		 "after a pause so many milliseconds' worth may go at once; 0: the default, 100"),
	CLI_TEXT(0, "on-full", "wait|fail", struct set_args, on_full,
		 "what a write does that finds no space on the host"),
	CLI_FLAG(0, "retry", struct set_args, retry, "let what waits for space try again now"),
	CLI_JSON(struct set_args, json),
	CLI_END,
};

struct settings_row {
	uint64_t bytes_per_s, requests_per_s;
	uint32_t burst_ms;
	const char *on_full;
};

static const struct out_column columns[] = {
	OUT_U64("iolimit", "iolimit:\t", 0, "\n", struct settings_row, bytes_per_s),
	OUT_U64("iopslimit", "iopslimit:\t", 0, "\n", struct settings_row, requests_per_s),
	OUT_U32("burst_ms", "burst_ms:\t", 0, "\n", struct settings_row, burst_ms),
	OUT_TEXT("on_full", "on_full:\t", 0, "\n", struct settings_row, on_full),
	OUT_END,
};

static int read_number(const char *option, const char *text, uint64_t most, uint64_t *out)
{
	if (cli_parse_number(text, out) < 0 || *out > most)
		return cli_misuse("%s %s: want a number up to %llu", option, text, (unsigned long long)most);
	return 0;
}

static int change(const struct set_args *a, struct pl_settings *s)
{
	uint64_t n = 0;
	int r = 0;
	if (a->iolimit) {
		if (cli_parse_size(a->iolimit, &n) < 0 || n * SECTOR_BYTES > PL_LIMIT_MAX)
			return cli_misuse("--iolimit %s: want a size such as 20M, or 0", a->iolimit);
		s->limits.bytes_per_s = n * SECTOR_BYTES;
	}
	if (a->iopslimit)
		r = read_number("--iopslimit", a->iopslimit, PL_LIMIT_MAX, &s->limits.requests_per_s);
	if (r == 0 && a->burst) {
		r = read_number("--burst", a->burst, 60000, &n);
		s->limits.burst_ms = (uint32_t)n;
	}
	if (r == 0 && a->on_full && cli_parse_on_full(a->on_full, &s->on_full) < 0)
		return CLI_MISUSE;
	return r;
}

static bool changes_settings(const struct set_args *a)
{
	return a->iolimit || a->iopslimit || a->burst || a->on_full;
}

static int tell_server(const struct set_args *a, const char *descriptor, const struct pl_settings *s)
{
	struct pl_live *live;
	int r = served_connect(descriptor, &live);
	if (r == -ENOENT && !a->retry)
		return 0; /* it is for the next start */
	if (r < 0)
		return r;
	if (changes_settings(a))
		r = pl_live_set(live, &s->limits, a->on_full ? &s->on_full : NULL);
	if (r == 0 && a->retry)
		r = pl_live_retry(live);
	pl_live_close(live);
	return r;
}

static int show(const struct set_args *a, const struct pl_settings *s)
{
	struct settings_row row = {
		.bytes_per_s = s->limits.bytes_per_s,
		.requests_per_s = s->limits.requests_per_s,
		.burst_ms = s->limits.burst_ms,
		.on_full = s->on_full == PL_FULL_FAILS ? "fail" : "wait",
	};
	struct out out;
	out_begin(&out, a->json);
	out_row(&out, columns, &row);
	return out_end(&out);
}

static int run(void *p, int argc, char **argv)
{
	const struct set_args *a = p;
	autofree char *descriptor = NULL;
	struct pl_settings settings = {.size = sizeof(settings)};
	int r = served_descriptor(argv[0], &descriptor);
	if (r == 0 && access(descriptor, F_OK) != 0)
		r = pl_fail(-errno, "%s: %s", descriptor, strerror(errno));
	if (r == 0)
		r = pl_settings_load(descriptor, &settings);
	if (r == 0)
		r = change(a, &settings);
	if (r == 0 && changes_settings(a))
		r = pl_settings_store(descriptor, &settings);
	if (r == 0 && (changes_settings(a) || a->retry))
		return tell_server(a, descriptor, &settings);
	return r == 0 ? show(a, &settings) : r;
}

const struct cli_command cmd_set = {
	.name = "set",
	.summary = "Limit a disk, and say what it does on a full host",
	.synopsis = {
		"[--iolimit SIZE] [--iopslimit NUMBER] [--burst MS] [--on-full wait|fail] [--retry] DEVICE|DD|IMAGE",
		"[--json] DEVICE|DD|IMAGE",
	},
	.options = options,
	.examples = {
		{"ploop set --iolimit 20M --iopslimit 300 /vz/test", "20 MiB and 300 requests a second, from now on"},
		{"ploop set --iolimit 0 --iopslimit 0 /vz/test", "No limits"},
		{"ploop set --retry /vz/test", "There is space again: go on now"},
		{"ploop set /vz/test", "Show what is set"},
	},
	.args_bytes = sizeof(struct set_args),
	.min_words = 1,
	.max_words = 1,
	.parsed_output = true,
	.run = run,
};
