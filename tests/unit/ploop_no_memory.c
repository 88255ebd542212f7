/* Memory ends at the N-th allocation of an open, a fold or a loop, for N = 1, 2, 3… until nothing fails: an error with
 * a sentence each time, nothing lost, nothing leaked. The linker sends the engine's allocations through here. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ploop/fold.h"
#include "ploop/grow.h"
#include "tests/support/rig.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t each);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
char *__wrap_strdup(const char *s);

static uint32_t left; /* allocations until one fails; 0: none does */

static bool fails(void)
{
	return left > 0 && --left == 0;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t each)
{
	return fails() ? NULL : __real_calloc(n, each);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(alignment, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

/* true: nothing failed. */
static bool open_with(struct rig *r, uint32_t n, uint32_t flags)
{
	left = n;
	pl_error_clear();
	int opened = rig_open_flags(r, flags);
	bool clean = left > 0;
	left = 0;
	if (opened == 0) {
		cr_expect(eq(int, rig_close(r), 0), "%s", pl_error());
	} else {
		cr_expect(eq(int, opened, -ENOMEM), "allocation %u: %s", n, pl_error());
		cr_expect(ne(str, (char *)pl_error(), ""));
	}
	return clean;
}

Test(ploop_no_memory, each_allocation_of_an_open_may_fail, .timeout = 60)
{
	char dir[] = "/tmp/no-memory-XXXXXX", path[64];
	struct pl_loop *loop;
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	struct rig_shape shape = {.version = 2, .clusters = 8, .depth = 3, .dir = dir};
	struct rig *r = rig_new(loop, &shape, 1);
	cr_assert(eq(str, r->why, ""));
	for (uint32_t flags = 0; flags <= PL_OPEN_READONLY; flags += PL_OPEN_READONLY) {
		uint32_t n = 1;
		while (!open_with(r, n, flags))
			n++;
		cr_expect(gt(u32, n, 8), "the allocations are not ours");
	}
	cr_assert(eq(int, rig_open(r), 0), "%s", pl_error());
	cr_expect(rig_judge(r, MODEL_PROCESS_DIED), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	rig_free(r);
	pl_loop_free(loop);
	for (uint32_t i = 0; i < shape.depth; i++) {
		snprintf(path, sizeof(path), "%s/level-%u", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

Test(ploop_no_memory, each_allocation_of_a_loop_may_fail)
{
	bool clean = false;
	for (uint32_t n = 1; !clean; n++) {
		struct pl_loop *loop = NULL;
		struct pl_loop_options o = {.size = sizeof(o), .backend = PL_BACKEND_PLAIN};
		left = n;
		int r = pl_loop_new(&o, &loop);
		clean = left > 0;
		left = 0;
		cr_expect(eq(int, r, clean ? 0 : -ENOMEM));
		if (r == 0)
			pl_loop_free(loop);
	}
}

#define SOCKETS 40u

static uint32_t received_count;

static void received(struct pl_io *io)
{
	received_count++;
}

Test(ploop_no_memory, more_sockets_than_there_is_memory_for_are_waited_for_in_turns, .timeout = 60)
{
	struct pl_loop *loop;
	struct pl_loop_options o = {.size = sizeof(o), .backend = PL_BACKEND_PLAIN};
	struct pl_io ios[SOCKETS];
	int fds[SOCKETS][2];
	char bytes[SOCKETS];
	uint32_t turns = 0;
	cr_assert(eq(int, pl_loop_new(&o, &loop), 0));
	for (uint32_t i = 0; i < SOCKETS; i++) {
		cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]), 0));
		cr_assert(eq(sz, (size_t)write(fds[i][1], "x", 1), 1));
		ios[i] = (struct pl_io){.done = received, .kind = PL_IO_RECV, .buf_index = PL_IO_NO_BUFFER};
		ios[i].fd = fds[i][0];
		ios[i].buf = &bytes[i];
		ios[i].length = 1;
		pl_loop_submit(loop, &ios[i]);
	}
	for (; received_count < SOCKETS; turns++) {
		left = 1;
		cr_assert(eq(int, pl_loop_step(loop, true), 0), "%s", pl_error());
	}
	left = 0;
	cr_expect(gt(u32, turns, 1), "the memory did not end");
	for (uint32_t i = 0; i < SOCKETS; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	pl_loop_free(loop);
}

static struct pl_disk *open_pair(struct pl_loop *loop, const struct pl_image_ref *refs, size_t count)
{
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = refs, .count = count};
	struct pl_disk *d = NULL;
	cr_assert(eq(int, pl_disk_open(loop, &chain, NULL, &d), 0), "%s", pl_error());
	return d;
}

/* Two images with a cluster each, that both fill. The parent is smaller and must grow. */
static void make_pair(struct pl_loop *loop, const struct pl_image_ref *refs)
{
	static char data[64 * SECTOR_BYTES] __attribute__((aligned(4096)));
	for (size_t i = 0; i < 2; i++) {
		struct pl_create_options o = {.size = sizeof(o), .cluster_sectors = 64};
		o.size_sectors = i == 0 ? 64 * 100 : 64 * 9000;
		unlink(refs[i].path);
		cr_assert(eq(int, pl_image_create(refs[i].path, &o), 0), "%s", pl_error());
		struct pl_disk *d = open_pair(loop, refs, i + 1);
		memset(data, 'a' + (int)i, sizeof(data));
		cr_assert(eq(int, pl_write(d, data, sizeof(data), i * sizeof(data), 0), 0));
		cr_assert(eq(int, pl_disk_close(d), 0));
	}
}

static void expect_pair_shows(struct pl_loop *loop, const struct pl_image_ref *refs, size_t count)
{
	char data[2] = "", block[SECTOR_BYTES];
	struct pl_disk *d = open_pair(loop, refs, count);
	for (size_t i = 0; i < 2; i++) {
		cr_assert(eq(int, pl_read(d, block, sizeof(block), i * 64 * SECTOR_BYTES), 0));
		data[i] = block[0];
	}
	cr_assert(eq(int, pl_disk_close(d), 0));
	cr_expect(data[0] == 'a' && data[1] == 'b');
}

static void fold_is_done(void *arg, int res)
{
	*(int *)arg = res;
}

/* Grow the parent, fold the child into it, with one allocation failing. */
static int grow_and_fold(struct pl_loop *loop, const struct pl_image_ref *refs, uint32_t n)
{
	int res = 1;
	struct fold *f = NULL;
	struct fold_options o = {.loop = loop, .into = PL_INTO_PARENT, .done = fold_is_done, .arg = &res};
	cr_assert(eq(int, store_file_open(loop, &refs[0], false, &o.parent), 0));
	cr_assert(eq(int, store_file_open(loop, &refs[1], false, &o.child), 0));
	left = n;
	pl_error_clear();
	int r = grow_image(o.parent, 64 * 9000);
	r = r == 0 ? fold_start(&o, &f) : r;
	while (r == 0 && res == 1)
		r = pl_loop_step(loop, true);
	fold_free(f);
	store_close(o.child);
	store_close(o.parent);
	return r < 0 ? r : res;
}

Test(ploop_no_memory, each_allocation_of_a_fold_may_fail, .timeout = 60)
{
	char dir[] = "/tmp/no-memory-XXXXXX", paths[2][64];
	struct pl_image_ref refs[2];
	struct pl_loop *loop;
	bool clean = false;
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	cr_assert(eq(int, pl_loop_new(NULL, &loop), 0));
	for (size_t i = 0; i < 2; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/%zu", dir, i);
		refs[i] = (struct pl_image_ref){.path = paths[i], .dir_fd = -1};
	}
	for (uint32_t n = 1; !clean; n++) {
		make_pair(loop, refs);
		int r = grow_and_fold(loop, refs, n);
		clean = left > 0;
		left = 0;
		/* Without a buffer it waits for one. */
		cr_expect(r == 0 || (r == -ENOMEM && pl_error()[0]), "allocation %u: %d %s", n, r, pl_error());
		expect_pair_shows(loop, refs, 2);
		cr_expect(eq(int, fold_images(&refs[1], &refs[0], PL_INTO_PARENT, 64, NULL), 0), "%s", pl_error());
		expect_pair_shows(loop, refs, 1);
	}
	pl_loop_free(loop);
	unlink(paths[0]);
	unlink(paths[1]);
	rmdir(dir);
}
