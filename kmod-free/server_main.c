/* ploop-server: one disk, one process. Opens the chain, serves it over NBD or FUSE or both, and closes it clean.
 *
 *     start     words -> background -> loop -> disk -> sockets, FUSE, control -> pid file -> ready
 *     SIGTERM, SIGINT, SIGHUP, unmounted, the only client gone
 *               no new clients, a change of the chain is cancelled -> requests in flight finish -> partial clusters are
 *               filled -> disk closed clean -> sockets and pid file gone
 *     the same signal again, or 30 s
 *               connections are dropped; what the engine works on still finishes. When only the filling is left,
 *               another signal ends it, as SIGUSR2 does
 *     SIGTERM, SIGINT, SIGHUP while a file of the FUSE export is open: ignored
 *     SIGUSR1   the disk's recent events, the connections and the change that runs go to the log
 *     asked to become the program that is installed now: server_handover.c
 *     our keeper says leave
 *               requests in flight finish -> disk closed clean -> end; mount and sockets stay, a successor goes on
 *     started by a keeper: the same start, but in the background at once, and with what the dead one left
 *     SIGUSR2   partial clusters are not filled at the end, or no longer: the image stays unfinished, and fenced
 *
 * Exit code: 0 served and closed clean · 1 failed · 2 wrong words. The last line on stderr says why. */
#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/units.h"
#include "control_full.h"
#include "nbdk.h"
#include "notify.h"
#include "server_args.h"
#include "server_daemon.h"
#include "server_service.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define FIRST_INHERITED_FD 3
#define LOCK_WAIT_MS       10000          /* for the last write of the one who died before us */

enum exit_code { EXIT_DONE, EXIT_FAILED, EXIT_MISUSE };

/* ------------------------------------------------------------------ starting */

static int open_disk(struct service *s)
{
	char holder[PATH_MAX];
	struct pl_open_options open = {
		.size = sizeof(open),
		.flags = (s->options->readonly ? PL_OPEN_READONLY : 0) |
			 (s->options->no_partial ? PL_OPEN_NO_PARTIAL : 0),
		.holder_program = holder,
		.lock_wait_ms = server_keep_is_successor(&s->keep) ? LOCK_WAIT_MS : 0,
	};
	int r = server_find_beside("ploop-holder", holder, sizeof(holder));
	return r < 0 ? r : pl_disk_open(s->loop, &s->options->chain, &open, &s->disk);
}

static int apply_settings(struct service *s)
{
	const struct pl_serve_options *o = s->options;
	struct pl_settings settings = {.size = sizeof(settings), .limits = {.size = sizeof(settings.limits)}};
	int r = o->settings ? pl_settings_load(o->settings, &settings) : 0;
	if (r == 0 && o->on_full && strcmp(o->on_full, "wait") != 0 && strcmp(o->on_full, "fail") != 0)
		r = pl_fail(-EINVAL, "--on-full %s: want wait or fail", o->on_full);
	if (r < 0)
		return r;
	if (o->on_full)
		settings.on_full = strcmp(o->on_full, "fail") == 0 ? PL_FULL_FAILS : PL_FULL_WAITS;
	pl_disk_set_on_full(s->disk, settings.on_full);
	return pl_disk_set_limits(s->disk, &settings.limits);
}

static int start_nbd(struct service *s)
{
	const struct pl_serve_options *o = s->options;
	struct pl_export export = {o->export_name ? o->export_name : "", o->description, s->disk};
	struct pl_server_options server = {
		.size = sizeof(server),
		.exports = &export,
		.export_count = 1,
		.tls_certificates = o->tls_certificates,
		.tls_psk_file = o->tls_psk_file,
		.tls_verify_peer = o->tls_verify_peer,
		.insecure_tcp = o->insecure_tcp,
		.allow_uids = o->allow_uids,
		.allow_uid_count = o->allow_uid_count,
		.drained = service_drained,
		.rested = service_rested,
		.arg = s,
	};
	int r = pl_server_new(s->loop, &server, &s->server);
	if (r == 0 && server_keep_is_successor(&s->keep))
		return service_take_over(s);
	if (r == 0 && o->socket)
		r = pl_server_listen_unix(s->server, o->socket);
	if (r == 0 && o->tcp)
		r = pl_server_listen_tcp(s->server, o->tcp);
	for (int i = 0; r == 0 && i < s->inherited; i++)
		r = pl_server_take_fd(s->server, FIRST_INHERITED_FD + i);
	return r;
}

/* Before the disk is open: the sooner the kernel has its connection, the sooner it sends again. */
static int resume_kernel_nbd(struct service *s)
{
	if (!s->options->nbd_device || !server_keep_is_successor(&s->keep))
		return 0;
	s->kernel_fd = server_keep_take(&s->keep, KEEPER_FD_KERNEL);
	int r = s->kernel_fd < 0 ? nbdk_resume(s->options->nbd_device, &s->kernel_fd) : 0;
	if (r == -ENOENT)
		s->drained = true; /* taken down just when our predecessor died: the disk is to be closed */
	return r == -ENOENT ? 0 : r;
}

/* Without it the next server speaks for itself, somewhat later. */
static void keep_rejoin_message(struct service *s)
{
	autofd int message = -1;
	if (server_keep_fd(&s->keep, KEEPER_FD_REJOIN) < 0 &&
	    nbdk_rejoin_message(s->options->nbd_device, &message) == 0)
		server_keep_hold(&s->keep, KEEPER_FD_REJOIN, message);
}

static int start_kernel_nbd(struct service *s)
{
	uint16_t flags;
	int r;
	if (!s->options->nbd_device || s->drained)
		return 0;
	if (s->kernel_fd >= 0)
		r = pl_server_take_kernel(s->server, fd_steal(&s->kernel_fd), &flags);
	else
		r = nbdk_start(s->server, s->disk, s->options->nbd_device);
	if (r == 0)
		keep_rejoin_message(s);
	return r;
}

static int start_fuse(struct service *s)
{
	const struct pl_serve_options *o = s->options;
	if (!o->fuse_mount_point)
		return 0;
	struct fuse_export_options fuse = {
		.size = sizeof(fuse),
		.mount_point = o->fuse_mount_point,
		.part_offset_bytes = o->fuse_part_offset_bytes,
		.part_length_bytes = o->fuse_part_length_bytes,
		.allow_other = o->fuse_allow_other,
		.unmounted = service_unmounted,
		.arg = s,
		.takes_over = server_keep_fd(&s->keep, KEPT_FUSE) >= 0,
		.device_fd = server_keep_fd(&s->keep, KEPT_FUSE),
		.greeting_fd = server_keep_fd(&s->keep, KEPT_GREETING),
	};
	int r = fuse_export_start(s->loop, s->disk, &fuse, &s->fuse);
	if (r < 0)
		return r;
	server_keep_hold(&s->keep, KEPT_FUSE, fuse_export_device(s->fuse));
	server_keep_hold(&s->keep, KEPT_GREETING, fuse_export_greeting(s->fuse));
	return 0;
}

static void on_full(void *arg, bool full)
{
	const struct service *s = arg;
	struct pl_disk_stat stat = {.size = sizeof(stat)};
	pl_disk_get_stat(s->disk, &stat);
	if (full)
		control_full_note(s->options->control, &stat);
	else
		control_full_clear(s->options->control);
}

/* A disk that cannot be asked for changes is still a disk. */
static void start_control(struct service *s)
{
	const char *path = s->options->control;
	s->engine = (struct control_engine){.disk = s->disk, .chain = &s->options->chain,
					    .hand_over = service_hand_over, .arg = s};
	struct control_backend backend = control_engine_backend(&s->engine);
	int kept = server_keep_fd(&s->keep, KEPT_CONTROL);
	backend.no_changes = s->options->no_changes;
	if (!path)
		return;
	int r = kept < 0 || access(path, F_OK) != 0
			? -ENOENT
			: control_server_take_over(s->loop, &backend, path, kept, &s->control);
	if (r < 0)
		r = control_server_start(s->loop, &backend, path, &s->control);
	if (r < 0) {
		pl_log(PL_LOG_WARN, "serve", "nothing can be asked of this disk while it runs: %s", pl_error());
		return;
	}
	server_keep_hold(&s->keep, KEPT_CONTROL, control_server_socket(s->control));
	control_full_clear(path); /* of a dead server */
	pl_disk_watch_full(s->disk, on_full, s);
}

static void on_leave(void *arg)
{
	struct service *s = arg;
	s->leave_wanted = true;
	pl_loop_stop(s->loop);
}

static int start(struct service *s)
{
	if (s->options->fuse_mount_point || s->options->nbd_device)
		daemon_shield();
	int r = pl_loop_new(NULL, &s->loop);
	if (r == 0)
		r = service_take_signals(s);
	if (r == 0)
		r = resume_kernel_nbd(s);
	if (r == 0)
		r = open_disk(s);
	if (r == 0)
		r = apply_settings(s);
	if (r == 0)
		r = start_nbd(s);
	if (r == 0)
		r = start_kernel_nbd(s);
	if (r == 0)
		r = start_fuse(s);
	if (r == 0)
		start_control(s);
	if (r == 0 && s->options->pid_file)
		r = daemon_write_pid(s->options->pid_file);
	if (r < 0)
		return r;
	if (s->options->pid_file)
		s->pid_path = realpath(s->options->pid_file, NULL); /* a daemon changes its folder */
	if (s->options->bundle_lock_fd)
		close((int)s->options->bundle_lock_fd);
	server_keep_start(&s->keep, s->loop, s->options, s->fuse && !fuse_export_can_resend(s->fuse), on_leave, s);
	service_await_signal(s);
	return 0;
}

/* ------------------------------------------------------------------ the end */

static void end_loop(struct service *s)
{
	if (s->signal_armed)
		pl_loop_cancel(s->loop, &s->signal_io);
	while (s->signal_armed && pl_loop_step(s->loop, true) == 0)
		;
	pl_loop_free(s->loop);
	s->loop = NULL;
	close(s->signal_fd);
}

static int end_server(struct service *s)
{
	if (!s->server)
		return 0;
	autofd int kernel = pl_server_left_kernel(s->server);
	if (kernel >= 0)
		server_keep_give(&s->keep, KEEPER_FD_KERNEL, kernel);
	pl_server_kill(s->server);
	while (pl_server_connections(s->server) > 0) {
		int r = pl_loop_step(s->loop, true);
		if (r < 0)
			return r;
	}
	pl_server_free(s->server);
	s->server = NULL;
	return 0;
}

/* The successor finds the mount and the sockets as they are. */
static void end_transports(struct service *s)
{
	if (s->control) {
		pl_disk_watch_full(s->disk, NULL, NULL);
		control_full_clear(s->options->control);
	}
	if (s->control && s->leaving)
		control_server_leave_socket(s->control);
	control_server_stop(s->control);
	s->control = NULL;
	if (s->fuse && s->leaving)
		fuse_export_leave(s->fuse);
	else if (s->fuse)
		fuse_export_stop(s->fuse);
	s->fuse = NULL;
}

/* In the order of dependence; also after a start that failed half-way. A failure keeps its first sentence. */
static int finish(struct service *s)
{
	int r = 0;
	if (!s->leaving)
		notify_tell(s->manager, "STOPPING=1\nSTATUS=closing the disk");
	end_transports(s);
	if (s->loop)
		r = end_server(s);
	s->closing = true;
	if (s->loop)
		pl_timer_stop(s->loop, &s->drain);
	if (s->disk) {
		int closed = s->leaving ? pl_disk_leave(s->disk) : server_close_disk(&s->end, s->loop, s->disk);
		r = r < 0 ? r : closed;
	}
	if (s->loop) {
		server_keep_stop(&s->keep);
		end_loop(s);
	}
	if (s->pid_path && !s->leaving)
		unlink(s->pid_path);
	free(s->pid_path);
	int ended = server_keep_fini(&s->keep, s->leaving);
	return r < 0 ? r : ended;
}

/* What stands in the way of a successor; NULL: nothing, requests are done. */
static const char *try_to_leave(struct service *s)
{
	if (s->stopping)
		return "the disk is being closed";
	if (!s->fuse && !s->options->nbd_device)
		return "its clients are connected to the process itself";
	if (s->control && control_server_is_busy(s->control))
		return "its chain of images is being changed";
	if (s->options->nbd_device)
		return NULL;
	return fuse_export_drain(s->fuse, pl_now_ns() + SERVICE_LEAVE_NS) < 0 ? pl_error() : NULL;
}

static void leave(struct service *s)
{
	s->leave_wanted = false;
	const char *why = try_to_leave(s);
	s->leaving = !why;
	s->drained = s->leaving && !s->options->nbd_device;
	if (s->leaving && !s->drained)
		service_leave_connections(s, SERVICE_LEAVE_NS);
	if (why)
		keeper_stay(s->keep.keeper, why);
	pl_log(PL_LOG_INFO, "serve", "asked to leave: %s", why ? why : "a successor goes on");
}

static int run(struct service *s)
{
	int r = 0;
	while (r == 0 && !s->drained) {
		r = pl_loop_run(s->loop);
		if (r == 0 && s->leave_wanted)
			leave(s);
	}
	return r;
}

static enum exit_code fail(const struct service *s)
{
	if (s->keep.keeper)
		keeper_why(s->keep.keeper, pl_error());
	if (s->background)
		pl_log(PL_LOG_ERROR, "serve", "%s", pl_error());
	else
		fprintf(stderr, "ploop-server: %s\n", pl_error());
	return EXIT_FAILED;
}

static enum exit_code serve(struct service *s, int *ready_fd)
{
	if (start(s) < 0) {
		fail(s);
		if (server_keep_is_successor(&s->keep))
			_exit(EXIT_FAILED); /* whatever we have open belongs to the next one */
		finish(s);
		return EXIT_FAILED;
	}
	if (s->background && chdir("/") < 0)
		pl_log(PL_LOG_WARN, "serve", "cannot leave the working folder: %s", strerror(errno));
	if (s->options->daemonize && !s->background) {
		daemon_ready(ready_fd);
		daemon_log_start(true, s->options->log_categories);
		s->background = true;
	}
	notify_tell(s->manager, "READY=1\nSTATUS=serving");
	enum exit_code code = run(s) < 0 ? fail(s) : EXIT_DONE;
	return finish(s) < 0 ? fail(s) : code;
}

int main(int argc, char **argv)
{
	static struct server_args args;
	int ready_fd = -1;
	if (server_args_parse(&args, argc, argv) < 0) {
		fprintf(stderr, "ploop-server: %s\n", pl_error());
		return EXIT_MISUSE;
	}
	if (args.help) {
		server_args_help();
		return EXIT_DONE;
	}
	struct service s = {
		.options = &args.options,
		.signal_fd = -1,
		.kernel_fd = -1,
		.inherited = daemon_inherited_sockets(),
		.end.leave = args.options.leave,
	};
	server_keep_init(&s.keep, &args);
	bool successor = server_keep_is_successor(&s.keep);
	if (!args.options.socket && !args.options.tcp && !args.options.fuse_mount_point && !args.options.nbd_device &&
	    s.inherited == 0 && !successor) {
		fprintf(stderr, "ploop-server: nowhere to serve: give --socket, --tcp, --fuse or --nbd-device\n");
		server_keep_fini(&s.keep, false);
		return EXIT_MISUSE;
	}
	if (args.options.fuse_mount_point || args.options.nbd_device)
		daemon_mark(argv[0]);
	s.manager = server_keep_take(&s.keep, KEPT_MANAGER);
	if (s.manager < 0)
		s.manager = notify_open(s.options->daemonize);
	if (s.manager >= 0)
		server_keep_hold(&s.keep, KEPT_MANAGER, s.manager);
	s.background = successor && args.options.daemonize;
	daemon_log_start(s.background, args.options.log_categories);
	if (args.options.daemonize && !s.background && daemon_begin(&ready_fd) < 0)
		return fail(&s);
	return serve(&s, &ready_fd);
}
