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
	int res;
	uint8_t *header_page;             /* as it shall be at the end; NULL: a raw image */
	struct lay_header header;         /* in it */
	struct extension_bytes extension; /* data NULL: it has none */
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

static void end(struct seal *s, int res);

/* Until the operation that watches the holder has been cancelled. */
static void end_later(struct pl_io *io)
{
	struct seal *s = container_of(io, struct seal, io);
	end(s, s->res);
}

static void end(struct seal *s, int res)
{
	struct writer *w = s->w;
	struct pl_disk *d = w->disk;
	void (*done)(struct pl_disk *, int) = s->done;
	if (w->life_armed) {
		s->res = res;
		s->io.done = end_later;
		pl_loop_complete(d->loop, &s->io, 0);
		return;
	}
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
	if (d->failed)
		commit_refuse(d);
	else
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

/* What was cut or written before must not come after "closed". */
static void sync_before_header(struct seal *s)
{
	sync_out(s, write_header);
}

static void extension_written(struct seal *s)
{
	struct store *store = s->w->image->store;
	store->size_bytes = MAX(store->size_bytes, s->extension.offset_bytes + s->extension.length_bytes);
	sync_before_header(s);
}

static void cut_file(const struct seal *s)
{
	const struct writer *w = s->w;
	struct store *store = w->image->store;
	uint64_t end_bytes = file_offset(w->disk, (struct fclu){alloc_end(&w->alloc)}, 0);
	if (!w->disk->keep_space && end_bytes < store->size_bytes && store->ops->set_size(store, end_bytes) < 0)
		pl_log(PL_LOG_WARN, "seal", "%s; it keeps unused space", pl_error());
}

void seal_round_done(struct writer *w, int res)
{
	struct seal *s = w->disk->seal;
	if (res < 0 || !s->header_page) {
		end(s, res);
		return;
	}
	cut_file(s);
	if (w->extension && extension_build(w, &s->extension) < 0)
		pl_log(PL_LOG_WARN, "seal", "%s; change tracking ends in it", pl_error());
	s->header = writer_header(w, s->extension.data ? LAY_CLOSED_V21 : LAY_CLOSED_V20, s->extension.ext_sectors);
	lay_header_encode(&s->header, s->header_page);
	if (s->extension.data)
		write_out(s, s->extension.data, s->extension.length_bytes, s->extension.offset_bytes,
			  extension_written);
	else
		sync_before_header(s);
}

/* ---- begin */

int seal_begin(struct writer *w, void (*done)(struct pl_disk *d, int res))
{
	if (w->disk->failed)
		return pl_fail(-EIO, "%s: a sync failed, it cannot be sealed", w->image->path);
	autoseal struct seal *s = calloc(1, sizeof(*s));
	bool raw = w->image->format == PL_FORMAT_RAW;
	if (s && !raw)
		s->header_page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	if (!s || (!raw && !s->header_page))
		return pl_fail(-ENOMEM, "%s: no memory to seal it", w->image->path);
	s->w = w;
	s->done = done;
	if (!raw)
		commit_build_page(w, 0, s->header_page); /* with the entries of now: later ones are the next top's */
	writer_stop_watching(w);
	w->sealing = true;
	w->image->writer = NULL;
	w->disk->seal = seal_steal(&s);
	commit_last(w);
	return 0;
}
