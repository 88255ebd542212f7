/* Where the images of a bundle are (D9): beneath its folder, without "..", without symlinks, unless the operator named
 * the file. Decided once, at open; what may be opened later is what pl_image_ref says then. */
#include "ploop/bundle.h"

#include "ploop/image_fd.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

int bundle_name_below(const char *folder, const char *file, char **out)
{
	bool absolute = *file == '/';
	size_t skip = absolute ? strlen(folder) : 0;
	if (absolute && strncmp(file, folder, skip))
		return -EXDEV;
	if (absolute && folder[skip - 1] != '/' && file[skip] != '/' && file[skip] != '\0') /* /a/bc is not in /a/b */
		return -EXDEV;

	autofree char *name = malloc(strlen(file) - skip + 2); /* 2: "." and its end */
	if (!name)
		return pl_fail(-ENOMEM, "no memory for a file name");
	size_t n = 0;
	for (const char *part = file + skip; *part;) {
		part += strspn(part, "/");
		size_t length = strcspn(part, "/");
		if (length == 2 && !memcmp(part, "..", 2))
			return -EXDEV;
		if (length && !(length == 1 && *part == '.')) {
			if (n)
				name[n++] = '/';
			memcpy(name + n, part, length);
			n += length;
		}
		part += length;
	}
	if (!n)
		name[n++] = '.';
	name[n] = '\0';
	*out = mem_steal(&name);
	return 0;
}

static int join_path(const char *folder, const char *name, char **out)
{
	if (asprintf(out, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name) < 0) {
		*out = NULL;
		return pl_fail(-ENOMEM, "no memory for a path");
	}
	return 0;
}

/* -EXDEV, -ELOOP: not beneath the folder. */
static int locate_below(const struct pl_bundle *b, const char *file, struct pl_image_ref *ref, struct stat *st)
{
	autofree char *name = NULL, *path = NULL;
	int r = bundle_name_below(b->folder, file, &name);
	if (!r)
		r = join_path(b->folder, name, &path);
	if (r)
		return r;
	struct pl_image_ref found = *ref;
	found.dir_fd = b->folder_fd;
	found.name = name;
	found.path = path;
	r = image_look(&found, st);
	if (r && r != -ENOENT)
		return r;
	if (r)
		*st = (struct stat){0};
	*ref = found;
	mem_steal(&name);
	mem_steal(&path);
	return 0;
}

/* Is @file, wherever it leads, one of those the operator named? Paths are followed only when there is such a list. */
static int locate_outside(const struct pl_bundle *b, const char *file, const char *const *outside,
			  struct pl_image_ref *ref, struct stat *st)
{
	autofree char *wanted = NULL;
	if (!outside || !*outside)
		return -EXDEV;
	if (*file != '/') {
		int r = join_path(b->folder, file, &wanted);
		if (r)
			return r;
	}
	autofree char *real = realpath(wanted ? wanted : file, NULL);
	for (; real && *outside; outside++) {
		autofree char *allowed = realpath(*outside, NULL);
		if (!allowed || strcmp(allowed, real))
			continue;
		ref->path = mem_steal(&real);
		return image_look(ref, st);
	}
	return -EXDEV;
}

static int locate_node(struct pl_bundle *b, size_t i, const char *const *outside, struct stat *st)
{
	const struct lay_desc_node *node = &b->desc.nodes[i];
	struct pl_image_ref *ref = &b->images[i];
	bool raw = b->desc.mode == LAY_DESC_RAW && lay_guid_eq(&node->parent, &lay_guid_none);

	*ref = (struct pl_image_ref){.dir_fd = -1, .format = raw ? PL_FORMAT_RAW : PL_FORMAT_PLOOP};
	memcpy(ref->guid, node->guid.text, sizeof(ref->guid));

	int r = locate_below(b, node->file, ref, st);
	bool symlink = r == -ELOOP;
	if (symlink || r == -EXDEV)
		r = locate_outside(b, node->file, outside, ref, st);
	if (r == -EXDEV)
		return pl_fail(r, "%s: File \"%s\" of image %s %s: name that file with --outside to allow it", b->path,
			       node->file, node->guid.text,
			       symlink ? "goes through a symbolic link" : "lies outside the folder of the disk");
	return r ? pl_wrap(r, "%s: image %s", b->path, node->guid.text) : 0;
}
static_assert(sizeof(((struct pl_image_ref *)0)->guid) == sizeof(struct lay_guid), "the same text");

struct identity {
	dev_t dev;
	ino_t ino;
	const struct lay_desc_node *node; /* NULL: the descriptor */
};

static int by_identity(const void *a, const void *b)
{
	const struct identity *x = a, *y = b;
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* Two names of one file would be written twice, each unaware of the other. */
static int refuse_twins(const struct pl_bundle *b, struct identity *ids, size_t count)
{
	qsort(ids, count, sizeof(*ids), by_identity);
	for (size_t i = 1; i < count; i++) {
		if (by_identity(&ids[i - 1], &ids[i]))
			continue;
		const struct lay_desc_node *x = ids[i - 1].node ? ids[i - 1].node : ids[i].node;
		const struct lay_desc_node *y = ids[i - 1].node ? ids[i].node : NULL;
		if (!y)
			return pl_fail(-EUCLEAN, "%s: File \"%s\" of image %s is the descriptor itself", b->path,
				       x->file, x->guid.text);
		return pl_fail(-EUCLEAN, "%s: images %s and %s are the same file, \"%s\"", b->path, x->guid.text,
			       y->guid.text, x->file);
	}
	return 0;
}

int bundle_locate(struct pl_bundle *b, const char *const *outside)
{
	size_t known = 0;
	struct stat st;
	struct pl_image_ref self = {.path = b->path, .name = strrchr(b->path, '/') + 1, .dir_fd = b->folder_fd};
	autofree struct identity *ids = calloc(b->desc.count + 1, sizeof(*ids));
	b->images = calloc(b->desc.count, sizeof(*b->images));
	if (!ids || !b->images)
		return pl_fail(-ENOMEM, "%s: no memory for %zu images", b->path, b->desc.count);

	int r = image_look(&self, &st);
	if (r)
		return r;
	ids[known++] = (struct identity){st.st_dev, st.st_ino, NULL};
	for (size_t i = 0; i < b->desc.count; i++) {
		r = locate_node(b, i, outside, &st);
		if (r)
			return r;
		if (st.st_ino)
			ids[known++] = (struct identity){st.st_dev, st.st_ino, &b->desc.nodes[i]};
	}
	return refuse_twins(b, ids, known);
}
