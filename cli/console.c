/* Console lines go to stdout, what needs attention to stderr; progress only where a person watches. */
#include "cli/console.h"

#include "base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
	int verbosity;
	bool parsed_output;
	uint64_t start_ns;
	int shown_percent; /* of the progress line; -1: none on the screen */
	bool is_terminal;
} console = {.verbosity = CONSOLE_DEFAULT_VERBOSITY, .shown_percent = -1};

#define VERBOSITY_STAMPED 4

static void print_stamp(FILE *out)
{
	if (console.verbosity < VERBOSITY_STAMPED)
		return;
	uint64_t us = (pl_now_ns() - console.start_ns) / 1000;
	fprintf(out, "[%6llu.%06llu] ", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000));
}

static void log_line(void *arg, enum pl_log_level level, const char *category, const char *line)
{
	console_progress_end();
	print_stamp(stderr);
	fprintf(stderr, "%s: %s\n", category, line);
}

static enum pl_log_level log_level_of(int verbosity)
{
	if (verbosity < 0)
		return PL_LOG_ERROR;
	if (verbosity <= CONSOLE_DEFAULT_VERBOSITY)
		return PL_LOG_WARN;
	return verbosity == CONSOLE_DEFAULT_VERBOSITY + 1 ? PL_LOG_INFO : PL_LOG_DEBUG;
}

void console_init(int verbosity, bool parsed_output)
{
	console.verbosity = verbosity;
	console.parsed_output = parsed_output;
	console.start_ns = pl_now_ns();
	console.is_terminal = isatty(STDERR_FILENO);
	const char *categories = getenv("PLOOP_DEBUG");
	pl_log_set(log_line, NULL, categories ? PL_LOG_DEBUG : log_level_of(verbosity), categories);
}

void console_say(const char *fmt, ...)
{
	if (console.parsed_output || console.verbosity < CONSOLE_DEFAULT_VERBOSITY)
		return;
	console_progress_end();
	print_stamp(stdout);
	va_list ap;
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void console_warn(const char *fmt, ...)
{
	if (console.verbosity < 0)
		return;
	console_progress_end();
	fflush(stdout);
	print_stamp(stderr);
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
}

void console_progress(void *arg, uint64_t done, uint64_t total)
{
	if (!console.is_terminal || total == 0)
		return;
	int percent = (int)((double)done * 100 / (double)total);
	if (percent == console.shown_percent)
		return;
	console.shown_percent = percent;
	fprintf(stderr, "\r%s %3d%%", (const char *)arg, percent);
	fflush(stderr);
}

void console_progress_end(void)
{
	if (console.shown_percent < 0)
		return;
	console.shown_percent = -1;
	fprintf(stderr, "\r\033[K");
	fflush(stderr);
}
