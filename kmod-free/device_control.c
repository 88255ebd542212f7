/* Where the server of a running disk listens, and what is seen of it without asking. */
#include "ploop-serve.h"

#include "base/units.h"
#include "kmod-free/control_full.h"
#include "kmod-free/registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int pl_device_control(const struct pl_device *device, char *out, size_t out_bytes)
{
	char path[PATH_MAX];
	if (!device->readonly && device->bundle[0])
		return pl_control_path(device->bundle, out, out_bytes);
	int r = registry_path(device->name, REGISTRY_CONTROL, path);
	if (r == 0 && (size_t)snprintf(out, out_bytes, "%s", path) >= out_bytes)
		r = pl_fail(-ENAMETOOLONG, "%s is longer than %zu bytes", path, out_bytes);
	return r;
}

static uint64_t age_s(const struct stat *st)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec > st->st_mtim.tv_sec ? (uint64_t)(now.tv_sec - st->st_mtim.tv_sec) : 0;
}

void pl_device_waits(const struct pl_device *device, char *out, size_t bytes)
{
	char socket[PATH_MAX], path[PATH_MAX + sizeof(CONTROL_FULL_SUFFIX)], image[PATH_MAX] = "";
	int err = 0;
	struct stat st;
	out[0] = '\0';
	if (!device->alive || device->readonly)
		return;
	bool named = pl_device_control(device, socket, sizeof(socket)) == 0;
	snprintf(path, sizeof(path), "%s" CONTROL_FULL_SUFFIX, named ? socket : "");
	FILE *in = named ? fopen(path, "re") : NULL;
	if (in && fstat(fileno(in), &st) == 0 && fscanf(in, "%d %4095[^\n]", &err, image) == 2)
		pl_full_sentence(err, image, age_s(&st), out, bytes);
	if (in)
		fclose(in);
}
