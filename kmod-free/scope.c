#include "kmod-free/scope.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RUNNING "/run/systemd/system" /* there exactly while systemd is the first process: sd_booted(3) */
#define PROGRAM "/usr/bin/systemd-run"

bool scope_words(const struct pl_device *device, struct scope_words *out)
{
	if (access(RUNNING, F_OK) != 0 || access(PROGRAM, X_OK) != 0)
		return false;
	snprintf(out->unit, sizeof(out->unit), "--unit=%s-%d", device->name, getpid());
	snprintf(out->description, sizeof(out->description), "--description=Server of %s", device->node);
	const char *const words[SCOPE_WORDS + 1] = {
		PROGRAM, "--scope", "--quiet", "--collect", "--property=DefaultDependencies=no",
		"--property=SendSIGKILL=no", out->unit, out->description, "--", NULL,
	};
	memcpy(out->words, words, sizeof(words));
	return true;
}
