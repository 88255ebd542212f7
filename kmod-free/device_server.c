/* The server process of a running disk, seen from those who start it and wait for it. */
#include "kmod-free/device.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/wait.h"
#include "kmod-free/keeper.h"
#include "kmod-free/process.h"
#include "kmod-free/registry.h"
#include "kmod-free/scope.h"
#include "kmod-free/server_args.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SERVER_PREFIX "ploop-server: "
#define KILL_WAIT_NS  (10 * NS_PER_S)

_Noreturn static void become_server(const struct pl_serve_options *serve, const char *const *before, int errors_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(errors_fd, STDERR_FILENO);
	server_args_exec(serve, before);
	dprintf(STDERR_FILENO, SERVER_PREFIX "%s\n", pl_error());
	_exit(1);
}

/* What it said last, without its name in front. *@is_its_own: it was the server who said it. */
static int fail_with_last_line(int fd, int code, bool *is_its_own)
{
	char text[2048];
	ssize_t n = read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	const char *line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	*is_its_own = strncmp(line, SERVER_PREFIX, strlen(SERVER_PREFIX)) == 0;
	if (*is_its_own)
		line += strlen(SERVER_PREFIX);
	if (*line)
		return pl_fail(-EIO, "%s", line);
	return pl_fail(-EIO, "the server ended with code %d and said nothing", code);
}

/* The process we start ends when the server it leaves in the background is ready. */
static int run_starter(const struct pl_serve_options *serve, const char *const *before, bool *is_its_own)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return pl_fail(-errno, "pipe: %s", strerror(errno));
	autofd int ours = ends[0];
	autofd int theirs = ends[1];
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return pl_fail(-errno, "fork: %s", strerror(errno));
	if (pid == 0)
		become_server(serve, before, theirs);
	int code = child_wait(pid);
	return code == 0 ? 0 : fail_with_last_line(ours, code, is_its_own);
}

/* A server without a scope is better than none. */
static int start(const struct pl_device *device, const struct pl_serve_options *serve)
{
	struct scope_words scope;
	bool is_its_own = true;
	if (!scope_words(device, &scope))
		return run_starter(serve, NULL, &is_its_own);
	int r = run_starter(serve, scope.words, &is_its_own);
	if (r == 0 || is_its_own)
		return r;
	pl_log(PL_LOG_WARN, "device", "the server of %s has no scope of its own and ends with its caller's: %s",
	       device->node, pl_error());
	return run_starter(serve, NULL, &is_its_own);
}

static int read_pid(const char *path, uint64_t *pid)
{
	FILE *in = fopen(path, "re");
	if (!in)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	int got = fscanf(in, "%" SCNu64, pid);
	fclose(in);
	return got == 1 ? 0 : pl_fail(-EIO, "%s has no number", path);
}

int device_start_server(struct pl_device *device, const struct pl_serve_options *serve)
{
	char pid_file[PATH_MAX];
	int r = registry_path(device->name, REGISTRY_PID, pid_file);
	if (r < 0)
		return r;
	struct pl_serve_options options = *serve;
	options.pid_file = pid_file;
	options.daemonize = true;
	r = start(device, &options);
	if (r == 0)
		r = read_pid(pid_file, &device->server_pid);
	if (r < 0)
		return r;
	device->server_start = process_start_ticks(device->server_pid);
	device->alive = device->server_start != 0;
	return device->alive ? 0 : pl_fail(-EIO, "the server died as soon as it was ready");
}

/* While there is a keeper, which of several servers is the last is not known. */
int device_await_server(const struct pl_device *device, uint64_t deadline_ns)
{
	struct pl_device now = *device;
	struct wait wait = WAIT_UNTIL(deadline_ns);
	for (registry_look(&now); now.kept; registry_look(&now))
		if (!wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-ETIMEDOUT, "the server of %s does not close the disk", device->node);
	int r = process_wait_end(now.server_pid, now.server_start, deadline_ns);
	return r < 0 ? pl_wrap(r, "server of %s, closing the disk", device->node) : 0;
}

/* ------------------------------------------------------------------ its keeper */

static int ask(struct pl_device *device, enum keeper_command command, struct keeper_state *state)
{
	char path[PATH_MAX];
	int r = registry_path(device->name, REGISTRY_KEEPER, path);
	if (r == 0)
		r = keeper_ask(path, command, state);
	return r == -ENOENT ? pl_fail(-EOPNOTSUPP, "%s has no keeper", device->node) : r;
}

int pl_device_abort(struct pl_device *device)
{
	int r = ask(device, KEEPER_ABORT, NULL);
	if (r == -EOPNOTSUPP && process_is(device->server_pid, device->server_start)) {
		kill((pid_t)device->server_pid, SIGKILL);
		r = process_wait_end(device->server_pid, device->server_start, pl_now_ns() + KILL_WAIT_NS);
	} else if (r == -EOPNOTSUPP) {
		r = 0; /* it is dead as it is */
	}
	registry_look(device);
	return r == 0 && !device->alive ? transport_abandon(device) : r;
}

int pl_device_retry(struct pl_device *device)
{
	return ask(device, KEEPER_RETRY, NULL);
}

int pl_device_upgrade(struct pl_device *device, uint64_t *gap_ns)
{
	struct keeper_state state;
	int r = ask(device, KEEPER_UPGRADE, &state);
	if (r < 0)
		return pl_wrap(r, "%s", device->node);
	*gap_ns = state.gap_ns;
	registry_look(device);
	return 0;
}

/* ------------------------------------------------------------------ after the end */

static int open_and_close(const struct pl_chain_spec *chain)
{
	struct pl_loop *loop;
	struct pl_disk *disk;
	int r = pl_loop_new(NULL, &loop);
	if (r < 0)
		return r;
	r = pl_disk_open(loop, chain, &(struct pl_open_options){.size = sizeof(struct pl_open_options)}, &disk);
	if (r == 0)
		r = pl_disk_close(disk);
	pl_loop_free(loop);
	return r;
}

static int repair(const struct pl_device *device)
{
	if (!device->bundle[0])
		return pl_fail(-EIO, "the server of %s died, %s stays marked in use until it is mounted again",
			       device->node, device->images[device->image_count - 1]);
	struct pl_bundle *bundle;
	struct pl_chain_spec chain;
	int r = pl_bundle_open(device->bundle, NULL, &bundle);
	if (r == 0) {
		r = pl_bundle_chain(bundle, NULL, &chain);
		if (r == 0)
			r = open_and_close(&chain);
		pl_bundle_close(bundle);
	}
	return r < 0 ? pl_wrap(-EIO, "the server of %s died and its disk could not be closed", device->node) : 0;
}

int device_ensure_clean(const struct pl_device *device)
{
	if (device->readonly)
		return 0;
	struct pl_image_ref top = {.path = device->images[device->image_count - 1], .dir_fd = -1};
	struct pl_image_info info;
	int r = pl_image_info(&top, &info);
	if (r == -ENOENT || r == -EMEDIUMTYPE)
		return 0; /* moved meanwhile; raw */
	if (r == 0 && info.unfinished && device->leave)
		return 0;
	return r == 0 && info.in_use == 0 ? 0 : repair(device);
}
