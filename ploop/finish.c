/* Completing what is partial in a running disk, on demand: all is filled, then two rounds. After the first the BAT has
 * the last of them, in the second the fence goes. */
#include <errno.h>
#include <string.h>

#include "ploop/change.h"
#include "ploop/fill.h"

static void plain(struct pl_req *req)
{
	struct pl_disk *d = req_state(req)->disk;
	change_done(d, req->res < 0 ? pl_fail(req->res, "%s: it could not be made durable", d->top->path) : 0);
}

static void durable(struct pl_req *req)
{
	struct pl_disk *d = req_state(req)->disk;
	req->done = plain;
	req_submit_own(d, req);
}

static void filled(struct pl_disk *d, int res)
{
	static const char *const words = "partial clusters could not be filled";
	if (res < 0) {
		change_done(d, pl_fail(res, "%s: %s: %s", d->top->path, words, strerror(-res)));
		return;
	}
	d->writer->journal.unwanted = true;
	d->finish = (struct pl_req){.done = durable, .op = PL_FLUSH};
	req_submit_own(d, &d->finish);
}

static void progress(struct pl_disk *d, uint32_t done, uint32_t total)
{
	change_progress(d, (uint64_t)done << d->cluster_shift, (uint64_t)total << d->cluster_shift);
}

void pl_disk_finish(struct pl_disk *d, struct pl_change *change)
{
	int r = change_begin(d, change);
	if (r < 0)
		return;
	if (d->readonly)
		change_done(d, pl_fail(-EROFS, "%s: the disk is open for reading only", d->top->path));
	else
		fill_all_cancellable(d->writer, filled, progress);
}
