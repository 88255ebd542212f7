/* pl_clone(): the order of the steps. What each leaves on disk is in README.md. */
#include "snapshot/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct clone {
	struct pl_bundle *given;
	struct pl_live *live;
	struct pl_clone_options options;
	struct pl_clone_result *result;
	struct clone_folder folder;
	struct clone_source source;
	struct clone_names names;
	struct pl_loop *loop;
};

/* @then with @chain open; closed afterwards. A failing close of a disk that was written is a failure. */
static int with_disk(struct clone *c, const struct pl_chain_spec *chain, uint32_t flags,
		     int (*then)(struct clone *c, struct pl_disk *disk))
{
	struct pl_open_options options = {.size = sizeof(options), .flags = flags};
	struct pl_disk *disk;
	int r = pl_disk_open(c->loop, chain, &options, &disk);
	if (r < 0)
		return r;
	r = then(c, disk);
	char why[512];
	snprintf(why, sizeof(why), "%s", pl_error());
	int closed = pl_disk_close(disk);
	return r < 0 ? pl_fail(r, "%s", why) : closed;
}

/* 1: planned; 0: there is nothing to change. */
static int plan_identity(struct clone *c, struct pl_disk *disk, struct identity *id)
{
	if (c->options.keep_identity)
		return 0;
	const char *told = id->told;
	int r = 0;
	if (c->source.bundle->desc.key_id)
		told = "the disk is encrypted, so it keeps its identity";
	else
		r = identity_plan(disk, id);
	if (r == 0)
		snprintf(c->result->identity, sizeof(c->result->identity), "%s", told);
	return r < 0 ? r : id->count > 0;
}

static const struct pl_image_ref *last_image(const struct clone *c)
{
	return &c->source.chain.images[c->source.chain.count - 1];
}

static void name_ground(struct clone *c)
{
	memcpy(c->result->guid, last_image(c)->guid, sizeof(c->result->guid));
}

/* ---- linked */

static int fail_other_filesystem(const struct pl_image_ref *image)
{
	return pl_fail(-EXDEV, "%s is in another file system: only a full clone (--full) can leave it", image->path);
}

/* Through the file that was judged, so that nobody can change what the name means in between. */
static int link_image(const struct pl_image_ref *image, int folder_fd, const char *name)
{
	char self[64];
	autofd int fd = pl_image_open_fd(image, O_RDONLY);
	if (fd < 0)
		return fd;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, self, folder_fd, name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	switch (errno) {
	case EXDEV:
		return fail_other_filesystem(image);
	case EMLINK:
		return pl_fail(-EMLINK, "%s has as many links as its file system allows: make a full clone (--full)",
			       image->path);
	case EPERM: /* fs.protected_hardlinks */
		return pl_fail(-EPERM, "%s belongs to somebody else, so it cannot be linked: use --full",
			       image->path);
	default:
		return pl_fail(-errno, "link %s: %s", image->path, strerror(errno));
	}
}

/* What both kinds end with: the descriptor, and the sync of what was not synced before, @top (NULL: nothing) too. */
static int write_descriptor(struct clone *c, struct pl_disk *disk, const char *top)
{
	struct pl_disk_info info;
	pl_disk_get_info(disk, &info);
	int r = clone_descriptor_write(&c->source, &c->names, info.size_bytes / SECTOR_BYTES, c->folder.fd,
				       c->folder.path);
	const char *names[] = {LAY_DESC_NAME, top};
	return r < 0 ? r : clone_folder_sync(&c->folder, names, top ? 2 : 1);
}

static int write_linked(struct clone *c, struct pl_disk *below)
{
	size_t count = c->source.chain.count;
	const char *top = c->names.file[count];
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = link_image(&c->source.chain.images[i], c->folder.fd, c->names.file[i]);
	if (r < 0)
		return r;
	autofree struct identity *id = calloc(1, sizeof(*id));
	autofree char *path = NULL;
	if (!id || asprintf(&path, "%s/%s", c->folder.path, top) < 0)
		return pl_fail(-ENOMEM, "%s: no memory", c->folder.target);
	r = plan_identity(c, below, id);
	if (r >= 0)
		r = clone_top_write(c->folder.fd, top, path, below, r ? id : NULL);
	return r < 0 ? r : write_descriptor(c, below, top);
}

static int link_chain(struct clone *c, const char *guid)
{
	int r = clone_source_open(c->given, guid, CLONE_LOCK_SHARED, &c->source);
	if (r == 0)
		r = clone_source_refuse_unsettled(&c->source);
	if (r < 0)
		return r;
	name_ground(c);
	if (c->source.chain.count == PL_MAX_CHAIN)
		return pl_fail(-E2BIG, "%s: its chain has %d images, which is the limit: make a full clone (--full)",
			       c->given->path, PL_MAX_CHAIN);
	r = clone_names_make(&c->source.chain, true, &c->names);
	/* Open for reading all the while: whoever wants to write one of these images has to wait. */
	return r < 0 ? r : with_disk(c, &c->source.chain, PL_OPEN_READONLY, write_linked);
}

/* Does what the caller asked for stand on an image that nobody writes? 1, or 0: it needs a snapshot. */
static int ground_is_still(struct clone *c)
{
	autosource struct clone_source s = CLONE_SOURCE_NONE;
	struct stat image, folder;
	int r = clone_source_open(c->given, c->options.guid, CLONE_LOCK_SHARED, &s);
	if (r < 0)
		return r;
	const struct pl_image_ref *last = &s.chain.images[s.chain.count - 1];
	autofd int fd = pl_image_open_fd(last, O_RDONLY);
	if (fd < 0)
		return fd;
	if (fstat(fd, &image) || fstat(c->folder.fd, &folder))
		return pl_fail(-errno, "stat %s: %s", last->path, strerror(errno));
	if (image.st_dev != folder.st_dev) /* before a snapshot is made in vain */
		return fail_other_filesystem(last);
	return !s.is_top || clone_mode_is_sealed(image.st_mode);
}

static int clone_linked(struct clone *c)
{
	struct pl_snapshot_options options = {
		.size = sizeof(options),
		.freeze = c->options.freeze,
		.freeze_arg = c->options.freeze_arg,
	};
	struct pl_snapshot_result made;
	int r = ground_is_still(c);
	if (r < 0)
		return r;
	if (r)
		return link_chain(c, c->options.guid);

	r = pl_snapshot_create(c->given, c->live, &options, &made);
	if (r < 0)
		return r;
	c->result->made_snapshot = true;
	r = link_chain(c, made.guid);
	if (r == 0)
		return 0;
	/* Without the clone the snapshot has no purpose. */
	char why[512];
	enum pl_snapshot_end end;
	snprintf(why, sizeof(why), "%s", pl_error());
	clone_source_close(&c->source);
	if (pl_snapshot_delete(c->given, c->live, made.guid, NULL, &end) < 0)
		return pl_fail(r, "%s; the snapshot %s that was made for the clone stays", why, made.guid);
	return pl_fail(r, "%s", why);
}

/* ---- full */

static int copy_image(struct clone *c, size_t i, struct clone_progress *progress)
{
	const struct pl_image_ref *image = &c->source.chain.images[i];
	autofd int from = pl_image_open_fd(image, O_RDONLY);
	if (from < 0)
		return from;
	autofd int to = openat(c->folder.fd, c->names.file[i], O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			       0600);
	if (to < 0)
		return pl_fail(-errno, "create %s/%s: %s", c->folder.path, c->names.file[i], strerror(errno));
	int r = clone_copy_file(from, to, image->path, progress);
	return r < 0 ? r : file_sync(to, c->names.file[i]);
}

static int measure(struct clone *c, uint64_t *bytes)
{
	*bytes = 0;
	for (size_t i = 0; i < c->source.chain.count; i++) {
		struct stat st;
		autofd int fd = pl_image_open_fd(&c->source.chain.images[i], O_RDONLY);
		if (fd < 0)
			return fd;
		if (fstat(fd, &st) == 0)
			*bytes += (uint64_t)st.st_blocks * SECTOR_BYTES;
	}
	return 0;
}

static int copy_images(struct clone *c, struct pl_disk *disk)
{
	struct clone_progress progress = {.to = c->options.progress};
	int r = measure(c, &progress.total_bytes);
	for (size_t i = 0; r == 0 && i < c->source.chain.count; i++)
		r = copy_image(c, i, &progress);
	return r < 0 ? r : write_descriptor(c, disk, NULL);
}

static int write_identity(struct clone *c, struct pl_disk *disk)
{
	autofree struct identity *id = calloc(1, sizeof(*id));
	if (!id)
		return pl_fail(-ENOMEM, "%s: no memory", c->folder.target);
	int r = plan_identity(c, disk, id);
	for (size_t i = 0; r == 1 && i < id->count; i++) {
		const struct identity_patch *p = &id->patches[i];
		int w = pl_write(disk, p->bytes, p->length_bytes, p->offset_bytes, 0);
		r = w < 0 ? pl_wrap(w, "write the new identity") : r;
	}
	return MIN(r, 0);
}

/* The copy is a disk that nobody else has: opened and closed, it is clean whatever state the source was in. */
static int finish_copy(struct clone *c)
{
	size_t count = c->source.chain.count;
	autofree struct pl_image_ref *images = calloc(count, sizeof(*images));
	if (!images)
		return pl_fail(-ENOMEM, "%s: no memory", c->folder.target);
	for (size_t i = 0; i < count; i++) {
		images[i] = c->source.chain.images[i];
		images[i].path = images[i].name = c->names.file[i];
		images[i].dir_fd = c->folder.fd;
	}
	struct pl_chain_spec chain = c->source.chain;
	chain.images = images;
	return with_disk(c, &chain, 0, write_identity);
}

/* @guid NULL: the disk is stopped and stays so, because we read its top under a lock. */
static int copy_chain(struct clone *c, const char *guid)
{
	int r = clone_source_open(c->given, guid, CLONE_LOCK_SHARED, &c->source);
	if (r == 0 && c->options.guid)
		r = clone_source_refuse_unsettled(&c->source);
	if (r < 0)
		return r;
	name_ground(c);
	if (c->source.is_top) /* what a dead server left is part of the disk's state */
		r = settle_chain(&c->source.chain);
	if (r >= 0)
		r = clone_names_make(&c->source.chain, false, &c->names);
	if (r == 0)
		r = with_disk(c, &c->source.chain, PL_OPEN_READONLY, copy_images);
	return r < 0 ? r : finish_copy(c);
}

/* A running disk is copied as of a snapshot, which goes when the copy is made. */
static int copy_running(struct clone *c)
{
	struct pl_snapshot_options options = {
		.size = sizeof(options),
		.temporary = true,
		.freeze = c->options.freeze,
		.freeze_arg = c->options.freeze_arg,
	};
	struct pl_snapshot_result made;
	enum pl_snapshot_end end;
	char why[512];
	int r = pl_snapshot_create(c->given, c->live, &options, &made);
	if (r < 0)
		return r;
	r = copy_chain(c, made.guid);
	snprintf(why, sizeof(why), "%s", pl_error());
	clone_source_close(&c->source);
	int gone = pl_snapshot_delete(c->given, c->live, made.guid, NULL, &end);
	if (r == 0 && gone < 0)
		pl_log(PL_LOG_WARN, "snap", "the temporary snapshot stays guid=%s error=%d", made.guid, gone);
	return r < 0 ? pl_fail(r, "%s", why) : 0;
}

static int clone_full(struct clone *c)
{
	return c->live && !c->options.guid ? copy_running(c) : copy_chain(c, c->options.guid);
}

/* ---- both */

static int make(struct clone *c, const char *target)
{
	int r = clone_folder_judge(&c->folder, target, c->given->folder);
	if (r == 0)
		r = pl_loop_new(&(struct pl_loop_options){.size = sizeof(struct pl_loop_options)}, &c->loop);
	if (r == 0)
		r = clone_folder_make(&c->folder);
	snap_point("clone-folder-made");
	if (r == 0)
		r = c->options.full ? clone_full(c) : clone_linked(c);
	snap_point("clone-filled");
	return r < 0 ? r : clone_folder_commit(&c->folder);
}

int pl_clone(struct pl_bundle *source, struct pl_live *live, const char *target, const struct pl_clone_options *options,
	     struct pl_clone_result *out)
{
	struct pl_clone_result result = {0};
	struct clone c = {
		.given = source,
		.live = live,
		.result = &result,
		.folder = CLONE_FOLDER_NONE,
		.source = CLONE_SOURCE_NONE,
	};
	memcpy(&c.options, options, MIN(options->size, sizeof(c.options)));
	int r = make(&c, target);
	clone_source_close(&c.source);
	clone_folder_close(&c.folder);
	clone_names_free(&c.names);
	pl_loop_free(c.loop);
	if (r == 0)
		*out = result;
	return r;
}
