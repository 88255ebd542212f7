#include "ploop/settle.h"

#include <errno.h>

#include "ploop/partial_io.h"

static bool has_left_changes(struct pl_loop *loop, const struct pl_chain_spec *chain)
{
	struct pl_open_options look = {.size = sizeof(look), .flags = PL_OPEN_READONLY | PL_OPEN_PEEK};
	struct pl_disk *d;
	if (pl_disk_open(loop, chain, &look, &d) < 0)
		return false;
	bool left = writer_has_partials(d->writer) ||
		    (d->writer->survive.inherited && !pending_shm_is_empty(d->writer->survive.shm));
	pl_disk_close(d);
	return left;
}

/* Opening takes over, closing makes durable. */
static int open_and_close(struct pl_loop *loop, const struct pl_chain_spec *chain)
{
	struct pl_open_options own = {.size = sizeof(own), .lock_wait_ms = 500};
	struct pl_disk *d;
	int r = pl_disk_open(loop, chain, &own, &d);
	return r < 0 ? r : pl_disk_close(d);
}

static int settle_on(struct pl_loop *loop, const struct pl_chain_spec *chain, bool close_anyway)
{
	bool left = has_left_changes(loop, chain);
	if (!left && !close_anyway)
		return 0;
	int r = open_and_close(loop, chain);
	if (!left || r == -EBUSY)
		return 0;
	return r < 0 ? r : 1;
}

static int settle(const struct pl_chain_spec *chain, bool close_anyway)
{
	struct pl_loop_options options = {.size = sizeof(options), .backend = PL_BACKEND_PLAIN};
	struct pl_loop *loop;
	if (chain->images[chain->count - 1].format != PL_FORMAT_PLOOP)
		return 0;
	int r = pl_loop_new(&options, &loop);
	if (r < 0)
		return r;
	r = settle_on(loop, chain, close_anyway);
	pl_loop_free(loop);
	return r;
}

int settle_chain(const struct pl_chain_spec *chain)
{
	return settle(chain, false);
}

int settle_image(const struct pl_image_ref *ref)
{
	struct pl_chain_spec lone = {.size = sizeof(lone), .images = ref, .count = 1};
	return settle(&lone, false);
}

int settle_below(const struct pl_chain_spec *chain)
{
	return settle(chain, true);
}
