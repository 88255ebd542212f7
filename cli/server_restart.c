/* ploop server restart: a server that died too often is tried once more. */
#include "cli/server.h"

#include "cli/console.h"
#include "ploop-serve.h"

#include <errno.h>
#include <time.h>

#define PATIENCE 600 /* looks */

struct restart_args {
	const char *component;
};

static const struct cli_option options[] = {
	CLI_TEXT('c', "component", "NAME", struct restart_args, component, "the one that was mounted under this name"),
	CLI_END,
};

/* It is up, or waits again. */
static int await(const char *word, const char *component)
{
	for (int i = 0; i < PATIENCE; i++) {
		struct pl_device *d;
		nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
		int r = pl_device_find(word, component, &d);
		if (r < 0)
			return r;
		bool is_up = !d->waiting && !d->starting;
		if (d->waiting)
			r = pl_fail(-EIO, "the server of %s died again: %s", d->node, d->why);
		pl_device_free(d);
		if (r < 0 || is_up)
			return r;
	}
	return pl_fail(-ETIMEDOUT, "the server does not come");
}

static int run(void *p, int argc, char **argv)
{
	const struct restart_args *a = p;
	struct pl_device *d;
	int r = pl_device_find(argv[0], a->component, &d);
	if (r < 0)
		return r;
	if (d->waiting)
		r = pl_device_retry(d);
	else
		r = pl_fail(-EBUSY, d->alive ? "the server of %s runs" : "%s has no server and no keeper: unmount it",
			    d->node);
	pl_device_free(d);
	return r < 0 ? r : await(argv[0], a->component);
}

const struct cli_command server_restart = {
	.name = "restart",
	.summary = "Start a server that died too often once more",
	.synopsis = {"[-c NAME] DEVICE|DD"},
	.options = options,
	.args_bytes = sizeof(struct restart_args),
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
