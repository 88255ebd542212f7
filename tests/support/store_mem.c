#include "tests/support/store_mem.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/invariant.h"

struct mem_op {
	struct pl_io proxy; /* first: what the loop completes */
	struct pl_io *io;
	struct store_mem *s;
	struct record *record;
	uint64_t stamp; /* of the medium, at submit */
	bool has_power;
	struct mem_op *next;
};

struct store_mem {
	struct store store; /* first */
	struct medium *m;
	struct store_mem_options o;
	struct pl_hook hook;
	struct mem_op *queue;
	uint32_t queued;
	uint32_t unfinished;
};

static bool changes(const struct pl_io *io)
{
	return io->kind != PL_IO_READ;
}

static void mem_submit(struct store *store, struct pl_io *io)
{
	struct store_mem *s = (struct store_mem *)store;
	if (io->kind == PL_IO_READ || io->kind == PL_IO_WRITE)
		invariant(is_aligned(io->offset | io->length, store->io_align) &&
			  is_aligned((uintptr_t)io->buf, store->mem_align) && io->length > 0);
	struct mem_op *op = calloc(1, sizeof(*op));
	invariant(op);
	op->io = io;
	op->s = s;
	op->stamp = s->m->stamp;
	op->has_power = changes(io) ? medium_spend_power(s->m) : medium_has_power(s->m);
	struct mem_op **at = &s->queue;
	while (*at)
		at = &(*at)->next;
	*at = op;
	s->queued++;
	s->unfinished++;
}

/* ---- doing it */

static int32_t do_fallocate(struct store_mem *s, struct mem_op *op)
{
	const struct pl_io *io = op->io;
	uint64_t end = io->offset + io->length;
	bool punch = io->arg & FALLOC_FL_PUNCH_HOLE, zero = io->arg & FALLOC_FL_ZERO_RANGE;
	if (io->length == 0)
		return -EINVAL;
	if (punch ? s->o.no_punch : zero ? s->o.no_zero_range : s->o.no_allocate)
		return -EOPNOTSUPP;
	if (punch || zero)
		op->record = medium_zero(s->m, io->length, io->offset);
	else if (end > s->m->now.size_bytes)
		op->record = medium_set_size(s->m, end);
	return 0;
}

static int32_t do_it(struct mem_op *op)
{
	struct store_mem *s = op->s;
	const struct pl_io *io = op->io;
	switch (io->kind) {
	case PL_IO_READ:
		return (int32_t)medium_read(s->m, io->buf, io->length, io->offset);
	case PL_IO_WRITE:
		op->record = medium_write(s->m, io->buf, io->length, io->offset);
		return (int32_t)io->length;
	case PL_IO_FALLOCATE:
		return do_fallocate(s, op);
	default:
		return 0;
	}
}

static void op_done(struct pl_io *proxy)
{
	struct mem_op *op = (struct mem_op *)proxy;
	struct pl_io *io = op->io;
	struct store_mem *s = op->s;
	io->res = proxy->res;
	medium_complete(s->m, op->record, io->flags & PL_IO_DSYNC);
	s->unfinished--;
	free(op);
	io->done(io);
}

static void finish(struct mem_op *op)
{
	struct store_mem *s = op->s;
	op->proxy.done = op_done;
	bool failed = !medium_has_power(s->m) || !op->has_power;
	int32_t res = -EIO;
	if (op->has_power) /* under way when the power went: it may have got there, or a part of it */
		res = do_it(op);
	if (!failed && op->io->kind == PL_IO_FDATASYNC)
		medium_sync(s->m, op->stamp);
	pl_loop_complete(s->store.loop, &op->proxy, failed ? -EIO : res);
}

static struct mem_op *take(struct store_mem *s, uint32_t i)
{
	struct mem_op **at = &s->queue;
	while (i--)
		at = &(*at)->next;
	struct mem_op *op = *at;
	*at = op->next;
	s->queued--;
	return op;
}

static void mem_turn(struct pl_hook *hook)
{
	struct store_mem *s = container_of(hook, struct store_mem, hook);
	uint32_t n = s->m->stuck ? 0 : s->queued;
	if (n > 0 && s->o.order)
		n = 1 + prng_below(s->o.order, n);
	while (n--)
		finish(take(s, s->o.order ? prng_below(s->o.order, s->queued) : 0));
}

/* ---- the waiting calls */

static int mem_set_size(struct store *store, uint64_t bytes)
{
	struct store_mem *s = (struct store_mem *)store;
	if (!medium_spend_power(s->m))
		return pl_fail(-EIO, "%s: no power", store->path);
	medium_complete(s->m, medium_set_size(s->m, bytes), false);
	store->size_bytes = bytes;
	return 0;
}

static uint64_t mem_next_data(struct store *store, uint64_t offset)
{
	const struct mem_file *f = &((struct store_mem *)store)->m->now;
	while (offset < f->held_bytes && f->bytes[offset] == 0)
		offset++;
	return offset < f->held_bytes ? offset : f->size_bytes;
}

static void mem_close(struct store *store)
{
	struct store_mem *s = (struct store_mem *)store;
	invariant(s->unfinished == 0);
	pl_loop_remove_hook(store->loop, &s->hook);
	free(s);
}

static int mem_open_again(struct store *store, const char *path, struct store **out)
{
	struct store_mem *s = (struct store_mem *)store;
	s->m->sealed = false;
	*out = store_mem_open(store->loop, s->m, &s->o);
	(*out)->path = path;
	return 0;
}

static const struct store_ops mem_ops = {
	.submit = mem_submit,
	.set_size = mem_set_size,
	.next_data = mem_next_data,
	.open_again = mem_open_again,
	.close = mem_close,
};

struct store *store_mem_open(struct pl_loop *loop, struct medium *m, const struct store_mem_options *options)
{
	struct store_mem *s = calloc(1, sizeof(*s));
	invariant(s);
	s->o = options ? *options : (struct store_mem_options){0};
	s->m = m;
	s->store = (struct store){
		.ops = &mem_ops,
		.loop = loop,
		.path = "memory",
		.io_align = MAX(s->o.io_align, 1),
		.mem_align = MAX(s->o.mem_align, 1),
		.fd = -1,
		.size_bytes = m->now.size_bytes,
	};
	s->hook.run = mem_turn;
	pl_loop_add_hook(loop, &s->hook);
	return &s->store;
}
