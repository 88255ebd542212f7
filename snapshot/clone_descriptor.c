/* The descriptor of a new bundle: that of the source with one chain left of its tree. */
#include "snapshot/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---- names */

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Is it taken by one of the first @count? */
static bool is_taken(const struct clone_names *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(names->file[i], name))
			return true;
	return false;
}

/* Images of one name in several folders stand in one folder now. */
static int name_image(struct clone_names *names, size_t i, const struct pl_image_ref *image)
{
	const char *own = last_component(image->path);
	int n = asprintf(&names->file[i], "%s", own);
	if (n >= 0 && is_taken(names, i, own)) {
		free(names->file[i]);
		n = asprintf(&names->file[i], "%zu-%s", i, own);
	}
	if (n < 0)
		names->file[i] = NULL;
	return n < 0 ? pl_fail(-ENOMEM, "no memory for a file name") : 0;
}

/* As a snapshot names it: that of the base, and a GUID of its own. */
static int name_top(struct clone_names *names, size_t i, const char *base)
{
	uint8_t uuid[16];
	char text[37];
	int r = identity_random(uuid);
	if (r < 0)
		return r;
	identity_text(uuid, text);
	const char *suffix = strstr(base, ".{");
	int stem = suffix && strlen(suffix) == PL_GUID_TEXT + 1 ? (int)(suffix - base) : (int)strlen(base);
	if (asprintf(&names->file[i], "%.*s.{%s}", stem, base, text) < 0) {
		names->file[i] = NULL;
		return pl_fail(-ENOMEM, "no memory for a file name");
	}
	return 0;
}

int clone_names_make(const struct pl_chain_spec *chain, bool with_top, struct clone_names *out)
{
	*out = (struct clone_names){calloc(chain->count + 1, sizeof(*out->file)), chain->count + with_top};
	if (!out->file)
		return pl_fail(-ENOMEM, "no memory for %zu file names", chain->count);
	int r = 0;
	for (size_t i = 0; r == 0 && i < chain->count; i++)
		r = name_image(out, i, &chain->images[i]);
	if (r == 0 && with_top)
		r = name_top(out, chain->count, out->file[0]);
	return r;
}

void clone_names_free(struct clone_names *names)
{
	for (size_t i = 0; names->file && i < names->count; i++)
		free(names->file[i]);
	free(names->file);
	*names = (struct clone_names){0};
}

/* ---- nodes */

int clone_descriptor_copy(const struct lay_desc *from, const char *path, struct lay_desc *out)
{
	autofree char *text = NULL;
	struct lay_desc_why why;
	size_t n = 0;
	int r = lay_desc_write(from, &text, &n);
	if (r < 0)
		return pl_fail(r, "%s: no memory to copy it", path);
	r = lay_desc_parse(text, n, out, &why);
	return r < 0 ? pl_fail(r, "%s: %s", path, why.text) : 0;
}

static int random_guid(struct lay_guid *out)
{
	uint8_t uuid[16];
	char text[37];
	int r = identity_random(uuid);
	if (r < 0)
		return r;
	identity_text(uuid, text);
	snprintf(out->text, sizeof(out->text), "{%s}", text);
	return 0;
}

/* The GUID of node @i. That of the top can only be the last one's: a template's own top gets another. */
static int choose_guid(const struct clone_source *source, size_t i, size_t count, struct lay_guid *out)
{
	if (i + 1 == count) {
		*out = lay_guid_top;
		return 0;
	}
	if (!lay_guid_parse(source->chain.images[i].guid, out))
		return pl_fail(-EUCLEAN, "%s: image %s has no GUID", source->bundle->path,
			       source->chain.images[i].path);
	return lay_guid_eq(out, &lay_guid_top) ? random_guid(out) : 0;
}

/* What is half merged is so in the copy, too. */
static void copy_marks(const struct clone_source *source, size_t i, struct lay_guid *merging, struct lay_desc *out)
{
	const struct lay_desc *from = &source->bundle->desc;
	struct lay_guid guid;
	if (!lay_guid_parse(source->chain.images[i].guid, &guid))
		return;
	if (i + 1 < out->count)
		out->nodes[i].state = lay_desc_find(from, &guid)->state;
	if (lay_guid_eq(&guid, &from->merging))
		*merging = out->nodes[i].guid;
}

static int set_nodes(struct lay_desc *d, const struct clone_source *source, const struct clone_names *names)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->nodes[i].file);
	free(d->nodes);
	d->count = 0;
	d->nodes = calloc(names->count, sizeof(*d->nodes));
	if (!d->nodes)
		return pl_fail(-ENOMEM, "%s: no memory", source->bundle->path);
	d->count = names->count;
	struct lay_guid parent = lay_guid_none, merging = {0};
	for (size_t i = 0; i < names->count; i++) {
		int r = choose_guid(source, i, names->count, &d->nodes[i].guid);
		d->nodes[i].parent = parent;
		d->nodes[i].file = strdup(names->file[i]);
		if (r < 0 || !d->nodes[i].file)
			return r < 0 ? r : pl_fail(-ENOMEM, "%s: no memory", source->bundle->path);
		parent = d->nodes[i].guid;
		if (i < source->chain.count)
			copy_marks(source, i, &merging, d);
	}
	d->top = lay_guid_top;
	d->merging = merging;
	return 0;
}

/* A snapshot may be older than the size of the disk. */
static void set_size(struct lay_desc *d, uint64_t size_sectors)
{
	if (d->size_sectors == size_sectors)
		return;
	struct lay_chs chs = lay_chs_compute(size_sectors);
	d->size_sectors = size_sectors;
	d->cylinders = chs.cylinders;
	d->heads = chs.heads;
}

/* ---- write */

static int write_text(int folder_fd, const char *path, const char *text, size_t n)
{
	autofd int fd = openat(folder_fd, LAY_DESC_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return pl_fail(-errno, "create %s/" LAY_DESC_NAME ": %s", path, strerror(errno));
	return file_write(fd, text, n, 0, LAY_DESC_NAME);
}

int clone_descriptor_write(const struct clone_source *source, const struct clone_names *names, uint64_t size_sectors,
			   int folder_fd, const char *folder_path)
{
	autodesc struct lay_desc d = {0}, again = {0};
	autofree char *text = NULL;
	struct lay_desc_why why;
	size_t n = 0;
	int r = clone_descriptor_copy(&source->bundle->desc, source->bundle->path, &d);
	if (r == 0)
		r = set_nodes(&d, source, names);
	if (r < 0)
		return r;
	set_size(&d, size_sectors);
	r = lay_desc_write(&d, &text, &n);
	if (r < 0)
		return pl_fail(r, "%s: no memory to write " LAY_DESC_NAME, folder_path);
	r = lay_desc_parse(text, n, &again, &why);
	if (r < 0)
		return pl_fail(-EINVAL, "%s: the new " LAY_DESC_NAME " would be refused: %s", folder_path, why.text);
	return write_text(folder_fd, folder_path, text, n);
}
