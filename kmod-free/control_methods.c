/* The methods of the control protocol, and the one change that runs at a time. */
#include "control_conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ changes */

static void on_progress(struct pl_change *change)
{
	struct control *k = change->owner;
	struct control_conn *c = k->changer;
	uint64_t now = pl_now_ns();
	if (!c || !queue_is_empty(&c->out) || now - k->progress_ns < CONTROL_PROGRESS_NS)
		return; /* it is told later how far it is */
	k->progress_ns = now;
	control_answer(c, &(struct control_reply){.kind = CONTROL_PROGRESS, .id = k->what.id,
						  .done_bytes = change->done_bytes,
						  .total_bytes = change->total_bytes});
}

static void on_done(struct pl_change *change)
{
	struct control *k = change->owner;
	struct control_conn *c = k->changer;
	k->changing = false;
	k->changer = NULL;
	if (k->what.method == CONTROL_SWITCH && change->res == 0) {
		k->pushed = false;
		k->pusher = NULL;
	}
	if (c && change->res < 0)
		control_answer_error(c, k->what.id, change->res, change->error);
	else if (c)
		control_answer(c, &(struct control_reply){.kind = CONTROL_RESULT, .id = k->what.id,
							  .method = k->what.method, .pause_ns = change->pause_ns});
}

static void begin_change(struct control_conn *c, const struct control_request *request)
{
	struct control *k = c->control;
	k->changing = true;
	k->changer = c;
	k->what = *request;
	k->progress_ns = 0;
	k->change = (struct pl_change){.done = on_done, .progress = on_progress, .owner = k};
}

static int refuse_second_change(const struct control *k)
{
	if (k->changing)
		return pl_fail(-EBUSY, "a %s is running on this disk", control_method_word(k->what.method));
	return 0;
}

static int refuse_beside_change(const struct control *k)
{
	int r = refuse_second_change(k);
	return r == 0 && k->pushed ? pl_fail(-EBUSY, "an image is pushed to become the top") : r;
}

static int refuse_foreign_push(const struct control_conn *c)
{
	const struct control *k = c->control;
	if (!k->pushed)
		return pl_fail(-ENOENT, "no image was pushed");
	if (k->pusher != c)
		return pl_fail(-EBUSY, "another client has pushed an image");
	return refuse_second_change(k);
}

/* ------------------------------------------------------------------ the methods */

static int do_hello(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	uint32_t greeted = 0;
	for (const struct control_conn *other = c->control->conns; other; other = other->next)
		greeted += other->greeted;
	if (c->greeted)
		return pl_fail(-EINVAL, "hello comes once");
	if (q->version != CONTROL_VERSION)
		return pl_fail(-EPROTO, "this server speaks version %u of the control protocol, not %u",
			       CONTROL_VERSION, q->version);
	if (greeted >= CONTROL_MAX_CLIENTS)
		return pl_fail(-EBUSY, "the control of this disk has %u clients, that is the limit", greeted);
	c->greeted = true;
	reply->version = CONTROL_VERSION;
	return 0;
}

static int do_info(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	const struct control_backend *b = c->control->backend;
	b->info(b->arg, &reply->info);
	return 0;
}

static int do_members(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	const struct control_backend *b = c->control->backend;
	reply->members = calloc(PL_MAX_CHAIN, sizeof(*reply->members));
	if (!reply->members)
		return pl_fail(-ENOMEM, "no memory for the members of the chain");
	reply->member_count = MIN(b->members(b->arg, reply->members, PL_MAX_CHAIN), PL_MAX_CHAIN);
	return 0;
}

static int refuse_path(const char *name)
{
	if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return pl_fail(-EINVAL, "\"%s\" is not the plain name of a file", name);
	return 0;
}

static int do_push(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	int r = refuse_path(q->name);
	if (r == 0)
		r = refuse_second_change(k);
	if (r == 0 && k->pushed)
		r = pl_fail(-EBUSY, "an image is pushed already");
	if (r < 0)
		return r;
	k->pushed = true;
	k->pusher = c;
	r = k->backend->push(k->backend->arg, q->name);
	if (r < 0) {
		k->pushed = false;
		k->pusher = NULL;
	}
	return r;
}

static int do_abandon(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	int r = refuse_foreign_push(c);
	if (r < 0)
		return r;
	k->backend->abandon(k->backend->arg);
	k->pushed = false;
	k->pusher = NULL;
	return 0;
}

static bool is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i = 0;
	for (; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !text[i] || !strchr("0123456789abcdefABCDEF", text[i]))
			return false;
	return text[i] == '\0';
}

static int do_switch(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	if (*q->cbt_uuid && !is_uuid(q->cbt_uuid))
		return pl_fail(-EINVAL, "cbt_uuid: \"%s\" is no UUID", q->cbt_uuid);
	int r = refuse_foreign_push(c);
	if (r < 0)
		return r;
	begin_change(c, q);
	const struct pl_switch_options options = {
		.size = sizeof(options),
		.wait_ms = k->what.wait_ms,
		.keep_bitmap_below = k->what.keep_bitmap_below,
		.cbt_uuid = *k->what.cbt_uuid ? k->what.cbt_uuid : NULL,
	};
	k->backend->switch_top(k->backend->arg, &options, &k->change);
	return CONTROL_LATER;
}

static int do_merge(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	size_t count = k->backend->members(k->backend->arg, NULL, 0);
	if (q->child < 1 || q->child >= count)
		return pl_fail(-EINVAL, "child: %u is no member with one below it, the chain has %zu", q->child, count);
	int r = refuse_beside_change(k);
	if (r < 0)
		return r;
	begin_change(c, q);
	k->backend->merge(k->backend->arg, q->child, q->into, &k->change);
	return CONTROL_LATER;
}

static int do_replace(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	int r = refuse_path(q->name);
	if (r == 0)
		r = refuse_beside_change(k);
	if (r < 0)
		return r;
	begin_change(c, q);
	k->backend->replace(k->backend->arg, k->what.place, k->what.name, &k->change);
	return CONTROL_LATER;
}

static int do_finish(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	int r = refuse_beside_change(k);
	if (r < 0)
		return r;
	begin_change(c, q);
	k->backend->finish(k->backend->arg, &k->change);
	return CONTROL_LATER;
}

static int do_cancel(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	if (!k->changing)
		return pl_fail(-ENOENT, "nothing runs that could be cancelled");
	k->backend->cancel(k->backend->arg);
	return 0;
}

static void copy_path(char out[4096], const char *path)
{
	snprintf(out, 4096, "%s", path ? path : "");
}

static int do_stat(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	const struct control_backend *b = c->control->backend;
	reply->stat.disk.size = sizeof(reply->stat.disk);
	b->get_stat(b->arg, &reply->stat.disk);
	copy_path(reply->stat.path, reply->stat.disk.path);
	copy_path(reply->stat.full_path, reply->stat.disk.full_path);
	return 0;
}

static int do_set(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	const struct control_backend *b = c->control->backend;
	struct pl_limits limits = {sizeof(limits), q->bytes_per_s, q->requests_per_s, q->burst_ms};
	int r = b->set(b->arg, &limits);
	if (r == 0 && q->on_full != CONTROL_FULL_KEEP)
		b->set_on_full(b->arg, q->on_full == CONTROL_FULL_FAIL ? PL_FULL_FAILS : PL_FULL_WAITS);
	return r;
}

static int do_retry(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	const struct control_backend *b = c->control->backend;
	b->retry(b->arg);
	return 0;
}

static int do_handover(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	struct control *k = c->control;
	int r = refuse_beside_change(k);
	if (r < 0)
		return r;
	begin_change(c, q);
	k->backend->hand_over(k->backend->arg, &k->change);
	return CONTROL_LATER;
}

static bool changes_disk(enum control_method method)
{
	return method != CONTROL_HELLO && method != CONTROL_INFO && method != CONTROL_MEMBERS &&
	       method != CONTROL_STAT && method != CONTROL_RETRY && method != CONTROL_HANDOVER;
}

int control_run_method(struct control_conn *c, const struct control_request *q, struct control_reply *reply)
{
	static int (*const run[CONTROL_METHOD_COUNT])(struct control_conn *c, const struct control_request *q,
						      struct control_reply *reply) = {
		[CONTROL_HELLO] = do_hello,     [CONTROL_INFO] = do_info,       [CONTROL_MEMBERS] = do_members,
		[CONTROL_PUSH] = do_push,       [CONTROL_ABANDON] = do_abandon, [CONTROL_SWITCH] = do_switch,
		[CONTROL_MERGE] = do_merge,     [CONTROL_FINISH] = do_finish,   [CONTROL_CANCEL] = do_cancel,
		[CONTROL_STAT] = do_stat,       [CONTROL_SET] = do_set,         [CONTROL_RETRY] = do_retry,
		[CONTROL_REPLACE] = do_replace, [CONTROL_HANDOVER] = do_handover,
	};
	if (q->method != CONTROL_HELLO && !c->greeted)
		return pl_fail(-EPROTO, "say hello first");
	if (c->control->backend->no_changes && changes_disk(q->method))
		return pl_fail(-EROFS, "this disk is open for reading, or a list of images: nothing of it is changed");
	return run[q->method](c, q, reply);
}
