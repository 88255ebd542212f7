/* The file store: direct I/O on an image file through the loop. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "ploop/loop.h"
#include "ploop/store.h"

struct store_file {
	struct store store; /* first */
	int fixed_fd;       /* index of the registered file, or negative */
};

static void file_submit(struct store *store, struct pl_io *io)
{
	const struct store_file *f = (const struct store_file *)store;
	if (f->fixed_fd >= 0) {
		io->fd = f->fixed_fd;
		io->flags |= PL_IO_FIXED_FD;
	} else {
		io->fd = store->fd;
	}
	pl_loop_submit(store->loop, io);
}

static int file_set_size(struct store *store, uint64_t bytes)
{
	if (ftruncate(store->fd, (off_t)bytes) < 0)
		return pl_fail(-errno, "%s: cannot set the file length to %llu: %s", store->path,
			       (unsigned long long)bytes, strerror(errno));
	store->size_bytes = bytes;
	return 0;
}

static uint64_t file_next_data(struct store *store, uint64_t offset)
{
	off_t at = lseek(store->fd, (off_t)offset, SEEK_DATA);
	if (at >= 0)
		return (uint64_t)at;
	return errno == ENXIO ? store->size_bytes : offset; /* no holes known here: all is data */
}

static void file_close(struct store *store)
{
	struct store_file *f = (struct store_file *)store;
	if (f->fixed_fd >= 0)
		store->loop->ops->unregister_fd(store->loop, f->fixed_fd);
	close(store->fd);
	free(f);
}

static int file_open_again(struct store *store, const char *path, struct store **out)
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", store->fd);
	struct pl_image_ref ref = {.path = link, .dir_fd = -1};
	int r = store_file_open(store->loop, &ref, false, out);
	if (r < 0)
		return pl_wrap(r, "%s: open it for writing", store->path);
	(*out)->path = path;
	return 0;
}

static const struct store_ops file_ops = {
	.submit = file_submit,
	.set_size = file_set_size,
	.next_data = file_next_data,
	.open_again = file_open_again,
	.close = file_close,
};

/* Direct I/O where the file system has it; else through the page cache, which is as correct. */
static int open_for_io(const struct pl_image_ref *ref, int access, bool *direct)
{
	int fd = pl_image_open_fd(ref, access | O_DIRECT);
	*direct = fd >= 0;
	return fd == -EINVAL ? pl_image_open_fd(ref, access) : fd;
}

/* What direct I/O wants of addresses and offsets; a kernel that does not tell (before 6.1) gets a page's worth. */
static int read_limits(struct store *store, bool direct)
{
	struct statx sx;
	unsigned mask = STATX_BASIC_STATS;
#ifdef STATX_DIOALIGN
	mask |= STATX_DIOALIGN;
#endif
	if (statx(store->fd, "", AT_EMPTY_PATH, mask, &sx) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", store->path, strerror(errno));
	store->size_bytes = sx.stx_size;
	store->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	store->ino = sx.stx_ino;
	store->io_align = store->mem_align = direct ? 4096 : 1;
#ifdef STATX_DIOALIGN
	if (direct && (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align) {
		store->io_align = sx.stx_dio_offset_align;
		store->mem_align = sx.stx_dio_mem_align;
	}
#endif
	return 0;
}

int store_file_measure(struct store *store)
{
	struct stat st;
	if (fstat(store->fd, &st) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", store->path, strerror(errno));
	store->size_bytes = (uint64_t)st.st_size;
	return 0;
}

/* D5: what other bundles share, and what was made a template, is not written. */
static int may_write(int fd, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return 0;
	if (st.st_nlink > 1)
		return pl_fail(-EMLINK, "%s has %lu names: other bundles share it, so it is not written", path,
			       (unsigned long)st.st_nlink);
	if ((st.st_mode & 0222) == 0)
		return pl_fail(-EROFS, "%s has no write permission: it is sealed, to be cloned and not written", path);
	return 0;
}

int store_file_open(struct pl_loop *loop, const struct pl_image_ref *ref, bool readonly, struct store **out)
{
	bool direct;
	autofd int fd = open_for_io(ref, readonly ? O_RDONLY : O_RDWR, &direct);
	if (fd < 0)
		return fd;

	int r = readonly ? 0 : may_write(fd, ref->path);
	if (r < 0)
		return r;
	autofree struct store_file *f = calloc(1, sizeof(*f));
	if (!f)
		return pl_fail(-ENOMEM, "%s: no memory to open it", ref->path);
	f->store = (struct store){.ops = &file_ops, .loop = loop, .path = ref->path, .fd = fd};
	r = read_limits(&f->store, direct);
	if (r < 0)
		return r;
	f->fixed_fd = loop->ops->register_fd(loop, fd);
	fd_steal(&fd);
	*out = &f->store;
	mem_steal(&f);
	return 0;
}
