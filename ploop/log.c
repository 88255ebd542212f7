/* Log lines go to a callback; without one they go nowhere. */
#include "ploop.h"

#include <stdio.h>
#include <string.h>

static struct {
	pl_log_fn *fn;
	void *arg;
	enum pl_log_level max;
	const char *categories;
} sink;

void pl_log_set(pl_log_fn *fn, void *arg, enum pl_log_level max, const char *categories)
{
	sink.fn = fn;
	sink.arg = arg;
	sink.max = max;
	sink.categories = categories;
}

static bool category_is_chosen(const char *category)
{
	if (!sink.categories)
		return true;
	size_t n = strlen(category);
	for (const char *p = sink.categories; *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, category, n) == 0 && (p[n] == ',' || p[n] == '\0'))
			return true;
	return false;
}

void pl_log(enum pl_log_level level, const char *category, const char *fmt, ...)
{
	if (!sink.fn || level > sink.max || (level == PL_LOG_DEBUG && !category_is_chosen(category)))
		return;
	char line[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sink.fn(sink.arg, level, category, line);
}
