#include "kmod-free/nbdk_name.h"

#include "kmod-free/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTOR "/DiskDescriptor.xml"

void nbdk_name_encode(const struct pl_device *d, char out[NBDK_NAME_BYTES])
{
	const char *path = d->bundle[0] ? d->bundle : d->images[d->image_count - 1];
	int n = snprintf(out, NBDK_NAME_BYTES, "%s %s\t%s", d->name, d->component, path);
	if (n < 0 || n >= NBDK_NAME_BYTES || strchr(out, '\n') || strchr(d->component, '\t'))
		snprintf(out, NBDK_NAME_BYTES, "%s", d->name);
}

static bool is_descriptor(const char *path)
{
	size_t n = strlen(path), tail = strlen(DESCRIPTOR);
	return n > tail && strcmp(path + n - tail, DESCRIPTOR) == 0;
}

int nbdk_name_decode(const char *name, struct pl_device *d)
{
	char word[sizeof(d->name)];
	const char *space = strchr(name, ' '), *tab = space ? strchr(space, '\t') : NULL;
	size_t n = space ? (size_t)(space - name) : 0;
	if (!tab || n >= sizeof(word) || tab[1] != '/')
		return -ENODATA;
	snprintf(word, sizeof(word), "%.*s", (int)n, name);
	if (!device_name_of(word, d->name) || strcmp(d->name, word) != 0)
		return -ENODATA;
	bool bundle = is_descriptor(tab + 1);
	d->component = strndup(space + 1, (size_t)(tab - space - 1));
	d->bundle = strdup(bundle ? tab + 1 : "");
	d->images = calloc(1, sizeof(*d->images));
	if (!bundle && d->images && (d->images[0] = strdup(tab + 1)))
		d->image_count = 1;
	return d->component && d->bundle && (bundle || d->image_count) ? 0 : -ENOMEM;
}
