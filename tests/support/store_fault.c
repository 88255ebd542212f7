#include "tests/support/store_fault.h"

#include <stdlib.h>
#include <string.h>

#include "base/invariant.h"
#include "base/units.h"

struct store_fault {
	struct store store; /* first */
	struct store *inner;
	struct fault_plan *plan;
};

struct short_op {
	struct pl_io proxy; /* first */
	struct pl_io *io;
};

static bool fails_now(struct fault_plan *plan, uint32_t kind)
{
	if (plan->kinds && !(plan->kinds & kind))
		return false;
	plan->seen++;
	return plan->seen >= plan->from && plan->seen <= plan->to;
}

static void short_done(struct pl_io *proxy)
{
	struct short_op *op = (struct short_op *)proxy;
	struct pl_io *io = op->io;
	io->res = proxy->res;
	free(op);
	io->done(io);
}

/* Half of it, in whole pieces as the store takes them; what has one piece only is done whole. */
static void submit_short(struct store_fault *f, struct pl_io *io)
{
	uint64_t piece = MAX(f->inner->io_align, SECTOR_BYTES);
	uint64_t half = round_down_pow2(io->length / 2, piece);
	bool can = (io->kind == PL_IO_READ || io->kind == PL_IO_WRITE) && half > 0;
	if (!can) {
		store_submit(f->inner, io);
		return;
	}
	struct short_op *op = malloc(sizeof(*op));
	invariant(op);
	op->proxy = *io;
	op->proxy.length = half;
	op->proxy.done = short_done;
	op->io = io;
	store_submit(f->inner, &op->proxy);
}

static void fault_submit(struct store *store, struct pl_io *io)
{
	struct store_fault *f = (struct store_fault *)store;
	if (!fails_now(f->plan, FAULT_KIND(io->kind)))
		store_submit(f->inner, io);
	else if (f->plan->error)
		pl_loop_complete(store->loop, io, f->plan->error);
	else
		submit_short(f, io);
}

static int fault_set_size(struct store *store, uint64_t bytes)
{
	struct store_fault *f = (struct store_fault *)store;
	if (fails_now(f->plan, FAULT_KIND(PL_IO_FALLOCATE)) && f->plan->error)
		return pl_fail(f->plan->error, "%s: planned failure", store->path);
	int r = f->inner->ops->set_size(f->inner, bytes);
	store->size_bytes = f->inner->size_bytes;
	return r;
}

static uint64_t fault_next_data(struct store *store, uint64_t offset)
{
	struct store_fault *f = (struct store_fault *)store;
	return f->inner->ops->next_data(f->inner, offset);
}

static int fault_open_again(struct store *store, const char *path, struct store **out)
{
	struct store_fault *f = (struct store_fault *)store;
	struct store *inner;
	int r = f->inner->ops->open_again(f->inner, path, &inner);
	if (r == 0)
		*out = store_fault_wrap(inner, f->plan);
	return r;
}

static void fault_close(struct store *store)
{
	struct store_fault *f = (struct store_fault *)store;
	store_close(f->inner);
	free(f);
}

static const struct store_ops fault_ops = {
	.submit = fault_submit,
	.set_size = fault_set_size,
	.next_data = fault_next_data,
	.open_again = fault_open_again,
	.close = fault_close,
};

struct store *store_fault_wrap(struct store *inner, struct fault_plan *plan)
{
	struct store_fault *f = calloc(1, sizeof(*f));
	invariant(f);
	f->store = *inner;
	f->store.ops = &fault_ops;
	f->inner = inner;
	f->plan = plan;
	return &f->store;
}
