/* Requests: from submit to completion. What happens in between is the fragments' (frag.c, read.c, write.c …). */
#include "ploop/disk.h"

static void count(struct pl_disk *d, const struct pl_req *req, uint64_t took_ns)
{
	struct pl_op_stat *op = &d->ops[req->op];
	uint64_t us = took_ns / NS_PER_US;
	uint32_t bucket = us ? 64u - (uint32_t)__builtin_clzll(us) : 0;
	op->requests++;
	op->time_ns += took_ns;
	op->latency[MIN(bucket, PL_LATENCY_BUCKETS - 1)]++;
	if (unlikely(req->res < 0))
		op->errors++;
	else
		op->bytes += req->length_bytes;
}

static void complete(struct pl_disk *d, struct pl_req *req)
{
	if (likely(!req_is_own(req)))
		count(d, req, loop_now_ns(d->loop) - req_state(req)->began_ns);
	d->request_count--;
	req->done(req);
}

static void nop_done(struct pl_io *io)
{
	struct req_state *s = container_of(io, struct req_state, nop);
	complete(s->disk, req_of_node(&s->node));
}

void req_complete(struct pl_req *req)
{
	struct req_state *s = req_state(req);
	if (s->in_submit) {
		s->nop.done = nop_done;
		pl_loop_complete(s->disk->loop, &s->nop, 0);
		return;
	}
	complete(s->disk, req);
}

void req_finish(struct pl_req *req)
{
	struct req_state *s = req_state(req);
	if (unlikely(s->must_commit && req->res == 0))
		commit_wait(s->disk, req);
	else
		req_complete(req);
}

static int refuse(const struct pl_disk *d, const struct pl_req *req)
{
	if (req->op != PL_READ && req->op != PL_FLUSH && d->readonly)
		return -EROFS;
	if (req->op != PL_READ && d->failed)
		return -EIO;
	invariant(req->offset_bytes <= d->size_bytes && req->length_bytes <= d->size_bytes - req->offset_bytes);
	return 0;
}

static void run(struct pl_req *req)
{
	struct pl_disk *d = req_state(req)->disk;
	if (unlikely(req->res < 0))
		req_complete(req);
	else if (req->op == PL_FLUSH)
		commit_wait(d, req);
	else
		req_advance(req);
}

static void guest_start(struct pl_req *req)
{
	struct pl_disk *d = req_state(req)->disk;
	d->request_count++;
	req->res = refuse(d, req);
	if (unlikely(d->writer->extension) && req->op != PL_READ)
		extension_mark(d->writer->extension, req->offset_bytes, req->length_bytes);
	run(req);
}

void req_release(struct pl_disk *d)
{
	struct queue held;
	queue_move(&held, &d->held_requests);
	for (struct qnode *n; (n = queue_take(&held));) {
		struct pl_req *req = req_of_node(n);
		req_state(req)->in_submit = false;
		guest_start(req);
	}
}

static struct req_state *prepare(struct pl_disk *d, struct pl_req *req)
{
	struct req_state *s = req_state(req);
	*s = (struct req_state){
		.disk = d,
		.cursor_bytes = req->offset_bytes,
		.end_bytes = req->offset_bytes + req->length_bytes,
		.in_submit = true,
		.began_ns = loop_now_ns(d->loop),
	};
	return s;
}

void req_submit_own(struct pl_disk *d, struct pl_req *req)
{
	struct req_state *s = prepare(d, req);
	d->request_count++;
	req->res = d->failed ? -EIO : 0;
	run(req);
	s->in_submit = false;
}

void req_enter(struct pl_req *req)
{
	struct req_state *s = req_state(req);
	struct pl_disk *d = s->disk;
	if (unlikely(d->held)) {
		queue_append(&d->held_requests, &s->node);
		return;
	}
	guest_start(req);
	s->in_submit = false;
}

void pl_submit(struct pl_disk *d, struct pl_req *req)
{
	prepare(d, req);
	d->guest_requests++;
	if (unlikely(d->door.limited) && req->op != PL_FLUSH)
		door_wait(d, req);
	else
		req_enter(req);
}
