/* A disk in another process: each call is a request, and waits for its answer. Answers to other requests (a cancel that
 * came too late) are passed over. */
#include "base/cleanup.h"
#include "control_message.h"
#include "ploop-serve.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct client {
	struct pl_live live;
	int fd;
	uint64_t next_id;
	char *in; /* what came and is not read yet */
	size_t in_bytes, in_room;
};

static struct client *client_of(struct pl_live *live)
{
	return container_of(live, struct client, live);
}

/* ------------------------------------------------------------------ lines */

static int send_request(struct client *c, struct control_request *q)
{
	autofree char *line = NULL;
	size_t bytes;
	q->id = c->next_id++;
	int r = control_request_encode(q, &line, &bytes);
	for (size_t sent = 0; r == 0 && sent < bytes;) {
		ssize_t n = send(c->fd, line + sent, bytes - sent, MSG_NOSIGNAL);
		if (n >= 0)
			sent += (size_t)n;
		else if (errno != EINTR)
			return pl_fail(-errno, "the server of the disk does not listen any more: %s", strerror(errno));
	}
	return r;
}

static int make_room(struct client *c)
{
	if (c->in_bytes < c->in_room)
		return 0;
	size_t room = c->in_room ? 2 * c->in_room : 4096;
	if (room > CONTROL_REPLY_BYTES)
		return pl_fail(-EPROTO, "the server's answer has more than %zu bytes", c->in_bytes);
	char *grown = realloc(c->in, room);
	if (!grown)
		return pl_fail(-ENOMEM, "no memory for the server's answer");
	c->in = grown;
	c->in_room = room;
	return 0;
}

/* Wait for bytes, at most @timeout_ms (-1: for ever). -EAGAIN: none came, or a signal did. */
static int receive(struct client *c, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	int r = make_room(c);
	if (r < 0)
		return r;
	if (poll(&p, 1, timeout_ms) <= 0)
		return -EAGAIN;
	ssize_t n = recv(c->fd, c->in + c->in_bytes, c->in_room - c->in_bytes, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0)
		return pl_fail(-errno, "the server of the disk: %s", strerror(errno));
	if (n == 0)
		return pl_fail(-ECONNRESET, "the server of the disk has ended");
	c->in_bytes += (size_t)n;
	return 0;
}

/* The next line that is here: 1, or 0. What it answers goes to @reply. */
static int read_line(struct client *c, const struct control_request *q, struct control_reply *reply)
{
	const char *end = c->in_bytes ? memchr(c->in, '\n', c->in_bytes) : NULL;
	if (!end)
		return 0;
	size_t n = (size_t)(end - c->in);
	int r = control_reply_decode(c->in, n, q, reply);
	c->in_bytes -= n + 1;
	memmove(c->in, c->in + n + 1, c->in_bytes);
	return r < 0 ? r : 1;
}

/* ------------------------------------------------------------------ calls */

/* What a waiting call looks at besides the answer. */
struct wait_for {
	const struct pl_progress *progress; /* NULL: nothing */
	uint64_t deadline_ns;               /* 0: none */
	bool cancelled;
};

static int cancel_if_wanted(struct client *c, struct wait_for *w)
{
	const struct pl_progress *p = w->progress;
	if (w->cancelled || !p || !p->cancelled || !p->cancelled(p->arg))
		return 0;
	w->cancelled = true;
	return send_request(c, &(struct control_request){.method = CONTROL_CANCEL});
}

static int pause_ms(const struct wait_for *w)
{
	if (w->progress && w->progress->cancelled && !w->cancelled)
		return CONTROL_POLL_MS;
	return w->deadline_ns ? CONTROL_POLL_MS : -1;
}

/* 1: the answer is there. */
static int take_reply(const struct control_request *q, const struct wait_for *w, const struct control_reply *reply)
{
	if (reply->kind == CONTROL_ERROR && (reply->id == q->id || reply->id == 0))
		return pl_fail(reply->err, "%s", reply->message);
	if (reply->id != q->id)
		return 0;
	if (reply->kind != CONTROL_PROGRESS)
		return 1;
	if (w->progress && w->progress->step)
		w->progress->step(w->progress->arg, reply->done_bytes, reply->total_bytes);
	return 0;
}

static int await(struct client *c, const struct control_request *q, struct wait_for *w, struct control_reply *reply)
{
	for (;;) {
		int r = read_line(c, q, reply);
		if (r == 1) {
			r = take_reply(q, w, reply);
			if (r != 0)
				return r < 0 ? r : 0;
			continue;
		}
		if (r == 0)
			r = cancel_if_wanted(c, w);
		if (r == 0)
			r = receive(c, pause_ms(w));
		if (r == -EAGAIN && w->deadline_ns && pl_now_ns() > w->deadline_ns)
			return pl_fail(-ETIMEDOUT, "the server of the disk does not answer");
		if (r < 0 && r != -EAGAIN)
			return r;
	}
}

static int call(struct client *c, struct control_request *q, struct control_reply *reply)
{
	int r = send_request(c, q);
	return r < 0 ? r : await(c, q, &(struct wait_for){0}, reply);
}

static int live_members(struct pl_live *live, struct pl_member **out, size_t *count)
{
	struct control_reply reply;
	int r = call(client_of(live), &(struct control_request){.method = CONTROL_MEMBERS}, &reply);
	if (r < 0)
		return r;
	*out = reply.members;
	*count = reply.member_count;
	return 0;
}

static int call_with_name(struct pl_live *live, struct control_request *q, const char *name)
{
	struct control_reply reply;
	if (strlen(name) > CONTROL_NAME_BYTES)
		return pl_fail(-ENAMETOOLONG, "%s: a file name has up to %u bytes", name, CONTROL_NAME_BYTES);
	snprintf(q->name, sizeof(q->name), "%s", name);
	return call(client_of(live), q, &reply);
}

static int live_push(struct pl_live *live, const char *name)
{
	return call_with_name(live, &(struct control_request){.method = CONTROL_PUSH}, name);
}

static int live_replace(struct pl_live *live, uint32_t place, const char *name)
{
	return call_with_name(live, &(struct control_request){.method = CONTROL_REPLACE, .place = place}, name);
}

static int live_abandon(struct pl_live *live)
{
	struct control_reply reply;
	return call(client_of(live), &(struct control_request){.method = CONTROL_ABANDON}, &reply);
}

static int live_switch_top(struct pl_live *live, const struct pl_switch_options *options, uint64_t *pause_ns)
{
	struct control_reply reply;
	struct control_request q = {
		.method = CONTROL_SWITCH,
		.wait_ms = MIN(options->wait_ms, CONTROL_MAX_WAIT_MS),
		.keep_bitmap_below = options->keep_bitmap_below,
	};
	if (options->cbt_uuid && strlen(options->cbt_uuid) != CONTROL_UUID_TEXT)
		return pl_fail(-EINVAL, "%s: a UUID has %d characters", options->cbt_uuid, CONTROL_UUID_TEXT);
	if (options->cbt_uuid)
		snprintf(q.cbt_uuid, sizeof(q.cbt_uuid), "%s", options->cbt_uuid);
	int r = call(client_of(live), &q, &reply);
	if (r == 0 && pause_ns)
		*pause_ns = reply.pause_ns;
	return r;
}

static int live_merge(struct pl_live *live, uint32_t child, enum pl_merge_into into, const struct pl_progress *progress)
{
	struct client *c = client_of(live);
	struct control_reply reply;
	struct control_request q = {.method = CONTROL_MERGE, .child = child, .into = into};
	int r = send_request(c, &q);
	return r < 0 ? r : await(c, &q, &(struct wait_for){.progress = progress}, &reply);
}

static int live_finish(struct pl_live *live, const struct pl_progress *progress)
{
	struct client *c = client_of(live);
	struct control_reply reply;
	struct control_request q = {.method = CONTROL_FINISH};
	int r = send_request(c, &q);
	return r < 0 ? r : await(c, &q, &(struct wait_for){.progress = progress}, &reply);
}

static int live_info(struct pl_live *live, struct pl_disk_info *out)
{
	struct control_reply reply;
	int r = call(client_of(live), &(struct control_request){.method = CONTROL_INFO}, &reply);
	if (r < 0)
		return r;
	const struct control_info *info = &reply.info;
	*out = (struct pl_disk_info){
		.size_bytes = info->size_bytes,
		.cluster_bytes = info->cluster_bytes,
		.request_align_bytes = SECTOR_BYTES,
		.version = info->image_version,
		.depth = info->depth,
		.readonly = info->readonly,
		.survives = info->survives,
		.allocated_clusters = info->allocated_clusters,
		.partial_clusters = info->partial_clusters,
	};
	return 0;
}

/* ------------------------------------------------------------------ figures and limits */

int pl_live_get_stat(struct pl_live *live, struct pl_live_stat *out)
{
	struct client *c = client_of(live);
	struct control_reply reply;
	struct control_request q = {.method = CONTROL_STAT};
	struct wait_for w = {.deadline_ns = pl_now_ns() + CONTROL_STAT_MS * NS_PER_MS};
	int r = send_request(c, &q);
	if (r == 0)
		r = await(c, &q, &w, &reply);
	if (r < 0)
		return r;
	*out = reply.stat;
	out->disk.size = sizeof(out->disk);
	out->disk.path = out->path;
	out->disk.full_path = out->full_path[0] ? out->full_path : NULL;
	return 0;
}

int pl_live_set(struct pl_live *live, const struct pl_limits *limits, const enum pl_on_full *on_full)
{
	struct control_reply reply;
	struct control_request q = {
		.method = CONTROL_SET,
		.bytes_per_s = limits->bytes_per_s,
		.requests_per_s = limits->requests_per_s,
		.burst_ms = limits->burst_ms,
	};
	if (on_full)
		q.on_full = *on_full == PL_FULL_FAILS ? CONTROL_FULL_FAIL : CONTROL_FULL_WAIT;
	return call(client_of(live), &q, &reply);
}

int pl_live_retry(struct pl_live *live)
{
	struct control_reply reply;
	return call(client_of(live), &(struct control_request){.method = CONTROL_RETRY}, &reply);
}

int pl_live_hand_over(struct pl_live *live, uint64_t *pause_ns)
{
	struct control_reply reply;
	int r = call(client_of(live), &(struct control_request){.method = CONTROL_HANDOVER}, &reply);
	if (r == 0)
		*pause_ns = reply.pause_ns;
	return r;
}

/* ------------------------------------------------------------------ begin and end */

static void live_close(struct pl_live *live)
{
	struct client *c = client_of(live);
	close(c->fd);
	free(c->in);
	free(c);
}

static const struct pl_live_ops ops = {
	.members = live_members,
	.push = live_push,
	.abandon = live_abandon,
	.switch_top = live_switch_top,
	.merge = live_merge,
	.replace = live_replace,
	.finish = live_finish,
	.info = live_info,
	.close = live_close,
};

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return pl_fail(-ENOENT, "%s: too long to be a socket", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return pl_fail(-errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd_steal(&fd);
	if (errno == ECONNREFUSED || errno == ENOENT)
		return pl_fail(-ENOENT, "no server has the disk open");
	return pl_fail(-errno, "%s: %s", path, strerror(errno));
}

static int greet(struct client *c)
{
	struct control_reply reply;
	struct control_request q = {.method = CONTROL_HELLO, .version = CONTROL_VERSION};
	struct wait_for w = {.deadline_ns = pl_now_ns() + CONTROL_HELLO_MS * NS_PER_MS};
	int r = send_request(c, &q);
	if (r == 0)
		r = await(c, &q, &w, &reply);
	/* a killed server's socket takes connections until the kernel has cleaned up */
	return r == -ECONNRESET || r == -EPIPE ? pl_fail(-ENOENT, "the server of the disk has just ended") : r;
}

int pl_live_connect_at(const char *path, struct pl_live **out)
{
	int fd = dial(path);
	if (fd < 0)
		return fd;
	struct client *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return pl_fail(-ENOMEM, "no memory for a client of a server");
	}
	*c = (struct client){.live.ops = &ops, .fd = fd, .next_id = 1};
	int r = greet(c);
	if (r < 0) {
		live_close(&c->live);
		return pl_wrap(r, "%s", path);
	}
	*out = &c->live;
	return 0;
}

int pl_live_connect(const struct pl_bundle *bundle, struct pl_live **out)
{
	char path[PATH_MAX];
	int r = pl_control_path(pl_bundle_path(bundle), path, sizeof(path));
	return r < 0 ? r : pl_live_connect_at(path, out);
}
