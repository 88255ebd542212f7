#include "server_close.h"

#include <errno.h>

static void filled(struct pl_change *change)
{
	((struct server_close *)change->owner)->done = true;
}

/* What stays unfinished for another reason than ours is told by pl_disk_close(). */
static int fill(struct server_close *c, struct pl_loop *loop, struct pl_disk *disk)
{
	int r = 0;
	c->disk = disk;
	c->change = (struct pl_change){.done = filled, .owner = c};
	pl_disk_finish(disk, &c->change);
	while (r >= 0 && !c->done)
		r = pl_loop_step(loop, true);
	c->disk = NULL;
	return r;
}

int server_close_disk(struct server_close *c, struct pl_loop *loop, struct pl_disk *disk)
{
	struct pl_disk_info info;
	pl_disk_get_info(disk, &info);
	int r = 0;
	if (!c->leave && !info.readonly && info.partial_clusters > 0)
		r = fill(c, loop, disk);
	int closed = c->leave ? pl_disk_leave(disk) : pl_disk_close(disk);
	return r < 0 ? r : closed;
}

void server_close_leave(struct server_close *c)
{
	c->leave = true;
	if (c->disk)
		pl_disk_change_cancel(c->disk);
}
