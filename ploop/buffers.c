/* Payload memory in four size classes. A class gets its memory, and is registered with the ring, on first use.
 *
 *   class 0: 512 × 4 KiB · 1: 64 × 32 KiB · 2: 48 × 128 KiB · 3: 8 × 1 MiB, and on demand up to 2 of 32 MiB
 *
 * Bounded: when a class is empty the next larger one serves, then the caller waits. Memory of a class in which
 * nothing is taken goes back to the system after a few idle seconds; the server's own memory is what remains. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/invariant.h"
#include "ploop/loop.h"

#define HUGE_MAX_COUNT 2u /* of PL_BUF_MAX_BYTES */
#define CLASS_HUGE BUF_CLASSES
#define IDLE_NS (5 * NS_PER_S)

static const struct {
	uint32_t bytes, count;
} classes[BUF_CLASSES] = {
	{4u << 10, 512},
	{32u << 10, 64},
	{128u << 10, 48},
	{1u << 20, 8},
};

struct buf_class {
	void *base;
	struct pl_buf *bufs; /* one per buffer */
	struct pl_buf *free;
	uint32_t taken;
	bool registered;
};

struct buf_pool {
	struct buf_class class[BUF_CLASSES];
	uint32_t huge_taken;
	struct pl_timer idle;
	struct pl_loop *loop;
	uint64_t gets, gets_at_last_look;
};

static size_t class_bytes(unsigned c)
{
	return (size_t)classes[c].bytes * classes[c].count;
}

static void class_drop(struct buf_pool *pool, unsigned c)
{
	struct buf_class *k = &pool->class[c];
	if (!k->base)
		return;
	if (k->registered)
		pool->loop->ops->register_memory(pool->loop, c, NULL, 0);
	munmap(k->base, class_bytes(c));
	free(k->bufs);
	*k = (struct buf_class){0};
}

static void idle_look(struct pl_timer *timer)
{
	struct buf_pool *pool = container_of(timer, struct buf_pool, idle);
	bool idle = pool->gets == pool->gets_at_last_look;
	bool any = false;
	pool->gets_at_last_look = pool->gets;
	for (unsigned c = 0; c < BUF_CLASSES; c++) {
		if (idle && pool->class[c].taken == 0)
			class_drop(pool, c);
		any |= pool->class[c].base != NULL;
	}
	if (any)
		pl_timer_start(pool->loop, timer, IDLE_NS);
}

static int class_fill(struct buf_pool *pool, unsigned c)
{
	struct buf_class *k = &pool->class[c];
	size_t bytes = class_bytes(c);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct pl_buf *bufs = calloc(classes[c].count, sizeof(*bufs));
	if (base == MAP_FAILED || !bufs) {
		if (base != MAP_FAILED)
			munmap(base, bytes);
		free(bufs);
		return -ENOMEM;
	}
	madvise(base, bytes, MADV_HUGEPAGE);
	madvise(base, bytes, MADV_DONTFORK);
	k->base = base;
	k->bufs = bufs;
	k->registered = pool->loop->ops->register_memory(pool->loop, c, base, bytes) == 0;
	for (uint32_t i = classes[c].count; i-- > 0;) {
		bufs[i] = (struct pl_buf){
			.data = (char *)base + (size_t)i * classes[c].bytes,
			.size_bytes = classes[c].bytes,
			.index = k->registered ? (uint16_t)c : PL_IO_NO_BUFFER,
			.class_id = (uint16_t)c,
			.next = k->free,
		};
		k->free = &bufs[i];
	}
	if (!pool->idle.deadline_ns)
		pl_timer_start(pool->loop, &pool->idle, IDLE_NS);
	return 0;
}

struct buf_pool *buf_pool_new(void)
{
	struct buf_pool *pool = calloc(1, sizeof(*pool));
	if (pool)
		pool->idle.fire = idle_look;
	return pool;
}

void buf_pool_free(struct buf_pool *pool)
{
	for (unsigned c = 0; c < BUF_CLASSES; c++) {
		invariant(pool->class[c].taken == 0);
		pool->class[c].registered = false; /* the ring is gone */
		class_drop(pool, c);
	}
	free(pool);
}

static struct pl_buf *get_huge(struct buf_pool *pool)
{
	if (pool->huge_taken == HUGE_MAX_COUNT)
		return NULL;
	struct pl_buf *buf = calloc(1, sizeof(*buf));
	void *data = mmap(NULL, PL_BUF_MAX_BYTES, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!buf || data == MAP_FAILED) {
		if (data != MAP_FAILED)
			munmap(data, PL_BUF_MAX_BYTES);
		free(buf);
		return NULL;
	}
	pool->huge_taken++;
	*buf = (struct pl_buf){
		.data = data,
		.size_bytes = PL_BUF_MAX_BYTES,
		.index = PL_IO_NO_BUFFER,
		.class_id = CLASS_HUGE,
	};
	return buf;
}

struct pl_buf *pl_buf_get(struct pl_loop *loop, uint32_t bytes)
{
	struct buf_pool *pool = loop->bufs;
	invariant(bytes <= PL_BUF_MAX_BYTES);
	pool->loop = loop;
	pool->gets++;
	for (unsigned c = 0; c < BUF_CLASSES; c++) {
		struct buf_class *k = &pool->class[c];
		if (classes[c].bytes < bytes)
			continue;
		if (unlikely(!k->base) && class_fill(pool, c) < 0)
			return NULL;
		struct pl_buf *buf = k->free;
		if (likely(buf != NULL)) {
			k->free = buf->next;
			k->taken++;
			return buf;
		}
	}
	return get_huge(pool);
}

void pl_buf_put(struct pl_loop *loop, struct pl_buf *buf)
{
	struct buf_pool *pool = loop->bufs;
	if (buf->class_id == CLASS_HUGE) {
		munmap(buf->data, buf->size_bytes);
		free(buf);
		pool->huge_taken--;
		return;
	}
	struct buf_class *k = &pool->class[buf->class_id];
	buf->next = k->free;
	k->free = buf;
	k->taken--;
}
