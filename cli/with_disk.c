#include "cli/with_disk.h"

#include <stdio.h>

static int open_use_close(struct pl_loop *loop, const struct pl_chain_spec *chain, uint32_t flags,
			  int (*use)(struct pl_disk *disk, void *arg), void *arg)
{
	struct pl_open_options options = {.size = sizeof(options), .flags = flags};
	struct pl_disk *disk;
	int r = pl_disk_open(loop, chain, &options, &disk);
	if (r < 0)
		return r;
	r = use(disk, arg);
	char why[512];
	snprintf(why, sizeof(why), "%s", pl_error());
	int closed = pl_disk_close(disk);
	return r < 0 ? pl_fail(r, "%s", why) : closed;
}

int with_disk(const struct pl_chain_spec *chain, uint32_t flags, int (*use)(struct pl_disk *disk, void *arg), void *arg)
{
	struct pl_loop_options options = {.size = sizeof(options)};
	struct pl_loop *loop;
	int r = pl_loop_new(&options, &loop);
	if (r < 0)
		return r;
	r = open_use_close(loop, chain, flags, use, arg);
	pl_loop_free(loop);
	return r;
}
