/* Where a running disk is mounted, and who keeps it busy: read from /proc. */
#include "ploop-serve.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ------------------------------------------------------------------ mount points */

/* The kernel writes space, tab, newline and backslash as \ooo. */
static void unescape_octal(char *text)
{
	char *to = text;
	for (const char *from = text; *from;) {
		if (from[0] == '\\' && isdigit(from[1]) && isdigit(from[2]) && isdigit(from[3])) {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

struct mount_line {
	uint64_t dev;
	char *mount_point, *source;
};

/* "id parent major:minor root mount_point options [tag…] - type source super_options" */
static bool parse_line(char *line, struct mount_line *m)
{
	unsigned major_number, minor_number;
	int at = 0;
	if (sscanf(line, "%*u %*u %u:%u %*s %n", &major_number, &minor_number, &at) != 2 || at == 0)
		return false;
	m->dev = makedev(major_number, minor_number);
	char *rest = line + at;
	char *dash = strstr(rest, " - ");
	m->mount_point = strsep(&rest, " ");
	if (!dash)
		return false;
	char *words = dash + 3;
	strsep(&words, " ");
	m->source = strsep(&words, " \n");
	if (!m->source)
		return false;
	unescape_octal(m->mount_point);
	unescape_octal(m->source);
	return true;
}

/* File systems such as btrfs have device numbers of their own: then the source tells. */
static bool is_of_device(const struct mount_line *m, const struct pl_device *d)
{
	return m->dev == d->dev || (d->partition_dev && m->dev == d->partition_dev) ||
	       strcmp(m->source, d->node) == 0 || (d->partition[0] && strcmp(m->source, d->partition) == 0);
}

/* One allocation: the pointers, a NULL, the strings; the last mounted comes first. */
static char **pack(char *const *items, size_t count)
{
	size_t bytes = (count + 1) * sizeof(char *);
	for (size_t i = 0; i < count; i++)
		bytes += strlen(items[i]) + 1;
	char **out = malloc(bytes);
	if (!out)
		return NULL;
	char *text = (char *)(out + count + 1);
	for (size_t i = 0; i < count; i++) {
		out[i] = text;
		text = stpcpy(text, items[count - 1 - i]) + 1;
	}
	out[count] = NULL;
	return out;
}

int pl_device_mount_points(const struct pl_device *device, char ***out)
{
	FILE *in = fopen("/proc/self/mountinfo", "re");
	if (!in)
		return pl_fail(-errno, "/proc/self/mountinfo: %s", strerror(errno));
	autofree char *line = NULL;
	size_t line_bytes = 0, count = 0;
	char *items[64];
	struct mount_line m;
	while (count < ARRAY_LEN(items) && getline(&line, &line_bytes, in) > 0)
		if (parse_line(line, &m) && is_of_device(&m, device) && (items[count] = strdup(m.mount_point)))
			count++;
	fclose(in);
	char **packed = pack(items, count);
	for (size_t i = 0; i < count; i++)
		free(items[i]);
	if (!packed)
		return pl_fail(-ENOMEM, "no memory for mount points");
	*out = packed;
	return 0;
}

/* ------------------------------------------------------------------ holders */

/* 0: none. Most file systems have the number of their device, wherever they are mounted. */
struct held {
	dev_t file_system, device, partition, below;
};

static bool is_one_of(dev_t dev, const struct held *h)
{
	return dev && (dev == h->file_system || dev == h->device || dev == h->partition || dev == h->below);
}

static bool link_holds(const char *path, const struct held *h)
{
	struct stat st;
	return stat(path, &st) == 0 && (is_one_of(st.st_dev, h) || (S_ISBLK(st.st_mode) && is_one_of(st.st_rdev, h)));
}

static bool any_fd_holds(const char *pid, const struct held *h)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	DIR *dir = opendir(path);
	if (!dir)
		return false;
	bool holds = false;
	struct dirent *entry;
	while (!holds && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, entry->d_name);
		holds = entry->d_name[0] != '.' && link_holds(path, h);
	}
	closedir(dir);
	return holds;
}

/* Programs and libraries that run from there. */
static bool any_map_holds(const char *pid, const struct held *h)
{
	char path[PATH_MAX], line[PATH_MAX + 128];
	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	FILE *in = fopen(path, "re");
	if (!in)
		return false;
	bool holds = false;
	while (!holds && fgets(line, sizeof(line), in)) {
		unsigned major_number, minor_number;
		if (sscanf(line, "%*s %*s %*s %x:%x", &major_number, &minor_number) == 2)
			holds = is_one_of(makedev(major_number, minor_number), h);
	}
	fclose(in);
	return holds;
}

static bool process_holds(const char *pid, const struct held *h)
{
	static const char *const links[] = {"cwd", "root", "exe"};
	char path[PATH_MAX];
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		snprintf(path, sizeof(path), "/proc/%s/%s", pid, links[i]);
		if (link_holds(path, h))
			return true;
	}
	return any_fd_holds(pid, h) || any_map_holds(pid, h);
}

static void add_holder(const char *pid, char *out, size_t out_bytes)
{
	char path[64], name[64] = "?";
	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	FILE *in = fopen(path, "re");
	if (in && fgets(name, sizeof(name), in))
		name[strcspn(name, "\n")] = '\0';
	if (in)
		fclose(in);
	size_t used = strlen(out);
	snprintf(out + used, out_bytes - used, "%s%s (%s)", used ? ", " : "", pid, name);
}

void pl_device_holders(const struct pl_device *device, const char *mount_point, char *out, size_t out_bytes)
{
	struct stat st;
	struct held held = {
		.device = device->dev,
		.partition = device->partition_dev,
		.below = device->raw_dev,
	};
	if (mount_point && stat(mount_point, &st) == 0)
		held.file_system = st.st_dev;
	out[0] = '\0';
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	while (proc && (entry = readdir(proc)))
		if (isdigit(entry->d_name[0]) && process_holds(entry->d_name, &held))
			add_holder(entry->d_name, out, out_bytes);
	if (proc)
		closedir(proc);
	if (!out[0])
		snprintf(out, out_bytes, "no process that we can see; perhaps another mount namespace");
}
