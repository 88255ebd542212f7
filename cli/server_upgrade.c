/* ploop server upgrade: the server of a running disk is replaced by the program that is installed now. Nothing is
 * unmounted; requests wait while one leaves and the other starts. */
#include "cli/server.h"

#include "cli/console.h"
#include "cli/program.h"
#include "ploop-serve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct upgrade_args {
	bool all;
	const char *component;
};

static const struct cli_option options[] = {
	CLI_FLAG('a', "all", struct upgrade_args, all, "all running disks"),
	CLI_TEXT('c', "component", "NAME", struct upgrade_args, component, "the one that was mounted under this name"),
	CLI_END,
};

static int check_program(const char *path)
{
	int r = program_run((const char *const[]){path, "--help", NULL}, false);
	return r == 0 ? 0 : pl_wrap(-EIO, "the installed program does not work");
}

/* A program that does not even start is no reason to end one that works. */
static int check_programs(void)
{
	autofree char *keeper = NULL;
	autofree char **argv = pl_serve_argv(&(struct pl_serve_options){.size = sizeof(struct pl_serve_options)});
	if (!argv || asprintf(&keeper, "%.*s/ploop-keeper", (int)(strrchr(argv[0], '/') - argv[0]), argv[0]) < 0) {
		keeper = NULL;
		return pl_fail(-ENOMEM, "no memory for the words of ploop-server");
	}
	int r = check_program(argv[0]);
	return r < 0 ? r : check_program(keeper);
}

static int upgrade(struct pl_device *d)
{
	uint64_t gap_ns;
	int r = d->alive ? pl_device_upgrade(d, &gap_ns)
			 : pl_fail(-EIO, "%s has no server and no keeper: unmount it", d->node);
	if (r == 0)
		console_say("Upgraded %s, server %llu, requests waited %llu ms", d->node,
			    (unsigned long long)d->server_pid, (unsigned long long)(gap_ns / NS_PER_MS));
	return r;
}

/* One that cannot be upgraded does not keep the others from it. */
static int upgrade_all(void)
{
	struct pl_device **devices;
	size_t count;
	int failed = 0;
	int r = pl_device_list(&devices, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++) {
		r = upgrade(devices[i]);
		if (r < 0)
			console_warn("%s", pl_error());
		failed += r < 0;
	}
	pl_device_list_free(devices, count);
	return failed ? pl_fail(-EIO, "%d of %zu servers were not upgraded", failed, count) : 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct upgrade_args *a = p;
	if (a->all == (argc == 1))
		return cli_misuse("which? One disk, or --all");
	int r = check_programs();
	if (r < 0)
		return r;
	if (a->all)
		return upgrade_all();
	struct pl_device *d;
	r = pl_device_find(argv[0], a->component, &d);
	if (r < 0)
		return r;
	r = upgrade(d);
	pl_device_free(d);
	return r;
}

const struct cli_command server_upgrade = {
	.name = "upgrade",
	.summary = "Replace the server of a running disk by the installed program",
	.synopsis = {"[-c NAME] DEVICE|DD", "--all"},
	.options = options,
	.args_bytes = sizeof(struct upgrade_args),
	.max_words = 1,
	.run = run,
};
