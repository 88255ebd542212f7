/* A bundle opened: its descriptor read once, its images found, chains handed out. */
#include "ploop/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

DEFINE_AUTO(struct pl_bundle *, bundle, pl_bundle_close, NULL)
#define autobundle __attribute__((cleanup(bundle_autop)))

/* ---- open */

/* @b->folder and @b->path: canonical, so that the images of a bundle reached by a symlink are those beside the file
 * it leads to. */
static int find_folder(struct pl_bundle *b, const char *path, bool *named_folder)
{
	struct stat st;
	autofree char *real = realpath(path, NULL);
	if (!real || stat(real, &st))
		return pl_fail(-errno, "open %s: %s", path, strerror(errno));

	*named_folder = S_ISDIR(st.st_mode);
	if (*named_folder) {
		const char *slash = strcmp(real, "/") ? "/" : "";
		if (asprintf(&b->path, "%s%s" LAY_DESC_NAME, real, slash) < 0)
			b->path = NULL;
		b->folder = mem_steal(&real);
	} else {
		size_t n = (size_t)(strrchr(real, '/') - real);
		b->folder = strndup(real, n ? n : 1);
		b->path = mem_steal(&real);
	}
	if (!b->path || !b->folder)
		return pl_fail(-ENOMEM, "open %s: no memory", path);

	b->folder_fd = open(b->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b->folder_fd < 0)
		return pl_fail(-errno, "open %s: %s", b->folder, strerror(errno));
	return 0;
}

/* All of the file, or one byte more than a descriptor may have, which the parser then refuses. */
static int read_file(int fd, const char *path, char **out, size_t *out_bytes)
{
	const size_t limit = LAY_DESC_MAX_BYTES + 1;
	autofree char *text = NULL;
	size_t room = 0, n = 0;
	for (;;) {
		if (n == room) {
			room = room ? MIN(2 * room, limit) : 16384;
			char *more = realloc(text, room);
			if (!more)
				return pl_fail(-ENOMEM, "read %s: no memory for %zu bytes", path, room);
			text = more;
		}
		ssize_t got = read(fd, text + n, room - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return pl_fail(-errno, "read %s: %s", path, strerror(errno));
		n += (size_t)got;
		if (got == 0 || n == limit)
			break;
	}
	*out = mem_steal(&text);
	*out_bytes = n;
	return 0;
}

static int read_descriptor(const struct pl_bundle *b, bool named_folder, struct lay_desc *out)
{
	struct pl_image_ref ref = {.path = b->path, .name = strrchr(b->path, '/') + 1, .dir_fd = b->folder_fd};
	autofd int fd = pl_image_open_fd(&ref, O_RDONLY);
	if (fd == -ENOENT && named_folder)
		return pl_fail(fd, "%s: the folder has no " LAY_DESC_NAME, b->folder);
	if (fd < 0)
		return fd;
	autofree char *text = NULL;
	size_t n = 0;
	int r = read_file(fd, b->path, &text, &n);
	if (r)
		return r;
	struct lay_desc_why why;
	r = lay_desc_parse(text, n, out, &why);
	return r ? pl_fail(r, "%s: %s", b->path, why.text) : 0;
}

static int copy_outside(struct pl_bundle *b, const char *const *outside)
{
	size_t n = 0;
	while (outside && outside[n])
		n++;
	if (!n)
		return 0;
	b->outside = calloc(n + 1, sizeof(*b->outside));
	for (size_t i = 0; b->outside && i < n; i++) {
		b->outside[i] = strdup(outside[i]);
		if (!b->outside[i])
			return pl_fail(-ENOMEM, "open %s: no memory", b->path);
	}
	return b->outside ? 0 : pl_fail(-ENOMEM, "open %s: no memory", b->path);
}

int pl_bundle_open(const char *path, const struct pl_bundle_options *options, struct pl_bundle **out)
{
	bool named_folder = false;
	autobundle struct pl_bundle *b = calloc(1, sizeof(*b));
	if (!b)
		return pl_fail(-ENOMEM, "open %s: no memory", path);
	b->folder_fd = -1;
	int r = find_folder(b, path, &named_folder);
	if (!r)
		r = read_descriptor(b, named_folder, &b->desc);
	if (!r)
		r = copy_outside(b, options ? options->outside : NULL);
	if (!r)
		r = bundle_locate(b, (const char *const *)b->outside);
	if (r)
		return r;
	*out = bundle_steal(&b);
	return 0;
}

/* What was read from the descriptor, and what was made of it. */
static void forget_content(struct pl_bundle *b)
{
	while (b->chains) {
		struct bundle_chain *next = b->chains->next;
		free(b->chains);
		b->chains = next;
	}
	for (size_t i = 0; b->images && i < b->desc.count; i++) {
		free((char *)b->images[i].path);
		free((char *)b->images[i].name);
	}
	free(b->images);
	lay_desc_fini(&b->desc);
}

int bundle_reload(struct pl_bundle *b)
{
	struct pl_bundle fresh = *b;
	fresh.desc = (struct lay_desc){0};
	fresh.images = NULL;
	fresh.chains = NULL;
	int r = read_descriptor(b, true, &fresh.desc);
	if (!r)
		r = bundle_locate(&fresh, (const char *const *)b->outside);
	forget_content(r ? &fresh : b);
	if (!r)
		*b = fresh;
	return r;
}

void pl_bundle_close(struct pl_bundle *b)
{
	if (!b)
		return;
	forget_content(b);
	for (size_t i = 0; b->outside && b->outside[i]; i++)
		free(b->outside[i]);
	free(b->outside);
	if (b->folder_fd >= 0)
		close(b->folder_fd);
	free(b->folder);
	free(b->path);
	free(b);
}

/* ---- look */

const char *pl_bundle_path(const struct pl_bundle *b)
{
	return b->path;
}

void pl_bundle_get_info(const struct pl_bundle *b, struct pl_bundle_info *out)
{
	static const enum pl_image_mode mode[] = {
		[LAY_DESC_EXPANDED] = PL_MODE_EXPANDED,
		[LAY_DESC_PREALLOCATED] = PL_MODE_PREALLOCATED,
		[LAY_DESC_RAW] = PL_MODE_RAW,
	};
	*out = (struct pl_bundle_info){
		.size_sectors = b->desc.size_sectors,
		.cluster_sectors = b->desc.cluster_sectors,
		.mode = mode[b->desc.mode],
		.image_count = b->desc.count,
		.key_id = b->desc.key_id,
	};
	memcpy(out->top_guid, b->desc.top.text, sizeof(out->top_guid));
}

bool bundle_guid(const char *text, struct lay_guid *out)
{
	char braced[PL_GUID_TEXT + 1];
	if (strlen(text) != PL_GUID_TEXT - 2)
		return lay_guid_parse(text, out);
	snprintf(braced, sizeof(braced), "{%s}", text);
	return lay_guid_parse(braced, out);
}

static int find_node(const struct pl_bundle *b, const char *guid, const struct lay_desc_node **out)
{
	struct lay_guid wanted = b->desc.top;
	if (guid && !bundle_guid(guid, &wanted))
		return pl_fail(-EINVAL, "snapshot \"%.64s\" is not a UUID", guid);
	const struct lay_desc_node *node = lay_desc_find(&b->desc, &wanted);
	if (!node)
		return pl_fail(-ENOENT, "%s: there is no snapshot %s", b->path, wanted.text);
	if (node->state == LAY_SHOT_TEMPORARY_ZERO || node->state == LAY_SHOT_TEMPORARY_ZERO_SWAP)
		return pl_fail(-EBUSY, "%s: snapshot %s is being merged: only the top has its content", b->path,
			       wanted.text);
	*out = node;
	return 0;
}

int pl_bundle_chain(struct pl_bundle *b, const char *guid, struct pl_chain_spec *out)
{
	const struct lay_desc_node *leaf = NULL;
	int r = find_node(b, guid, &leaf);
	if (r)
		return r;
	size_t count = 0;
	for (const struct lay_desc_node *n = leaf; n; n = lay_desc_find(&b->desc, &n->parent))
		count++;
	if (count > PL_MAX_CHAIN)
		return pl_fail(-EOPNOTSUPP, "%s: the chain of %s has %zu images, the limit is %d", b->path,
			       leaf->guid.text, count, PL_MAX_CHAIN);

	struct bundle_chain *chain = malloc(sizeof(*chain) + count * sizeof(chain->images[0]));
	if (!chain)
		return pl_fail(-ENOMEM, "%s: no memory for a chain of %zu images", b->path, count);
	size_t at = count;
	for (const struct lay_desc_node *n = leaf; n; n = lay_desc_find(&b->desc, &n->parent))
		chain->images[--at] = b->images[n - b->desc.nodes];
	chain->next = b->chains;
	b->chains = chain;

	*out = (struct pl_chain_spec){
		.size = sizeof(*out),
		.images = chain->images,
		.count = count,
		.cluster_sectors = b->desc.cluster_sectors,
		.size_sectors = b->desc.size_sectors,
		.preallocated = b->desc.mode == LAY_DESC_PREALLOCATED,
	};
	return 0;
}
