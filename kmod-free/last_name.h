/* Which name a disk had last: without -d it gets it again. Lines "ploop1000 component<TAB>bundle" in /run/ploop/names,
 * the latest at the end; lost with a reboot, after which the same commands make the same names again. The caller holds
 * registry_lock(). */
#ifndef PLOOP_LAST_NAME_H
#define PLOOP_LAST_NAME_H

#include "ploop-serve.h"

#include <stdbool.h>

/* False: it had none that is known, or is no bundle. */
bool last_name_find(const struct pl_device *device, char name[32]);

/* Remember its name; where that fails the disk gets another name next time. */
void last_name_note(const struct pl_device *device);

#endif
