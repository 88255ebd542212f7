/* The name an nbd device carries in the kernel (its backend): whose it is, for those who find nothing else.
 *
 *	ploop1000 COMPONENT<TAB>PATH      PATH: the descriptor, or the top image of a list
 *
 * The first word is what it is found by; the rest is left out where it is too long for sysfs or would break its line.
 */
#ifndef PLOOP_NBDK_NAME_H
#define PLOOP_NBDK_NAME_H

#include "ploop-serve.h"

#include <limits.h>

#define NBDK_NAME_BYTES 1024 /* the kernel prints it into a page */

void nbdk_name_encode(const struct pl_device *device, char out[NBDK_NAME_BYTES]);

/* Sets name, component and either bundle or one image of *@device, which is empty before: pl_device_free() frees them.
 * -ENODATA: it is not one of ours, or has only the first word · -ENOMEM. */
int nbdk_name_decode(const char *name, struct pl_device *device);

#endif
