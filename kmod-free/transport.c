#include "kmod-free/transport.h"

#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The best first. */
static const struct transport *const transports[] = {&transport_nbd, &transport_fuse};

int transport_find(const char *name, const struct transport **out)
{
	char known[128] = "";
	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		if (strcmp(transports[i]->name, name) == 0) {
			*out = transports[i];
			return 0;
		}
		snprintf(known + strlen(known), sizeof(known) - strlen(known), ", %s", transports[i]->name);
	}
	return pl_fail(-EINVAL, "there is no transport %s; known are auto%s", name, known);
}

int transport_choose(const char *name, const struct transport **out)
{
	if (name && strcmp(name, "auto") != 0) {
		int r = transport_find(name, out);
		return r < 0 ? r : (*out)->probe();
	}
	char reasons[512] = "";
	for (size_t i = 0; i < ARRAY_LEN(transports); i++) {
		if (transports[i]->probe() == 0) {
			*out = transports[i];
			return 0;
		}
		snprintf(reasons + strlen(reasons), sizeof(reasons) - strlen(reasons), "%s%s: %s", i ? "; " : "",
			 transports[i]->name, pl_error());
	}
	return pl_fail(-ENODEV, "no way to make a block device here: %s", reasons);
}

int transport_abandon(const struct pl_device *device)
{
	const struct transport *transport;
	int r = transport_find(device->transport, &transport);
	return r < 0 || !transport->abandon ? r : transport->abandon(device);
}
