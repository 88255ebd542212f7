#include "snapshot/clone.h"

#include "base/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#define LOCK_WAIT_NS (2 * NS_PER_S)

void clone_source_close(struct clone_source *s)
{
	pl_bundle_close(s->bundle);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	*s = (struct clone_source)CLONE_SOURCE_NONE;
}

static int lock_folder(const struct pl_bundle *given, enum clone_lock how, int *out)
{
	autofd int fd = openat(given->folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return pl_fail(-errno, "open %s: %s", given->folder, strerror(errno));
	struct wait wait = WAIT_UNTIL(pl_now_ns() + LOCK_WAIT_NS);
	while (flock(fd, (how == CLONE_LOCK_ALONE ? LOCK_EX : LOCK_SH) | LOCK_NB)) {
		if (errno != EWOULDBLOCK) /* elsewhere (NFS) folders have no locks */
			break;
		if (!wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-EBUSY, "%s: another operation is running on this disk", given->folder);
	}
	*out = fd_steal(&fd);
	return 0;
}

int clone_source_refuse_unsettled(const struct clone_source *s)
{
	for (size_t i = 0; i < s->chain.count; i++) {
		struct lay_guid guid;
		const struct lay_desc_node *node = NULL;
		if (lay_guid_parse(s->chain.images[i].guid, &guid))
			node = lay_desc_find(&s->bundle->desc, &guid);
		if (node && node->state != LAY_SHOT_PLAIN)
			return pl_fail(-EBUSY, "%s: snapshot %s is temporary, or being merged: delete it first",
				       s->bundle->path, node->guid.text);
	}
	return 0;
}

int clone_source_open(const struct pl_bundle *given, const char *guid, enum clone_lock how, struct clone_source *out)
{
	autosource struct clone_source s = CLONE_SOURCE_NONE;
	struct pl_bundle_options options = {
		.size = sizeof(options),
		.outside = (const char *const *)given->outside,
	};
	int r = lock_folder(given, how, &s.lock_fd);
	if (r == 0)
		r = pl_bundle_open(given->path, &options, &s.bundle);
	if (r == 0)
		r = pl_bundle_chain(s.bundle, guid, &s.chain);
	if (r < 0)
		return r;
	s.is_top = strcmp(s.chain.images[s.chain.count - 1].guid, s.bundle->desc.top.text) == 0;
	*out = s;
	s = (struct clone_source)CLONE_SOURCE_NONE;
	return 0;
}

int clone_is_sealed(const struct pl_image_ref *image)
{
	struct stat st;
	autofd int fd = pl_image_open_fd(image, O_RDONLY);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		return pl_fail(-errno, "stat %s: %s", image->path, strerror(errno));
	return clone_mode_is_sealed(st.st_mode);
}
