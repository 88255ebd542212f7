/* Merging into the live top: each cluster that is read from the image below comes up by the way of a first write that
 * writes nothing. When none is left and all is durable, the image below leaves the chain.
 *
 *   crash after…          leaves                                        the next open
 *   some clusters         a longer top, the image below as it was       the same disk; merging again goes on
 *   the last round        a top that needs nothing of the one below     same */
#include "ploop/fill.h"
#include "ploop/merge_job.h"
#include "ploop/partial_io.h"

/* The guest may have written it meanwhile: then it is there. */
static void pull_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct frag *holder = d->gate_count ? gate_find(d, f->g) : NULL;
	if (holder) {
		frag_wait(f, &holder->gate_waiters, pull_place);
		return;
	}
	f->at = map_get(&d->map, f->g);
	if (f->at.level != d->merge->source->level)
		frag_finish(f, 0);
	else if (!partial_covers(d, f->g, f->at))
		first_write_copy(f, d->writer);
	else {
		f->offset_bytes = 0;
		f->length_bytes = d->cluster_bytes;
		fill_cluster(f, d->writer);
	}
}

void pull_start(struct frag *f)
{
	f->data = NULL;
	f->length_bytes = 0;
	pull_place(f);
}
static void alone(struct quiesce *q, int res)
{
	struct merge *m = container_of(q, struct merge, quiesce);
	if (res == 0) {
		merge_forget(m->disk, m->parent);
		quiesce_end(q);
		m->disk->change->pause_ns = q->pause_ns;
	}
	merge_end(m, res < 0 ? pl_fail(res, "requests in flight did not end in time; merge again") : 0);
}

static void durable(struct pl_req *req);

static void flush(struct merge *m)
{
	m->flush = (struct pl_req){.done = durable, .op = PL_FLUSH};
	req_submit_own(m->disk, &m->flush);
}

static void durable(struct pl_req *req)
{
	struct merge *m = container_of(req, struct merge, flush);
	if (req->res == 0 && !m->flushed_twice) { /* then the journal, too, has no cluster that the image below fills */
		m->flushed_twice = true;
		flush(m);
		return;
	}
	if (req->res < 0) {
		merge_end(m, pl_fail(req->res, "%s: it could not be made durable", m->child->path));
		return;
	}
	m->quiesce.ready = alone;
	quiesce_begin(m->disk, &m->quiesce, MERGE_HOLD_NS);
}

static void cancel_late(struct merge *m)
{
}

static void moved_all(struct merge *m)
{
	if (m->res < 0) {
		merge_end(m, m->res);
		return;
	}
	m->cancel = cancel_late;
	flush(m);
}

int merge_begin_pull(struct merge *m)
{
	m->source = m->parent;
	m->op = OP_PULL;
	m->moved_all = moved_all;
	merge_move_all(m);
	return 0;
}
