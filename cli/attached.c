#include "cli/attached.h"

#include "cli/exit_code.h"
#include "ploop-serve.h"

#include <errno.h>

int attached_refuse(const char *word)
{
	struct pl_device *device;
	if (pl_device_find(word, NULL, &device) < 0) {
		pl_error_clear();
		return 0;
	}
	pl_fail(-EBUSY, "%s is in use: it is attached as %s", word, device->node);
	pl_device_free(device);
	return EXIT_PLOOPINUSE;
}
