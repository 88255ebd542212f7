#include "ploop/seal.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ploop/chain.h"
#include "ploop/lock.h"

struct seal {
	struct pl_io io;
	struct writer *w;
	void (*done)(struct pl_disk *d, int res);
	void (*then)(struct seal *s); /* after @io */
	uint8_t *header_page;         /* as it shall be at the end; NULL: a raw image */
	struct lay_header header;     /* in it */
	struct extension_bytes extension; /* data NULL: none is left behind */
	uint64_t end_bytes;           /* of the clusters in use */
};

static void seal_free(struct seal *s)
{
	if (!s)
		return;
	free(s->header_page);
	free(s->extension.data);
	free(s);
}
DEFINE_AUTO(struct seal *, seal, seal_free, NULL)
#define autoseal __attribute__((cleanup(seal_autop)))

static void end(struct seal *s, int res)
{
	struct writer *w = s->w;
	struct pl_disk *d = w->disk;
	void (*done)(struct pl_disk *, int) = s->done;
	if (res < 0)
		d->failed = true;
	else if (s->header_page)
		w->image->header = s->header;
	if (res == 0)
		survive_detach(&w->survive, true);
	if (res == 0 && w->image->store->fd >= 0)
		lock_lower(w->image->store->fd);
	seal_free(s);
	d->seal = NULL;
	d->leaving = NULL;
	writer_free(w);
	commit_resume(d->writer);
	done(d, res);
}

/* ---- steps: one operation each */

static void start(struct seal *s, void (*then)(struct seal *s))
{
	s->then = then;
	store_submit(s->w->image->store, &s->io);
}

static void io_done(struct pl_io *io)
{
	struct seal *s = container_of(io, struct seal, io);
	bool is_write = io->kind == PL_IO_WRITE;
	if (io->res < 0 || (is_write && io->res == 0)) {
		end(s, io->res ? io->res : -EIO);
		return;
	}
	if (is_write && (uint64_t)io->res < io->length) {
		io->buf = (uint8_t *)io->buf + io->res;
		io->offset += (uint64_t)io->res;
		io->length -= (uint64_t)io->res;
		start(s, s->then);
		return;
	}
	s->then(s);
}

static void write_out(struct seal *s, void *data, uint64_t length, uint64_t offset, void (*then)(struct seal *s))
{
	s->io = (struct pl_io){.done = io_done, .kind = PL_IO_WRITE, .buf_index = PL_IO_NO_BUFFER, .buf = data,
			       .length = length, .offset = offset};
	start(s, then);
}

static void sync_out(struct seal *s, void (*then)(struct seal *s))
{
	s->io = (struct pl_io){.done = io_done, .kind = PL_IO_FDATASYNC};
	start(s, then);
}

static void closed(struct seal *s)
{
	end(s, 0);
}

static void sync_header(struct seal *s)
{
	sync_out(s, closed);
}

static void write_header(struct seal *s)
{
	write_out(s, s->header_page, HEADER_PAGE_BYTES, 0, sync_header);
}

static void sync_extension(struct seal *s)
{
	struct store *store = s->w->image->store;
	store->size_bytes = MAX(store->size_bytes, s->extension.offset_bytes + s->extension.length_bytes);
	sync_out(s, write_header);
}

static void cut_file(const struct seal *s)
{
	struct store *store = s->w->image->store;
	if (!s->w->disk->keep_space && s->end_bytes < store->size_bytes && store->ops->set_size(store, s->end_bytes) < 0)
		pl_log(PL_LOG_WARN, "seal", "%s; it keeps unused space", pl_error());
}

static void after_round(struct seal *s)
{
	const struct extension_bytes *e = &s->extension;
	if (!s->header_page) {
		end(s, 0);
		return;
	}
	cut_file(s);
	if (e->data)
		write_out(s, e->data, e->length_bytes, e->offset_bytes, sync_extension);
	else
		write_header(s);
}

void seal_round_done(struct writer *w, int res)
{
	struct seal *s = w->disk->seal;
	if (res < 0)
		end(s, res);
	else
		after_round(s);
}

/* ---- begin */

/* What the header page shall hold. Its entries are those of now: later ones are the next top's. */
static int plan(struct seal *s, bool keep_extension)
{
	struct writer *w = s->w;
	if (w->image->format == PL_FORMAT_RAW)
		return 0;
	s->end_bytes = file_offset(w->disk, (struct fclu){alloc_end(&w->alloc)}, 0);
	if (keep_extension && w->extension) {
		int r = extension_build(w, &s->extension);
		if (r < 0)
			return r;
	}
	s->header_page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	if (!s->header_page)
		return pl_fail(-ENOMEM, "%s: no memory to seal it", w->image->path);
	s->header = writer_header(w, s->extension.data ? LAY_CLOSED_V21 : LAY_CLOSED_V20, s->extension.ext_sectors);
	commit_build_page(w, 0, s->header_page);
	lay_header_encode(&s->header, s->header_page);
	return 0;
}

int seal_begin(struct writer *w, bool keep_extension, void (*done)(struct pl_disk *d, int res))
{
	autoseal struct seal *s = calloc(1, sizeof(*s));
	if (!s)
		return pl_fail(-ENOMEM, "%s: no memory to seal it", w->image->path);
	s->w = w;
	s->done = done;
	int r = plan(s, keep_extension);
	if (r < 0)
		return r;
	w->sealing = true;
	w->image->writer = NULL;
	w->disk->seal = seal_steal(&s);
	commit_last(w);
	return 0;
}
