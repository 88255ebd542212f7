/* ploop stat: what running disks do, as their servers count it. */
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/stat_disks.h"

#include <errno.h>
#include <time.h>

#define MOST_INTERVAL_S 86400u

struct stat_args {
	bool json, openmetrics;
	const char *watch;
};

static const struct cli_option options[] = {
	CLI_JSON(struct stat_args, json),
	CLI_FLAG(0, "openmetrics", struct stat_args, openmetrics, "print what OpenMetrics scrapers read"),
	CLI_TEXT(0, "watch", "[=SECONDS]", struct stat_args, watch,
		 "print rates every second, or so many seconds, until interrupted"),
	CLI_END,
};

/* true: the time is over; false: a signal came. */
static bool sleep_s(uint64_t seconds)
{
	struct timespec left = {.tv_sec = (time_t)seconds};
	while (!interrupt_seen())
		if (nanosleep(&left, &left) == 0)
			return true;
	return false;
}

static bool any_left(const struct stat_disks *disks)
{
	for (size_t i = 0; i < disks->count; i++)
		if (disks->at[i].live)
			return true;
	return false;
}

/* Ends with the last disk, or when told. */
static int watch(struct stat_disks *disks, uint64_t interval_s)
{
	uint64_t before = pl_now_ns();
	int r = 0;
	interrupt_catch();
	stat_print_rates_head();
	while (r == 0 && any_left(disks) && sleep_s(interval_s)) {
		r = stat_disks_ask(disks);
		uint64_t now = pl_now_ns();
		if (r == 0)
			stat_print_rates(disks, (double)(now - before) / NS_PER_S);
		before = now;
	}
	return r;
}

static int print(const struct stat_args *a, const struct stat_disks *disks)
{
	struct out out;
	if (a->openmetrics) {
		stat_print_openmetrics(disks);
		return 0;
	}
	out_begin(&out, a->json);
	stat_print(disks, &out);
	return out_end(&out);
}

static int run(void *p, int argc, char **argv)
{
	const struct stat_args *a = p;
	struct stat_disks disks;
	uint64_t interval_s = 1;
	if (a->json + a->openmetrics + (a->watch != NULL) > 1)
		return cli_misuse("--json, --openmetrics and --watch exclude each other");
	if (a->watch && a->watch[0] && (cli_parse_number(a->watch, &interval_s) < 0 || interval_s == 0 ||
					interval_s > MOST_INTERVAL_S))
		return cli_misuse("--watch=%s: want a number of seconds up to %u", a->watch, MOST_INTERVAL_S);
	int r = stat_disks_open(&disks, argc, argv);
	if (r < 0)
		return r;
	r = a->watch ? watch(&disks, interval_s) : print(a, &disks);
	stat_disks_close(&disks);
	return r;
}

const struct cli_command cmd_stat = {
	.name = "stat",
	.summary = "Show what running disks do",
	.synopsis = {"[--json|--openmetrics|--watch[=SECONDS]] [DEVICE|DD|IMAGE …]"},
	.options = options,
	.examples = {
		{"ploop stat", "Counters and latencies of all running disks"},
		{"ploop stat --watch=5 /vz/test", "Rates of one, every five seconds"},
		{"ploop stat --openmetrics >/var/lib/node-exporter/ploop.prom", "For a scraper"},
	},
	.args_bytes = sizeof(struct stat_args),
	.max_words = -1,
	.parsed_output = true,
	.run = run,
};
