/* Which running disk is meant, and which are there at all. */
#include "kmod-free/device.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/registry.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define STALE_PATIENCE_NS (200 * NS_PER_MS)
#define DESCRIPTOR "DiskDescriptor.xml"

/* ------------------------------------------------------------------ stale ones */

static bool is_mounted(const struct pl_device *device)
{
	char **points = NULL;
	if (pl_device_mount_points(device, &points) < 0)
		return true;
	bool mounted = points[0] != NULL;
	free(points);
	return mounted;
}

static void clean_entry(const char *name)
{
	autofd int lock = -1;
	struct pl_device *device = NULL;
	if (registry_lock_entry(name, false, &lock) < 0)
		return; /* somebody is at it */
	int r = registry_load(name, &device);
	if (r < 0) {
		registry_remove(name); /* died before it made anything */
	} else if (!device->alive && !is_mounted(device) &&
		   device_take_down(device, pl_now_ns() + STALE_PATIENCE_NS) == 0) {
		pl_log(PL_LOG_INFO, "device", "removed what was left of %s", name);
	}
	pl_device_free(device);
}

void device_clean_stale(void)
{
	char **names;
	size_t count;
	if (registry_names(&names, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		clean_entry(names[i]);
	registry_names_free(names, count);
	pl_error_clear();
}

/* ------------------------------------------------------------------ list */

void pl_device_list_free(struct pl_device **devices, size_t count)
{
	for (size_t i = 0; i < count; i++)
		pl_device_free(devices[i]);
	free(devices);
}

int pl_device_list(struct pl_device ***out, size_t *count)
{
	char **names;
	size_t name_count, n = 0;
	device_restore();
	int r = registry_names(&names, &name_count);
	if (r < 0)
		return r;
	struct pl_device **devices = calloc(name_count + 1, sizeof(*devices));
	/* Entries without a device number are being made. */
	for (size_t i = 0; devices && i < name_count; i++) {
		if (registry_load(names[i], &devices[n]) < 0)
			continue;
		if (devices[n]->dev)
			n++;
		else
			pl_device_free(devices[n]);
	}
	registry_names_free(names, name_count);
	if (!devices)
		return pl_fail(-ENOMEM, "no memory for %zu devices", name_count);
	pl_error_clear();
	*out = devices;
	*count = n;
	return 0;
}

/* ------------------------------------------------------------------ find */

bool device_name_of(const char *word, char name[32])
{
	static const char *const folders[] = {"/dev/mapper/", "/dev/"};
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		if (strncmp(word, folders[i], strlen(folders[i])) == 0) {
			word += strlen(folders[i]);
			break;
		}
	}
	size_t stem = strlen("ploop");
	if (strncmp(word, "ploop", stem) != 0)
		return false;
	size_t digits = strspn(word + stem, "0123456789");
	const char *rest = word + stem + digits;
	if (digits == 0 || digits > 10 || (*rest && strcmp(rest, "p1") != 0))
		return false;
	snprintf(name, 32, "%.*s", (int)(stem + digits), word);
	return true;
}

struct meaning {
	char name[32];        /* "" when the word is not a name */
	dev_t dev;            /* of a node */
	char *path;           /* canonical */
	char *descriptor;     /* canonical path of the descriptor in a folder */
	const char *component;
};

static void meaning_fini(struct meaning *m)
{
	free(m->path);
	free(m->descriptor);
}

static void meaning_init(struct meaning *m, const char *word, const char *component)
{
	struct stat st;
	char path[PATH_MAX];
	*m = (struct meaning){.component = component ? component : ""};
	if (device_name_of(word, m->name))
		return;
	if (stat(word, &st) == 0 && S_ISBLK(st.st_mode))
		m->dev = st.st_rdev;
	m->path = realpath(word, NULL);
	if (snprintf(path, sizeof(path), "%s/" DESCRIPTOR, word) < (int)sizeof(path))
		m->descriptor = realpath(path, NULL);
}

static bool is_mounted_at(const struct pl_device *d, const char *path)
{
	char **points = NULL;
	bool found = false;
	if (pl_device_mount_points(d, &points) == 0)
		for (char **p = points; *p && !found; p++)
			found = strcmp(*p, path) == 0;
	free(points);
	return found;
}

static bool has_image(const struct pl_device *d, const char *path)
{
	for (size_t i = 0; i < d->image_count; i++)
		if (strcmp(d->images[i], path) == 0)
			return true;
	return false;
}

static bool is_meant(const struct pl_device *d, const struct meaning *m)
{
	if (m->name[0])
		return strcmp(d->name, m->name) == 0;
	if (m->dev)
		return d->dev == m->dev || d->partition_dev == m->dev || d->raw_dev == m->dev;
	if (m->path && is_mounted_at(d, m->path))
		return true;
	if (strcmp(d->component, m->component) != 0)
		return false;
	return (m->descriptor && strcmp(d->bundle, m->descriptor) == 0) ||
	       (m->path && (strcmp(d->bundle, m->path) == 0 || has_image(d, m->path)));
}

int pl_device_find(const char *word, const char *component, struct pl_device **out)
{
	struct pl_device **devices;
	size_t count;
	int r = pl_device_list(&devices, &count);
	if (r < 0)
		return r;
	struct meaning m;
	meaning_init(&m, word, component);
	struct pl_device *found = NULL;
	for (size_t i = 0; i < count && !found; i++) {
		if (is_meant(devices[i], &m)) {
			found = devices[i];
			devices[i] = NULL;
		}
	}
	meaning_fini(&m);
	pl_device_list_free(devices, count);
	if (!found)
		return pl_fail(-ENOENT, "%s is not mounted", word);
	*out = found;
	return 0;
}
