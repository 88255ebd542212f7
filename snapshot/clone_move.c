/* Moving a bundle: one rename within a file system, else a copy that appears as a whole, and then the source goes.
 *
 *   step                              on disk                      a crash here leaves         repair
 *   [names made relative: a store]    the same disk                the same                    -
 *   within a file system: rename      here or there                here or there               -
 *   else: copy, as clone_folder.c     the source                   and a hidden folder there   the next move there
 *     the copy is shown               source and copy              both, the same              remove one by hand
 *     source renamed .NAME.part-*     copy, hidden folder here     that                        a clone or move here
 *     hidden folder removed           the copy                     part of the hidden folder   a clone or move here */
#include "snapshot/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct move {
	struct clone_source source;
	struct clone_folder to, from; /* @from: the name that the source gets before it is removed */
	const struct pl_progress *progress;
	int top_fd; /* locked as by a writer */
};

/* Nobody may write the disk from here on. A sealed image has no writer, and its readers are clones with names of their
 * own. */
static int lock_top(struct move *m)
{
	const struct pl_image_ref *top = &m->source.chain.images[m->source.chain.count - 1];
	int sealed = clone_is_sealed(top);
	if (sealed)
		return MIN(sealed, 0);
	m->top_fd = pl_image_open_fd(top, O_RDWR);
	return m->top_fd < 0 ? m->top_fd : lock_image(m->top_fd, LOCK_WRITER, 0, top->path);
}

/* What the descriptor must say so that it says the same elsewhere: names inside of the folder are relative, outside of
 * it absolute. */
static int settle_names(struct move *m)
{
	autodesc struct lay_desc d = {0};
	struct pl_bundle *b = m->source.bundle;
	bool differs = false;
	int r = clone_descriptor_copy(&b->desc, b->path, &d);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d.count; i++) {
		const char *want = b->images[i].dir_fd < 0 ? b->images[i].path : b->images[i].name;
		bool absolute = *d.nodes[i].file == '/';
		if (absolute == (b->images[i].dir_fd < 0))
			continue;
		char *file = strdup(want);
		if (!file)
			return pl_fail(-ENOMEM, "%s: no memory", b->path);
		free(d.nodes[i].file);
		d.nodes[i].file = file;
		differs = true;
	}
	return differs ? bundle_store(b->folder_fd, b->folder, &d, BUNDLE_REPLACE_LOCKED) : 0;
}

static int sync_folder(int fd, const char *path)
{
	return fsync(fd) ? pl_fail(-errno, "fsync the folder of %s: %s", path, strerror(errno)) : 0;
}

/* 1: it is another file system. */
static int move_by_rename(struct move *m)
{
	if (renameat(m->from.parent_fd, m->from.name, m->to.parent_fd, m->to.name)) {
		int r = errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
		return r == -EXDEV ? 1 : pl_fail(r, "move to %s: %s", m->to.target, strerror(-r));
	}
	snap_point("move-renamed");
	int r = sync_folder(m->to.parent_fd, m->to.target);
	return r < 0 ? r : sync_folder(m->from.parent_fd, m->from.target);
}

static int remove_source(struct move *m)
{
	snap_point("move-copied");
	int r = clone_folder_make(&m->from); /* its hidden name; an empty folder, which the source replaces */
	if (r == 0 && renameat(m->from.parent_fd, m->from.name, m->from.parent_fd, m->from.part))
		r = pl_fail(-errno, "rename: %s", strerror(errno));
	if (r == 0)
		r = sync_folder(m->from.parent_fd, m->from.target);
	snap_point("move-hidden");
	if (r == 0) {
		r = clone_tree_remove(m->from.parent_fd, m->from.part);
		r = r < 0 ? pl_fail(r, "%s", strerror(-r)) : 0;
	}
	return r < 0 ? pl_wrap(r, "%s was copied to %s, but could not be removed", m->from.target, m->to.target) : 0;
}

static int move_by_copy(struct move *m)
{
	struct pl_bundle *b = m->source.bundle;
	struct clone_progress progress = {.to = m->progress};
	struct stat st;
	autofd int from = openat(b->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || fstat(from, &st))
		return pl_fail(-errno, "open %s: %s", b->folder, strerror(errno));
	int r = clone_tree_measure(from, b->folder, &progress.total_bytes);
	if (r == 0)
		r = clone_folder_make(&m->to);
	if (r == 0)
		r = clone_tree_copy(from, m->to.fd, b->folder, &progress);
	if (r == 0 && fchown(m->to.fd, st.st_uid, st.st_gid) && errno != EPERM && errno != EINVAL)
		r = pl_fail(-errno, "chown %s: %s", m->to.path, strerror(errno));
	if (r == 0 && fchmod(m->to.fd, st.st_mode & 07777))
		r = pl_fail(-errno, "chmod %s: %s", m->to.path, strerror(errno));
	if (r == 0)
		r = clone_folder_commit(&m->to);
	return r < 0 ? r : remove_source(m);
}

static int prepare(struct move *m, struct pl_bundle *bundle, const char *target)
{
	int r = pl_bundle_recover(bundle, NULL, NULL);
	if (r == 0)
		r = clone_source_open(bundle, NULL, CLONE_LOCK_ALONE, &m->source);
	if (r == 0)
		r = clone_folder_judge(&m->to, target, m->source.bundle->folder);
	if (r == 0)
		r = clone_folder_name(&m->from, m->source.bundle->folder);
	if (r == 0) {
		r = settle_chain(&m->source.chain);
		r = MIN(r, 0);
	}
	if (r == 0)
		r = lock_top(m);
	return r < 0 ? r : settle_names(m);
}

int pl_bundle_move(struct pl_bundle *bundle, const char *target, const struct pl_progress *progress)
{
	struct move m = {
		.source = CLONE_SOURCE_NONE,
		.to = CLONE_FOLDER_NONE,
		.from = CLONE_FOLDER_NONE,
		.progress = progress,
		.top_fd = -1,
	};
	int r = prepare(&m, bundle, target);
	if (r == 0)
		r = move_by_rename(&m);
	if (r == 1)
		r = move_by_copy(&m);
	clone_folder_close(&m.to);
	clone_folder_close(&m.from);
	clone_source_close(&m.source);
	if (m.top_fd >= 0)
		close(m.top_fd);
	return r;
}
