#include "snapshot/op.h"

#include "snapshot/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOCK_WAIT_MS 500u /* for an owner on its way out */

void (*snap_point_hook)(const char *name);

void snap_end(struct snap_op *op)
{
	if (op->lock_fd >= 0)
		close(op->lock_fd);
	free(op->told);
	*op = (struct snap_op)SNAP_OP_NONE;
}

void snap_tell(struct snap_op *op, const char *fmt, ...)
{
	char line[512], *longer = NULL;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	pl_log(PL_LOG_INFO, "snap", "%s bundle=%s", line, op->bundle->folder);
	if (asprintf(&longer, "%s%s%s", op->told ? op->told : "", op->told ? "; " : "", line) < 0)
		return; /* the log has it */
	free(op->told);
	op->told = longer;
}

/* ---- the descriptor */

int snap_edit(const struct snap_op *op, struct lay_desc *out)
{
	int r = lay_desc_copy(&op->bundle->desc, out);
	return r ? pl_fail(r, "%s: no memory to change it", op->bundle->path) : 0;
}

int snap_store(struct snap_op *op, struct lay_desc *desc)
{
	struct pl_bundle *b = op->bundle;
	int r = bundle_store(b->folder_fd, b->folder, desc, BUNDLE_REPLACE_LOCKED);
	return r ? r : bundle_reload(b);
}

int snap_set_state(struct snap_op *op, const struct lay_guid *guid, enum lay_desc_state state)
{
	autodesc struct lay_desc d = {0};
	int r = snap_edit(op, &d);
	if (r)
		return r;
	lay_desc_find(&d, guid)->state = state;
	return snap_store(op, &d);
}

int snap_store_without(struct snap_op *op, struct lay_desc *desc, const struct pl_image_ref *gone, const char *also)
{
	const char *name = snap_plain_name(gone);
	autofree char *elsewhere = name ? NULL : strdup(gone->path); /* the bundle's is void after the store */
	int r = name || elsewhere ? snap_list_garbage(op, name, also)
				  : pl_fail(-ENOMEM, "%s: no memory to change it", op->bundle->path);
	if (r)
		return r;
	snap_point("store without: listed");
	r = snap_store(op, desc);
	if (r)
		return r;
	snap_point("store without: stored");
	if (elsewhere && unlink(elsewhere))
		pl_log(PL_LOG_WARN, "snap", "%s: %s", elsewhere, strerror(errno));
	r = snap_sweep(op);
	snap_point("store without: swept");
	return r;
}

static int judge_guid(const struct snap_op *op, const char *text, struct lay_guid *out)
{
	return bundle_guid(text, out)
		       ? 0
		       : pl_fail(-EINVAL, "%s: snapshot \"%.64s\" is not a UUID", op->bundle->path, text);
}

int snap_find(const struct snap_op *op, const char *guid, struct lay_desc_node **out)
{
	struct lay_guid wanted;
	int r = judge_guid(op, guid, &wanted);
	if (r)
		return r;
	*out = snap_node(op, &wanted);
	return *out ? 0 : pl_fail(-ENOENT, "%s: there is no snapshot %s", op->bundle->path, wanted.text);
}

static int random_guid(struct lay_guid *out)
{
	uint8_t uuid[16];
	char text[37];
	int r = identity_random(uuid);
	if (r)
		return r;
	identity_text(uuid, text);
	bundle_guid(text, out);
	return 0;
}

int snap_new_guid(const struct snap_op *op, const char *guid, struct lay_guid *out)
{
	int r = guid ? judge_guid(op, guid, out) : random_guid(out);
	if (r)
		return r;
	if (lay_guid_eq(out, &lay_guid_none) || lay_guid_eq(out, &lay_guid_top))
		return pl_fail(-EINVAL, "%s: %s cannot be the id of a snapshot", op->bundle->path, out->text);
	return snap_node(op, out) ? pl_fail(-EEXIST, "%s: snapshot %s exists", op->bundle->path, out->text) : 0;
}

int snap_place_in_chain(const struct snap_op *op, const struct lay_guid *guid)
{
	const struct lay_desc *d = &op->bundle->desc;
	int above = 0, place = -1;
	for (const struct lay_desc_node *n = lay_desc_find(d, &d->top); n; n = lay_desc_find(d, &n->parent)) {
		if (lay_guid_eq(&n->guid, guid))
			place = above;
		above++;
	}
	return place < 0 ? -1 : above - 1 - place;
}

/* ---- files */

int snap_list_garbage(struct snap_op *op, const char *a, const char *b)
{
	const char *names[] = {a, b};
	return unlink_list_set(op->bundle, op->lock_fd, names, ARRAY_LEN(names));
}

int snap_sweep(struct snap_op *op)
{
	return unlink_list_sweep(op->bundle, op->lock_fd, NULL);
}

void snap_sweep_quietly(struct snap_op *op)
{
	char why[1024];
	snprintf(why, sizeof(why), "%s", pl_error());
	if (snap_sweep(op))
		pl_log(PL_LOG_WARN, "snap", "%s", pl_error());
	pl_fail(0, "%s", why);
}

int snap_new_file_name(const struct snap_op *op, bool stripped, char **out)
{
	const char *path = op->bundle->images[0].path;
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t n = stripped ? unlink_list_stem(base) : strlen(base);
	struct lay_guid guid;
	int r = random_guid(&guid);
	if (r)
		return r;
	if (asprintf(out, "%.*s.%s", (int)n, base, guid.text) >= 0)
		return 0;
	*out = NULL;
	return pl_fail(-ENOMEM, "%s: no memory for a file name", op->bundle->path);
}

int snap_create_delta(const struct snap_op *op, const char *name, const struct pl_image_ref *below)
{
	const struct pl_bundle *b = op->bundle;
	struct pl_image_info info;
	autofree char *path = NULL;
	int r = pl_image_info(below, &info);
	if (r)
		return r;
	if (asprintf(&path, "%s/%s", b->folder, name) < 0) {
		path = NULL;
		return pl_fail(-ENOMEM, "%s: no memory for a path", b->path);
	}
	bool raw = below->format == PL_FORMAT_RAW;
	struct pl_create_options options = {
		.size = sizeof(options),
		.size_sectors = raw && b->desc.size_sectors ? b->desc.size_sectors : info.size_sectors,
		.cluster_sectors = raw ? b->desc.cluster_sectors : info.cluster_sectors,
		.version = raw ? 2 : info.version,
	};
	return pl_image_create(path, &options);
}

int snap_check_own(const struct pl_image_ref *image)
{
	struct stat st;
	int r = image_look(image, &st);
	if (r)
		return r;
	if (st.st_nlink > 1)
		return pl_fail(-EMLINK, "%s is shared with %lu other bundle%s", image->path,
			       (unsigned long)st.st_nlink - 1, st.st_nlink > 2 ? "s" : "");
	if (!(st.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH)))
		return pl_fail(-EROFS, "%s is sealed: nobody may write it", image->path);
	return 0;
}

int snap_lock_image(const struct pl_image_ref *image, int *fd)
{
	int r = settle_image(image);
	if (r < 0)
		return r;
	autofd int file = pl_image_open_fd(image, O_RDWR);
	if (file < 0)
		return file;
	r = lock_image(file, LOCK_WRITER, LOCK_WAIT_MS, image->path);
	if (!r)
		*fd = fd_steal(&file);
	return r;
}

int snap_lock_own(const struct pl_image_ref *image, int *fd)
{
	int r = snap_check_own(image);
	if (r == -EMLINK || r == -EROFS)
		return 0;
	return r ? r : snap_lock_image(image, fd);
}

int snap_check_unused(const struct pl_image_ref *image)
{
	autofd int fd = -1;
	return snap_lock_own(image, &fd);
}
