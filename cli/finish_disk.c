#include "cli/finish_disk.h"

#include "cli/console.h"
#include "cli/interrupt.h"
#include "cli/progress.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <errno.h>
#include <string.h>

#define LOOK_NS (100 * NS_PER_MS)

static char label[] = "Finishing";

bool chain_is_unfinished(const struct pl_chain_spec *chain)
{
	struct pl_image_info info;
	for (size_t i = 0; i < chain->count; i++) {
		const struct pl_image_ref *image = &chain->images[i];
		if (image->format == PL_FORMAT_PLOOP && pl_image_info(image, &info) == 0 && info.unfinished)
			return true;
	}
	pl_error_clear();
	return false;
}

struct filling {
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct pl_change change;
	struct pl_progress progress;
	struct pl_timer look; /* at signals */
	bool done, cancelled;
};

static void on_progress(struct pl_change *change)
{
	const struct pl_progress *p = &((struct filling *)change->owner)->progress;
	p->step(p->arg, change->done_bytes, change->total_bytes);
}

static void on_done(struct pl_change *change)
{
	((struct filling *)change->owner)->done = true;
}

static void on_look(struct pl_timer *look)
{
	struct filling *f = container_of(look, struct filling, look);
	if (interrupt_seen() && !f->cancelled) {
		f->cancelled = true;
		pl_disk_change_cancel(f->disk);
	}
	pl_timer_start(f->loop, look, LOOK_NS);
}

static int fill(struct pl_loop *loop, struct pl_disk *disk)
{
	struct filling f = {
		.loop = loop,
		.disk = disk,
		.change = {.done = on_done, .progress = on_progress},
		.progress = progress_begin(label),
		.look.fire = on_look,
	};
	int r = 0;
	f.change.owner = &f;
	pl_disk_finish(disk, &f.change);
	pl_timer_start(loop, &f.look, LOOK_NS);
	while (r >= 0 && !f.done)
		r = pl_loop_step(loop, true);
	pl_timer_stop(loop, &f.look);
	if (r >= 0 && f.change.res < 0)
		r = pl_fail(f.change.res, "%s", f.change.error);
	return MIN(r, 0);
}

/* What could not be filled stays so: the disk is not closed over it. */
static int open_and_fill(struct pl_loop *loop, const struct pl_chain_spec *chain)
{
	struct pl_disk *disk;
	int r = pl_disk_open(loop, chain, &(struct pl_open_options){.size = sizeof(struct pl_open_options)}, &disk);
	if (r < 0)
		return r;
	r = fill(loop, disk);
	if (r == 0)
		return pl_disk_close(disk);
	autofree char *why = strdup(pl_error());
	pl_disk_leave(disk);
	return pl_fail(r, "%s", why ? why : "");
}

/* One sentence for both ways of being interrupted. */
static int end(int r)
{
	console_progress_end();
	return r == -ECANCELED ? pl_fail(r, "interrupted: what is filled stays filled, the rest is unfinished") : r;
}

int finish_stopped(const struct pl_chain_spec *chain)
{
	struct pl_loop_options options = {.size = sizeof(options)};
	struct pl_loop *loop;
	int r = pl_loop_new(&options, &loop);
	if (r < 0)
		return r;
	r = open_and_fill(loop, chain);
	pl_loop_free(loop);
	return end(r);
}

int finish_running(struct pl_live *live)
{
	struct pl_progress progress = progress_begin(label);
	return end(live->ops->finish(live, &progress));
}
