/* ploop server upgrade: the server of a running disk is replaced by the program that is installed now. Nothing is
 * unmounted, no client is disconnected; requests wait while one leaves and the other starts. */
#include "cli/server.h"

#include "cli/console.h"
#include "cli/program.h"
#include "cli/served.h"
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

static int upgrade_device(struct pl_device *d)
{
	uint64_t gap_ns;
	int r = d->alive ? pl_device_upgrade(d, &gap_ns)
			 : pl_fail(-EIO, "%s has no server and no keeper: unmount it", d->node);
	if (r == 0)
		console_say("Upgraded %s, server %llu, requests waited %llu ms", d->node,
			    (unsigned long long)d->server_pid, (unsigned long long)(gap_ns / NS_PER_MS));
	return r;
}

/* The server that listens at @path. -ENOENT: there is none. */
static int upgrade_served(const char *path)
{
	struct pl_live *live;
	struct pl_live_stat stat;
	uint64_t pause_ns = 0;
	int r = pl_live_connect_at(path, &live);
	if (r < 0)
		return r;
	r = pl_live_get_stat(live, &stat);
	if (r == 0)
		r = pl_live_hand_over(live, &pause_ns);
	pl_live_close(live);
	if (r < 0)
		return pl_wrap(r, "%s", path);
	uint64_t left_ns = pl_now_ns();
	r = pl_live_connect_at(path, &live);
	if (r < 0)
		return pl_fail(-EIO, "%s: the installed program does not come up: its log or the system's tells why",
			       stat.path);
	pl_live_close(live);
	console_say("Upgraded %s, requests waited %llu ms", stat.path,
		    (unsigned long long)((pause_ns + pl_now_ns() - left_ns) / NS_PER_MS));
	return 0;
}

/* ------------------------------------------------------------------ some, or all */

/* One that cannot be upgraded does not keep the others from it. */
struct count {
	size_t tried, failed;
};

static void count(struct count *c, int r)
{
	c->tried++;
	c->failed += r < 0;
	if (r < 0)
		console_warn("%s", pl_error());
}

static int verdict(const struct count *c)
{
	return c->failed ? pl_fail(-EIO, "%zu of %zu servers were not upgraded", c->failed, c->tried) : 0;
}

static bool is_of_device(const char *path, struct pl_device *const *devices, size_t device_count)
{
	char socket[128];
	for (size_t i = 0; i < device_count; i++)
		if (pl_device_control(devices[i], socket, sizeof(socket)) == 0 && strcmp(socket, path) == 0)
			return true;
	return false;
}

static int upgrade_all(void)
{
	autofree char **paths = NULL;
	struct pl_device **devices;
	size_t device_count;
	struct count c = {0};
	int r = pl_control_list(NULL, &paths);
	if (r == 0)
		r = pl_device_list(&devices, &device_count);
	if (r < 0)
		return r;
	for (size_t i = 0; paths[i]; i++) {
		if (is_of_device(paths[i], devices, device_count))
			continue;
		r = upgrade_served(paths[i]);
		if (r != -ENOENT)
			count(&c, r);
	}
	for (size_t i = 0; i < device_count; i++)
		count(&c, upgrade_device(devices[i]));
	pl_device_list_free(devices, device_count);
	return verdict(&c);
}

/* Those that have something of its bundle open. */
static int upgrade_servers_of(const char *word)
{
	autofree char **paths = NULL;
	struct count c = {0};
	int r = served_sockets(word, &paths);
	if (r < 0)
		return r;
	for (size_t i = 0; paths[i]; i++) {
		r = upgrade_served(paths[i]);
		if (r != -ENOENT)
			count(&c, r);
	}
	return c.tried ? verdict(&c) : pl_fail(-ENOENT, "%s: no server has it open", word);
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
	if (pl_device_find(argv[0], a->component, &d) < 0)
		return upgrade_servers_of(argv[0]);
	r = upgrade_device(d);
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
