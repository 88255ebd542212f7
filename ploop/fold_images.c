/* Folding the images of a stopped disk: who may, what a dead server left, a parent that is too small. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "ploop/fold_job.h"
#include "ploop/grow.h"
#include "ploop/image_fd.h"
#include "ploop/lock.h"
#include "ploop/settle.h"

#define LOCK_WAIT_MS 2000u
#define DEPTH 8u

struct pair {
	struct fold_options o;
	const struct pl_progress *progress;
	bool is_done;
	int res;
};

/* ---- files */

static void close_locked(struct store *store)
{
	if (!store)
		return;
	lock_drop(store->fd);
	store_close(store);
}

static int refuse_shared(const struct store *store)
{
	struct stat st;
	if (fstat(store->fd, &st) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", store->path, strerror(errno));
	if (st.st_nlink > 1)
		return pl_fail(-EMLINK, "%s has %lu names: another bundle shares it, it cannot be merged into",
			       store->path, (unsigned long)st.st_nlink);
	return 0;
}

/* The writer's lock of both, so that nobody else has them. Of a source that other bundles share, or that is sealed for
 * them, the reader's: they go on with it. */
static int open_locked(struct pl_loop *loop, const struct pl_image_ref *ref, bool is_source, struct store **out)
{
	struct stat st = {0};
	int r = settle_image(ref);
	if (r >= 0)
		r = image_look(ref, &st);
	if (r < 0)
		return r;
	bool reads = is_source && (st.st_nlink > 1 || (st.st_mode & 0222) == 0);
	r = store_file_open(loop, ref, reads, out);
	if (r == 0)
		r = lock_image((*out)->fd, reads ? LOCK_READER : LOCK_WRITER, LOCK_WAIT_MS, ref->path);
	if (r == 0)
		r = store_file_measure(*out); /* D10 */
	return r < 0 || is_source ? r : refuse_shared(*out);
}

/* ---- the fold */

static void fold_is_done(void *arg, int res)
{
	struct pair *p = arg;
	p->is_done = true;
	p->res = res;
}

static void tell_progress(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	const struct pair *p = arg;
	if (p->progress && p->progress->step)
		p->progress->step(p->progress->arg, done_bytes, total_bytes);
}

static bool is_cancelled(const struct pair *p)
{
	return p->progress && p->progress->cancelled && p->progress->cancelled(p->progress->arg);
}

static int run(struct pair *p, struct fold *f)
{
	bool asked = false;
	fold_begin(f);
	while (!p->is_done) {
		if (!asked && is_cancelled(p)) {
			asked = true;
			fold_cancel(f);
		}
		int r = pl_loop_step(p->o.loop, true);
		if (r < 0)
			return r; /* the ring is broken: what it still has in hand must not be freed */
	}
	fold_free(f);
	return p->res;
}

static int grow_parent(struct pair *p, uint64_t size_sectors)
{
	if (p->o.parent_format == PL_FORMAT_RAW)
		return grow_raw(p->o.parent, size_sectors);
	return grow_image(p->o.parent, size_sectors);
}

static int fold_opened(struct pair *p)
{
	struct fold *f;
	uint64_t must_have_sectors;
	int r = fold_new(&p->o, &f, &must_have_sectors);
	if (r == 0 && must_have_sectors) {
		r = grow_parent(p, must_have_sectors);
		if (r == 0)
			r = fold_new(&p->o, &f, &must_have_sectors);
	}
	return r < 0 ? r : run(p, f);
}

static int fold_on(struct pl_loop *loop, const struct pl_image_ref *child, const struct pl_image_ref *parent,
		   struct pair *p)
{
	bool up = p->o.into == PL_INTO_PARENT;
	p->o.loop = loop;
	int r = open_locked(loop, child, up, &p->o.child);
	if (r == 0)
		r = open_locked(loop, parent, !up, &p->o.parent);
	if (r == 0)
		r = fold_opened(p);
	close_locked(p->o.child);
	close_locked(p->o.parent);
	return r;
}

int fold_images(const struct pl_image_ref *child, const struct pl_image_ref *parent, enum pl_merge_into into,
		uint32_t cluster_sectors, const struct pl_progress *progress)
{
	struct pair p = {
		.o = {
			.parent_format = parent->format,
			.into = into,
			.cluster_sectors = cluster_sectors,
			.depth = DEPTH,
			.progress = tell_progress,
			.done = fold_is_done,
			.arg = &p,
		},
		.progress = progress,
	};
	if (child->format == PL_FORMAT_RAW)
		return pl_fail(-EINVAL, "%s is raw: only the base of a chain can be", child->path);
	struct pl_loop *loop;
	int r = pl_loop_new(NULL, &loop);
	if (r < 0)
		return r;
	r = fold_on(loop, child, parent, &p);
	pl_loop_free(loop);
	return r;
}
