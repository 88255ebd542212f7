/* The calls between the two are those of snapshot_rig.h; here they are answered while the loop turns. */
#include "tests/unit/snapshot_rig.h"
#undef CLUSTERS
#undef CLUSTER_BYTES

#include "remote.h"

struct server {
	struct guest *guest;
	int fd;
	struct rpc_question question;
	struct pl_io receive;
	struct pl_change change;
	bool ended;
	uint32_t turns, cancel_after;
};

static void answer(struct server *s, const struct rpc_answer *a)
{
	cr_assert(eq(sz, (size_t)send(s->fd, a, sizeof(*a), MSG_NOSIGNAL), sizeof(*a)));
	pl_loop_submit(s->guest->loop, &s->receive);
}

static void changed(struct pl_change *change)
{
	struct server *s = change->owner;
	struct rpc_answer a = {.r = change->res, .pause_ns = change->pause_ns};
	snprintf(a.error, sizeof(a.error), "%s", change->error);
	change->owner = NULL;
	answer(s, &a);
}

static void received(struct pl_io *io)
{
	struct server *s = container_of(io, struct server, receive);
	struct pl_disk *disk = s->guest->disk;
	struct rpc_answer a = {0};
	struct running r = {s->guest->loop, disk, s->guest->bundle};
	s->ended = io->res != sizeof(s->question);
	if (s->ended)
		return;
	s->change = (struct pl_change){.done = changed, .owner = s};
	switch (s->question.call) {
	case RPC_SWITCH:
		pl_disk_switch(disk, &s->question.how, &s->change);
		break;
	case RPC_MERGE:
		pl_disk_merge(disk, s->question.child, s->question.into, &s->change);
		break;
	default:
		s->change.owner = NULL;
		rpc_answer_one(&r, &s->question, &a);
		answer(s, &a);
	}
}

/* Until the other side is gone; what it pushed goes with it. */
static void serve(struct guest *g, int fd, uint32_t cancel_after)
{
	struct server s = {.guest = g, .fd = fd, .cancel_after = cancel_after};
	s.receive = (struct pl_io){
		.done = received,
		.kind = PL_IO_RECV,
		.fd = fd,
		.buf = &s.question,
		.buf_index = PL_IO_NO_BUFFER,
		.length = sizeof(s.question),
	};
	pl_loop_submit(g->loop, &s.receive);
	while (!s.ended) {
		g->budget = DEPTH;
		guest_pump(g);
		pl_loop_step(g->loop, true);
		if (s.cancel_after && ++s.turns >= s.cancel_after && s.change.owner)
			pl_disk_change_cancel(g->disk);
	}
	pl_disk_abandon(g->disk);
}

static void be_the_command(const char *folder, bundle_call *call, void *arg, int fd, int stop_after)
{
	struct rpc_live live = {.live.ops = &rpc_ops, .fd = fd};
	struct pl_bundle_options options = {.size = sizeof(options)};
	struct pl_bundle *b = NULL;
	points_left = stop_after;
	snap_point_hook = stop_after >= 0 ? die_at_point : NULL;
	int r = pl_bundle_open(folder, &options, &b);
	struct outcome o = {.r = r ? r : call(b, fd >= 0 ? &live.live : NULL, arg)};
	snprintf(o.text, sizeof(o.text), "%s", pl_error());
	pl_bundle_close(b);
	_exit(write(result_fd, &o, sizeof(o)) != sizeof(o));
}

static struct remote_result call_here(const char *folder, bundle_call *call, void *arg)
{
	struct pl_bundle_options options = {.size = sizeof(options)};
	struct remote_result result = {0};
	struct pl_bundle *b = NULL;
	result.res = pl_bundle_open(folder, &options, &b);
	if (!result.res)
		result.res = call(b, NULL, arg);
	snprintf(result.text, sizeof(result.text), "%s", pl_error());
	pl_bundle_close(b);
	return result;
}

struct remote_result remote_call(const char *folder, struct guest *g, bundle_call *call, void *arg, int stop_after,
				 uint32_t cancel_after)
{
	struct outcome o;
	int result[2], calls[2];
	if (!g && stop_after < 0)
		return call_here(folder, call, arg);
	cr_assert(eq(int, pipe(result), 0));
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, calls), 0));
	pid_t pid = fork();
	cr_assert(ge(int, pid, 0));
	if (pid == 0) {
		close(calls[0]);
		result_fd = result[1];
		be_the_command(folder, call, arg, g ? calls[1] : -1, stop_after);
	}
	close(calls[1]);
	close(result[1]);
	if (g)
		serve(g, calls[0], cancel_after);
	bool told = read(result[0], &o, sizeof(o)) == sizeof(o);
	cr_assert(told, "an operation ended without a word");
	close(result[0]);
	close(calls[0]);
	waitpid(pid, NULL, 0);
	struct remote_result out = {.res = o.r, .died = o.r == -EINTR && stop_after >= 0};
	memcpy(out.text, o.text, sizeof(out.text));
	return out;
}
