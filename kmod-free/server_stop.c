/* How a server comes to its end: signals, clients and mounts that go, and the time it has. See server_main.c. */
#include "server_service.h"

#include "base/units.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define DRAIN_NS (30 * NS_PER_S)

/* ------------------------------------------------------------------ stopping */

void service_drained(void *arg)
{
	struct service *s = arg;
	if (!s->stopping && s->fuse)
		return; /* the only client left, but the mount is there */
	s->drained = true;
	pl_loop_stop(s->loop);
}

static void drop_clients(struct service *s, const char *why)
{
	pl_log(PL_LOG_WARN, "serve", "%s: dropping %u connections", why, pl_server_connections(s->server));
	pl_disk_stop_waiting(s->disk); /* D8: with no space on the host their writes would wait for ever */
	pl_server_kill(s->server);
}

static void on_drain_timeout(struct pl_timer *timer)
{
	drop_clients(container_of(timer, struct service, drain), "the time to finish is over");
}

static void be_patient(struct service *s, uint64_t patience_ns)
{
	s->stopping = true;
	s->drain.fire = on_drain_timeout;
	pl_timer_start(s->loop, &s->drain, patience_ns);
}

void service_leave_connections(struct service *s, uint64_t patience_ns)
{
	be_patient(s, patience_ns);
	pl_server_leave(s->server);
}

static void stop(struct service *s, const char *why)
{
	if (s->stopping) {
		drop_clients(s, why);
		return;
	}
	pl_log(PL_LOG_INFO, "serve", "stopping: %s", why);
	service_stay(s, pl_fail(-EBUSY, "the disk is being closed"));
	if (s->control)
		control_server_close(s->control);
	be_patient(s, DRAIN_NS);
	pl_server_close(s->server);
}

void service_unmounted(void *arg)
{
	struct service *s = arg;
	if (!s->stopping)
		stop(s, "unmounted");
}

/* ------------------------------------------------------------------ signals */

static void dump_line(void *arg, const char *text)
{
	pl_log(PL_LOG_WARN, "dump", "%s", text);
}

/* A mounted file system must not be cut off from its disk: who mounted it unmounts it. */
static void on_termination(struct service *s, const char *why)
{
	if (s->closing)
		server_close_leave(&s->end);
	else if (s->options->nbd_device && pl_server_connections(s->server) > 0)
		pl_log(PL_LOG_WARN, "serve", "%s is ignored: the kernel is connected", why);
	else if (s->fuse && fuse_export_unmount(s->fuse) == -EBUSY)
		pl_log(PL_LOG_WARN, "serve", "%s is ignored: %s is in use", why, s->options->fuse_mount_point);
	else
		stop(s, why);
}

static void dump(const struct service *s)
{
	if (!s->closing) {
		pl_disk_dump(s->disk, dump_line, NULL);
		pl_server_dump(s->server, dump_line, NULL);
		if (s->control)
			control_server_dump(s->control, dump_line, NULL);
	}
}

static void obey(struct service *s, int signal)
{
	if (signal == SIGUSR1)
		dump(s);
	else if (signal == SIGUSR2)
		server_close_leave(&s->end);
	else
		on_termination(s, strsignal(signal));
}

void service_await_signal(struct service *s)
{
	s->signal_armed = true;
	pl_loop_submit(s->loop, &s->signal_io);
}

static void on_signal(struct pl_io *io)
{
	struct service *s = container_of(io, struct service, signal_io);
	s->signal_armed = false;
	if (io->res == -ECANCELED)
		return;
	if (io->res == (int32_t)sizeof(s->signal))
		obey(s, (int)s->signal.ssi_signo);
	service_await_signal(s);
}

/* A dead client, or a host file at its size limit, is an error code and no reason to die. */
int service_take_signals(struct service *s)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (s->signal_fd < 0)
		return pl_fail(-errno, "signalfd: %s", strerror(errno));
	s->signal_io = (struct pl_io){.done = on_signal, .fd = s->signal_fd, .kind = PL_IO_READ, .buf = &s->signal,
				      .length = sizeof(s->signal), .offset = UINT64_MAX,
				      .buf_index = PL_IO_NO_BUFFER};
	return 0;
}
