#include "kmod-free/last_name.h"

#include "base/cleanup.h"
#include "kmod-free/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FILE_NAME "names"
#define NEW_NAME  "names.new"
#define LINES_MAX 4096u /* the oldest are forgotten */

/* The name that a line gives to this disk; "" if it is about another one. */
static void name_in_line(const char *line, const struct pl_device *d, char name[32])
{
	char start[sizeof(d->name)];
	int at = 0;
	name[0] = '\0';
	if (sscanf(line, "%31s%n", start, &at) != 1 || line[at++] != ' ')
		return;
	size_t component_bytes = strlen(d->component), bundle_bytes = strlen(d->bundle);
	const char *bundle = line + at + component_bytes + 1;
	if (strncmp(line + at, d->component, component_bytes) == 0 && bundle[-1] == '\t' &&
	    strncmp(bundle, d->bundle, bundle_bytes) == 0 && strcmp(bundle + bundle_bytes, "\n") == 0)
		memcpy(name, start, sizeof(start));
}

static bool is_known(const struct pl_device *d)
{
	return d->bundle[0] && !strchr(d->bundle, '\n');
}

static FILE *open_file(const char *name, const char *mode)
{
	char path[PATH_MAX];
	return registry_path(name, NULL, path) == 0 ? fopen(path, mode) : NULL;
}

bool last_name_find(const struct pl_device *d, char name[32])
{
	autofree char *line = NULL;
	size_t line_bytes = 0;
	FILE *in = is_known(d) ? open_file(FILE_NAME, "re") : NULL;
	name[0] = '\0';
	if (!in)
		return false;
	while (!name[0] && getline(&line, &line_bytes, in) > 0)
		name_in_line(line, d, name);
	fclose(in);
	return name[0] != '\0';
}

/* All lines but this disk's. */
static void copy_others(FILE *in, FILE *out, const struct pl_device *d)
{
	autofree char *line = NULL;
	size_t line_bytes = 0, count = 0;
	char name[sizeof(d->name)];
	while (getline(&line, &line_bytes, in) > 0)
		count++;
	rewind(in);
	for (; getline(&line, &line_bytes, in) > 0; count--) {
		name_in_line(line, d, name);
		if (!name[0] && count < LINES_MAX)
			fputs(line, out);
	}
}

static bool replace(void)
{
	char from[PATH_MAX], to[PATH_MAX];
	return registry_path(NEW_NAME, NULL, from) == 0 && registry_path(FILE_NAME, NULL, to) == 0 &&
	       rename(from, to) == 0;
}

void last_name_note(const struct pl_device *d)
{
	char name[sizeof(d->name)];
	if (!is_known(d) || (last_name_find(d, name) && strcmp(name, d->name) == 0))
		return;
	FILE *out = open_file(NEW_NAME, "we");
	if (!out)
		return;
	FILE *in = open_file(FILE_NAME, "re");
	if (in) {
		copy_others(in, out, d);
		fclose(in);
	}
	fprintf(out, "%s %s\t%s\n", d->name, d->component, d->bundle);
	bool failed = ferror(out);
	if ((fclose(out) != 0 || failed || !replace()))
		pl_log(PL_LOG_WARN, "device", "the name of %s is not remembered: %s", d->name, strerror(errno));
}
