/* Writes: here is decided whether a write goes in place or is the first of its cluster. */
#include "ploop/partial_io.h"

/* May clusters from @f->g on be written in one go? In the top, in a row, nobody changing where they live. */
static void extend(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct req_state *s = req_state(f->req);
	while (s->cursor_bytes < s->end_bytes && f->length_bytes < RUN_MAX_BYTES) {
		struct gclu g = {f->g.n + f->run};
		struct map_entry e = map_get(&d->map, g);
		if (unlikely(d->leaving != NULL) && partial_covers(d, g, e))
			return;
		if (e.level != f->at.level || e.file.n != f->at.file.n + f->run || gate_find(d, g))
			return;
		uint32_t more = (uint32_t)MIN(s->end_bytes - s->cursor_bytes, d->cluster_bytes);
		if (!is_aligned(more, d->io_align)) /* the end of it goes through a bounce buffer, on its own */
			return;
		f->run++;
		f->length_bytes += more;
		s->cursor_bytes += more;
	}
}

static void write_done(struct frag *f)
{
	if (unlikely(f->io.res <= 0)) {
		frag_finish(f, f->io.res ? f->io.res : -EIO);
		return;
	}
	f->w->writes++;
	if (likely((uint64_t)f->io.res == f->io.length)) {
		frag_finish(f, 0);
		return;
	}
	io_go_on(f, f->w->image->store, write_done);
}

/* FUA on a cluster whose BAT entry is durable needs its data durable, no more; else the round does both. */
static uint8_t durability(const struct frag *f)
{
	if (likely(!(f->req->flags & PL_FUA)))
		return 0;
	for (uint32_t i = 0; i < f->run; i++) {
		if (disk_entry_is_pending(f->disk, (struct gclu){f->g.n + i})) {
			req_state(f->req)->must_commit = true;
			return 0;
		}
	}
	return PL_IO_DSYNC;
}

static void write_in_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	if (unlikely(!is_io_aligned(f))) {
		bounced_write(f);
		return;
	}
	f->io.kind = PL_IO_WRITE;
	f->io.flags = durability(f);
	f->io.buf_index = f->req->buf_index;
	f->io.buf = f->data;
	f->io.length = f->length_bytes;
	f->io.offset = file_offset(d, f->at.file, f->offset_bytes);
	frag_io(f, f->w->image->store, write_done);
}

void write_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	if (unlikely(d->gate_count)) {
		struct frag *holder = gate_find(d, f->g);
		if (holder) {
			frag_wait(f, &holder->gate_waiters, write_place);
			return;
		}
	}
	f->at = map_get(&d->map, f->g);
	f->w = partial_writer(d, f->g, f->at);
	if (likely(f->w != NULL))
		write_in_place(f);
	else
		first_write_start(f);
}

void write_start(struct frag *f)
{
	const struct pl_disk *d = f->disk;
	const struct req_state *s = req_state(f->req);
	if (unlikely(s->cursor_bytes < s->end_bytes)) {
		f->at = map_get(&d->map, f->g);
		if (partial_writer(d, f->g, f->at) && !gate_find(d, f->g) && is_io_aligned(f))
			extend(f);
	}
	write_place(f);
}
