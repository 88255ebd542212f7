/* Where systemd manages the machine, a server gets a scope of its own: else it would end with the session or the
 * service of whoever typed mount, whose control group it is in. */
#ifndef PLOOP_SCOPE_H
#define PLOOP_SCOPE_H

#include "ploop-serve.h"

#define SCOPE_WORDS 9

struct scope_words { /* points into itself */
	const char *words[SCOPE_WORDS + 1]; /* NULL-terminated */
	char unit[64], description[128];
};

/* The words to put before those of a program, so that it runs in a scope named after @device and this process. False:
 * no systemd runs here. The scope ends with its processes: no shutdown stops it, and nobody kills what is in it. */
bool scope_words(const struct pl_device *device, struct scope_words *out);

#endif
