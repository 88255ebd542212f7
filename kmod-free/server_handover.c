/* A disk that is served and not mounted goes on as the program that is installed now: in this process, which becomes
 * that program, with its clients, who only wait.
 *
 *	asked -> clients come to rest -> sockets are kept -> answered -> disk closed -> exec -> opened -> clients go on
 *	           | one is in a request for too long, or has TLS: they go on, and the answer says why */
#include "server_service.h"

#include "base/units.h"

#include <errno.h>
#include <stdio.h>

static void answer(struct service *s, int res)
{
	struct pl_change *change = s->handover;
	s->handover = NULL;
	pl_timer_stop(s->loop, &s->patience);
	change->res = res;
	change->pause_ns = pl_now_ns() - s->asked_ns;
	snprintf(change->error, sizeof(change->error), "%s", res < 0 ? pl_error() : "");
	pl_log(PL_LOG_INFO, "serve", "asked to become the installed program: %s", res < 0 ? pl_error() : "it goes on");
	change->done(change);
}

void service_stay(struct service *s, int err)
{
	if (!s->handover)
		return;
	pl_server_go_on(s->server);
	answer(s, err);
}

static void on_impatience(struct pl_timer *timer)
{
	struct service *s = container_of(timer, struct service, patience);
	service_stay(s, pl_fail(-EBUSY, "clients are in the middle of requests, or of saying hello, for %llu s",
				(unsigned long long)(SERVICE_LEAVE_NS / NS_PER_S)));
}

static int check(const struct service *s)
{
	if (s->stopping)
		return pl_fail(-EBUSY, "the disk is being closed");
	if (s->fuse || s->options->nbd_device)
		return pl_fail(-EBUSY, "it is a block device, whose keeper replaces the server");
	return s->keep.again ? 0 : pl_fail(-EOPNOTSUPP, "nobody could find its images again");
}

void service_hand_over(void *arg, struct pl_change *change)
{
	struct service *s = arg;
	s->handover = change;
	s->asked_ns = pl_now_ns();
	int r = check(s);
	if (r < 0) {
		answer(s, r);
		return;
	}
	s->patience.fire = on_impatience;
	pl_timer_start(s->loop, &s->patience, SERVICE_LEAVE_NS);
	pl_server_rest(s->server);
}

static void keep(void *arg, const char *name, int fd)
{
	struct service *s = arg;
	server_keep_hold(&s->keep, name, fd);
}

void service_rested(void *arg)
{
	struct service *s = arg;
	int r = pl_server_hand_over(s->server, keep, s);
	if (r < 0) {
		service_stay(s, r);
		return;
	}
	answer(s, 0);
	s->leaving = s->drained = true;
	pl_loop_stop(s->loop);
}

static int take(void *arg, const char *name, int fd)
{
	struct service *s = arg;
	return pl_server_take_over(s->server, name, fd, s->options->socket);
}

int service_take_over(struct service *s)
{
	return server_keep_each(&s->keep, PL_SERVER_HANDED, take, s);
}
