/* Reads: holes are zeros without I/O, the rest comes from the level the map names, in runs as long as they lie. */
#include <string.h>

#include "ploop/disk.h"
#include "ploop/partial_io.h"

static bool must_wait(const struct pl_disk *d, struct gclu g)
{
	const struct frag *holder = gate_find(d, g);
	return holder && holder->excludes_readers;
}

/* Does cluster @g go on where the run of @f ends? */
static bool continues(const struct frag *f, struct gclu g)
{
	const struct pl_disk *d = f->disk;
	struct map_entry e = map_get(&d->map, g);
	if (e.level != f->at.level || (e.level != MAP_HOLE && e.file.n != f->at.file.n + f->run))
		return false;
	if (unlikely(disk_has_partials(d)) && partial_covers(d, g, e))
		return false;
	return d->gate_count == 0 || !must_wait(d, g);
}

/* Take following clusters of the request into @f while they lie in a row. */
static void extend(struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct req_state *s = req_state(f->req);
	while (s->cursor_bytes < s->end_bytes && f->length_bytes < RUN_MAX_BYTES &&
	       continues(f, (struct gclu){f->g.n + f->run})) {
		uint32_t more = (uint32_t)MIN(s->end_bytes - s->cursor_bytes, d->cluster_bytes);
		if (!is_aligned(more, d->io_align)) /* the end of it goes through a bounce buffer, on its own */
			return;
		f->run++;
		f->length_bytes += more;
		s->cursor_bytes += more;
	}
}

static void read_done(struct frag *f)
{
	if (unlikely(f->io.res < 0)) {
		frag_finish(f, f->io.res);
		return;
	}
	uint64_t got = (uint64_t)f->io.res;
	if (likely(got == f->io.length)) {
		read_piece_done(f);
		return;
	}
	/* Short: behind the end of the file (a raw base that ends early) are zeros, else the rest follows. */
	struct store *store = level_store(f->disk, f->at.level);
	f->io.buf = (uint8_t *)f->io.buf + got;
	f->io.offset += got;
	f->io.length -= got;
	if (got == 0 || f->io.offset >= store->size_bytes) {
		memset(f->io.buf, 0, f->io.length);
		read_piece_done(f);
		return;
	}
	frag_io(f, store, read_done);
}

void read_piece_done(struct frag *f)
{
	if (likely(f->left_bytes == 0)) {
		frag_finish(f, 0);
		return;
	}
	f->data += f->length_bytes;
	f->offset_bytes += f->length_bytes;
	f->length_bytes = f->left_bytes;
	f->left_bytes = 0;
	if (f->bounce)
		bounce_put(f);
	frag_rest(f);
	read_place(f);
}

void read_place(struct frag *f)
{
	struct pl_disk *d = f->disk;
	if (unlikely(d->gate_count) && must_wait(d, f->g)) {
		frag_wait(f, &gate_find(d, f->g)->gate_waiters, read_place);
		return;
	}
	f->at = map_get(&d->map, f->g);
	if (unlikely(disk_has_partials(d))) {
		uint32_t all = f->length_bytes;
		f->length_bytes = partial_piece(f);
		f->left_bytes += all - f->length_bytes;
	}
	if (f->at.level == MAP_HOLE) {
		memset(f->data, 0, f->length_bytes);
		read_piece_done(f);
		return;
	}
	if (unlikely(!is_io_aligned(f)))
		bounced_read(f);
	else
		frag_read(f, f->at, f->offset_bytes, f->data, f->req->buf_index, f->length_bytes, read_done);
}

/* Of a partial cluster only the first piece: the request goes on behind it, so that pieces are read side by side. */
static bool cut_to_piece(struct frag *f)
{
	const struct pl_disk *d = f->disk;
	f->at = map_get(&d->map, f->g);
	if (!partial_covers(d, f->g, f->at))
		return false;
	uint32_t piece = partial_piece(f);
	req_state(f->req)->cursor_bytes -= f->length_bytes - piece;
	f->length_bytes = piece;
	return true;
}

void read_start(struct frag *f)
{
	const struct pl_disk *d = f->disk;
	const struct req_state *s = req_state(f->req);
	if (unlikely(disk_has_partials(d)) && cut_to_piece(f)) {
		read_place(f);
		return;
	}
	if (unlikely(s->cursor_bytes < s->end_bytes) && !(d->gate_count && must_wait(d, f->g))) {
		f->at = map_get(&d->map, f->g);
		if (f->at.level == MAP_HOLE || is_io_aligned(f))
			extend(f);
	}
	read_place(f);
}
