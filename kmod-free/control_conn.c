#include "control_conn.h"

#include "base/invariant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ answers */

struct control_line {
	struct qnode node;
	size_t bytes, sent;
	char *text;
};

static void drop_first(struct control_conn *c)
{
	struct control_line *line = container_of(queue_take(&c->out), struct control_line, node);
	free(line->text);
	free(line);
}

/* There is one answer in the queue, and behind it at most those of a change and a refusal: lines are run only when it
 * is empty. A client whose answer found no memory is told no more. */
void control_answer(struct control_conn *c, const struct control_reply *reply)
{
	autofree struct control_line *line = calloc(1, sizeof(*line));
	if (!line || control_reply_encode(reply, &line->text, &line->bytes) < 0) {
		c->refused = true;
		return;
	}
	queue_append(&c->out, &line->node);
	line = NULL;
}

void control_answer_error(struct control_conn *c, uint64_t id, int err, const char *text)
{
	struct control_reply reply = {.kind = CONTROL_ERROR, .id = id, .err = err};
	snprintf(reply.message, sizeof(reply.message), "%s", text);
	control_answer(c, &reply);
}

void control_conn_refuse(struct control_conn *c, int err, const char *text)
{
	c->refused = true;
	c->in_bytes = 0;
	control_answer_error(c, 0, err, text);
}

/* ------------------------------------------------------------------ lines */

static void run_request(struct control_conn *c, const struct control_request *q)
{
	struct control_reply reply = {.kind = CONTROL_RESULT, .id = q->id, .method = q->method};
	c->control->calling = true;
	int r = control_run_method(c, q, &reply);
	c->control->calling = false;
	if (r < 0)
		control_answer_error(c, q->id, r, pl_error());
	else if (r != CONTROL_LATER)
		control_answer(c, &reply);
	free(reply.members);
}

/* What was asked by a client that is gone is about to end: an operation begins with the chain as it is then. */
static bool must_wait(const struct control *k, const struct control_request *q)
{
	return q->method == CONTROL_MEMBERS && k->changing && !k->changer;
}

static bool has_line(const struct control_conn *c)
{
	return memchr(c->in, '\n', c->in_bytes) != NULL;
}

/* Take the first line out and run it, unless it must wait. */
static bool run_line(struct control_conn *c)
{
	struct control_request request = {0};
	size_t n = (size_t)((char *)memchr(c->in, '\n', c->in_bytes) - c->in);
	int r = control_request_decode(c->in, n, &request);
	if (r == 0 && must_wait(c->control, &request))
		return false;
	c->in_bytes -= n + 1; /* bytes may arrive while it runs */
	memmove(c->in, c->in + n + 1, c->in_bytes);
	if (r == -EBADMSG)
		control_conn_refuse(c, r, pl_error());
	else if (r < 0)
		control_answer_error(c, request.id, r, pl_error());
	else
		run_request(c, &request);
	return true;
}

void control_conn_run(struct control_conn *c)
{
	const struct control *k = c->control;
	bool runs = true;
	while (runs && !k->calling && !k->closing && !c->refused && queue_is_empty(&c->out) && has_line(c))
		runs = run_line(c);
	if (!c->refused && c->in_bytes == sizeof(c->in) && !has_line(c))
		control_conn_refuse(c, -EMSGSIZE, "the request is too long");
}

size_t control_conn_room(const struct control_conn *c)
{
	return c->refused || c->control->closing ? 0 : sizeof(c->in) - c->in_bytes;
}

void control_conn_received(struct control_conn *c, const char *data, size_t bytes)
{
	if (c->refused)
		return;
	invariant(bytes <= sizeof(c->in) - c->in_bytes);
	memcpy(c->in + c->in_bytes, data, bytes);
	c->in_bytes += bytes;
}

struct iovec control_conn_output(const struct control_conn *c)
{
	if (queue_is_empty(&c->out))
		return (struct iovec){0};
	const struct control_line *line = container_of(c->out.first, struct control_line, node);
	return (struct iovec){line->text + line->sent, line->bytes - line->sent};
}

void control_conn_sent(struct control_conn *c, size_t bytes)
{
	struct control_line *line = container_of(c->out.first, struct control_line, node);
	invariant(bytes <= line->bytes - line->sent);
	line->sent += bytes;
	if (line->sent == line->bytes)
		drop_first(c);
}

bool control_conn_is_idle(const struct control_conn *c)
{
	bool may_run = !c->refused && !c->control->closing && has_line(c);
	return queue_is_empty(&c->out) && !may_run && c->control->changer != c;
}

/* ------------------------------------------------------------------ begin and end */

void control_init(struct control *k, const struct control_backend *backend)
{
	*k = (struct control){.backend = backend};
}

void control_close(struct control *k)
{
	if (!k->closing && k->changing)
		k->backend->cancel(k->backend->arg);
	k->closing = true;
}

void control_settle(struct control *k)
{
	if (k->calling || k->changing || !k->pushed || k->pusher)
		return;
	k->pushed = false;
	k->backend->abandon(k->backend->arg);
}

void control_conn_init(struct control_conn *c, struct control *k)
{
	*c = (struct control_conn){.control = k, .next = k->conns};
	k->conns = c;
}

void control_conn_fini(struct control_conn *c)
{
	struct control *k = c->control;
	invariant(!k->calling);
	struct control_conn **at = &k->conns;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	while (!queue_is_empty(&c->out))
		drop_first(c);
	if (k->pusher == c)
		k->pusher = NULL;
	if (k->changer != c)
		return;
	k->changer = NULL;
	if (k->what.method != CONTROL_SWITCH && k->what.method != CONTROL_HANDOVER)
		k->backend->cancel(k->backend->arg);
}
