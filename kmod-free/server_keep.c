#include "server_keep.h"

#include "base/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

int server_find_beside(const char *name, char *out, size_t out_bytes)
{
	ssize_t n = readlink("/proc/self/exe", out, out_bytes);
	while (n > 0 && out[n - 1] != '/')
		n--;
	if (n <= 0 || (size_t)n + strlen(name) >= out_bytes)
		return pl_fail(-ENOENT, "cannot tell where %s lies", name);
	memcpy(out + n, name, strlen(name) + 1);
	return 0;
}

/* Images inside a bundle are found again by whoever reads its descriptor; so is a chain that can change. */
static bool can_be_found(struct server_args *args)
{
	const struct pl_serve_options *o = &args->options;
	if (o->resume_count)
		return true;
	for (size_t i = 0; i < o->chain.count; i++) {
		bool stays = args->images[i].dir_fd < 0 && (!o->control || o->no_changes);
		char *path = stays ? realpath(args->images[i].path, NULL) : NULL;
		if (!path)
			return false;
		args->images[i].path = path; /* for the life of the process */
	}
	return true;
}

void server_keep_init(struct server_keep *k, struct server_args *args)
{
	*k = (struct server_keep){0};
	if (can_be_found(args))
		k->keeper = keeper_new();
}

bool server_keep_is_successor(const struct server_keep *k)
{
	return k->keeper && keeper_is_successor(k->keeper);
}

int server_keep_fd(const struct server_keep *k, const char *name)
{
	return k->keeper ? keeper_fd(k->keeper, name) : -1;
}

int server_keep_take(struct server_keep *k, const char *name)
{
	return k->keeper ? keeper_take(k->keeper, name) : -1;
}

int server_keep_each(struct server_keep *k, const char *prefix, int (*each)(void *arg, const char *name, int fd),
		     void *arg)
{
	return k->keeper ? keeper_each(k->keeper, prefix, each, arg) : 0;
}

void server_keep_give(struct server_keep *k, const char *name, int fd)
{
	if (k->keeper && keeper_give(k->keeper, name, fd) < 0)
		pl_log(PL_LOG_WARN, "serve", "%s is not handed on: %s", name, pl_error());
}

void server_keep_hold(struct server_keep *k, const char *name, int fd)
{
	if (k->keeper && keeper_keep(k->keeper, name, fd) < 0)
		pl_log(PL_LOG_WARN, "serve", "%s would not survive us: %s", name, pl_error());
}

static int find_programs(struct server_keep *k, const struct pl_serve_options *options)
{
	char keeper[PATH_MAX], server[PATH_MAX];
	int r = server_find_beside("ploop-keeper", keeper, sizeof(keeper));
	if (r == 0)
		r = server_find_beside("ploop-server", server, sizeof(server));
	if (r < 0)
		return r;
	k->program = strdup(keeper);
	k->again = server_args_again(options, server);
	return k->program && k->again ? 0 : pl_fail(-ENOMEM, "no memory for the words of a successor");
}

void server_keep_start(struct server_keep *k, struct pl_loop *loop, const struct pl_serve_options *options, bool mortal,
		       void (*leave)(void *arg), void *arg)
{
	if (!k->keeper)
		return;
	int r = find_programs(k, options);
	struct keeper_options how = {
		.program = k->program,
		.command_path = options->keeper,
		.words = k->again,
		.mortal = mortal,
		.leave = leave,
		.arg = arg,
	};
	if (r == 0 && options->keeper)
		r = keeper_start(k->keeper, loop, &how);
	k->runs = r == 0 && options->keeper;
	if (r < 0)
		pl_log(PL_LOG_WARN, "serve", "nobody would start this server again: %s", pl_error());
}

void server_keep_stop(struct server_keep *k)
{
	if (k->runs)
		keeper_stop(k->keeper);
}

int server_keep_fini(struct server_keep *k, bool leaving)
{
	int r = 0;
	if (!k->keeper)
		return 0;
	if (k->runs && leaving)
		keeper_left(k->keeper);
	else if (k->runs)
		keeper_end(k->keeper);
	else if (leaving)
		r = keeper_become(k->keeper, k->again);
	keeper_free(k->keeper);
	free(k->again);
	free(k->program);
	return r;
}
