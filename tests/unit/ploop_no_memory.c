/* Memory ends at the N-th allocation of an open and a close, for N = 1, 2, 3… until nothing fails: an error with a
 * sentence each time, nothing lost, nothing leaked. The linker sends the engine's allocations through here. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
