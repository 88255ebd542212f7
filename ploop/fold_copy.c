/* Copying: runs of clusters, cut into pieces, several at a time. */
#include "ploop/fold_job.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#define PROBE_BYTES (64 * KIB)	    /* how finely holes of the source are looked for */
#define AHEAD_BYTES (64 * MIB)	    /* how far the destination is extended at a time */
#define SCAN_ENTRIES (1u << 20)	    /* looked at in one turn of the loop */
#define STEPS_PER_TURN 1024u	    /* done in one turn, so that others get theirs */
#define NO_MEMORY_NS (1 * NS_PER_MS)

/* ---- what is to be copied */

static uint32_t place_in(const struct fold *f, const struct bat_file *b, uint32_t g)
{
	if (f->raw && b == &f->parent)
		return g;
	return g < b->clusters ? b->files[g] : 0;
}

static bool is_wanted(const struct fold *f, uint32_t g)
{
	if (g >= f->from->clusters || f->from->files[g] == 0)
		return false;
	return f->o.into == PL_INTO_PARENT || f->child.files[g] == 0;
}

uint64_t fold_count(const struct fold *f)
{
	uint64_t n = 0;
	for (uint32_t g = 0; g < f->from->clusters; g++)
		n += is_wanted(f, g);
	return n * f->from->cluster_bytes;
}

/* Where @g goes: over what is there, or to a new place. */
static int find_place(struct fold *f, uint32_t g, struct fclu *to, bool *fresh, bool *is_new)
{
	*to = (struct fclu){place_in(f, f->to, g)};
	*fresh = false;
	*is_new = !f->raw && to->n == 0;
	if (!*is_new)
		return 0;
	uint64_t rest = f->total_bytes - MIN(f->done_bytes, f->total_bytes);
	return bat_file_take(f->to, (uint32_t)(MIN(rest, AHEAD_BYTES) / f->to->cluster_bytes), to, fresh);
}

static void add_cluster(struct fold *f, uint32_t g, struct fclu to, bool is_new)
{
	struct fold_run *run = &f->run;
	if (is_new) {
		f->pending[f->pending_count++] = (struct fold_entry){{g}, to};
		run->entries++;
	}
	run->clusters++;
	run->bytes += f->to->cluster_bytes;
	f->cursor = g + 1;
}

/* The next run into f->run. 0: there is none within reach, the cursor has moved. */
static int next_run(struct fold *f)
{
	uint32_t g = f->cursor, end = MIN(f->from->clusters - g, SCAN_ENTRIES) + g;
	while (g < end && !is_wanted(f, g))
		g++;
	f->cursor = g;
	if (g == end)
		return 0;
	struct fclu to;
	bool fresh, is_new;
	int r = find_place(f, g, &to, &fresh, &is_new);
	if (r < 0)
		return r;
	f->run = (struct fold_run){.from = {f->from->files[g]}, .to = to, .fresh = fresh};
	add_cluster(f, g, to, is_new);
	uint32_t max = MAX(FOLD_PIECE_BYTES / f->to->cluster_bytes, 1);
	for (uint32_t n = 1; n < max && is_wanted(f, ++g) && f->from->files[g] == f->run.from.n + n; n++) {
		if (find_place(f, g, &to, &fresh, &is_new) < 0)
			break; /* the next run will tell */
		if (to.n != f->run.to.n + n || fresh != f->run.fresh) {
			if (is_new)
				alloc_give(&f->to->alloc, to);
			break;
		}
		add_cluster(f, g, to, is_new);
	}
	return 1;
}

/* ---- a piece: read, write; or a hole */

static void move_on(struct fold *f, uint64_t bytes)
{
	f->done_bytes += bytes;
	if (f->o.progress)
		f->o.progress(f->o.arg, f->done_bytes, f->total_bytes);
}

static void copier_end(struct fold_copier *c)
{
	struct fold *f = c->fold;
	pl_buf_put(f->o.loop, c->buf);
	c->buf = NULL;
	c->next = f->free_copiers;
	f->free_copiers = c;
	f->in_flight--;
	if (f->res == 0)
		move_on(f, c->length);
	fold_pump(f);
}

static void copier_failed(struct fold_copier *c, const char *what, const struct store *store, uint64_t offset)
{
	int r = c->io.res < 0 ? c->io.res : -EIO;
	fold_fail(c->fold, pl_fail(r, "%s: cannot %s %llu bytes at %llu: %s", store->path, what,
				   (unsigned long long)(c->length - c->done), (unsigned long long)(offset + c->done),
				   c->io.res ? strerror(-r) : "the file ends there"));
	copier_end(c);
}

static void copier_io(struct fold_copier *c, uint8_t kind, struct store *store, uint64_t offset,
		      void (*done)(struct pl_io *io))
{
	c->io = (struct pl_io){
		.done = done,
		.kind = kind,
		.buf_index = c->buf->index,
		.buf = (char *)c->buf->data + c->done,
		.length = c->length - c->done,
		.offset = offset + c->done,
	};
	store_submit(store, &c->io);
}

static void piece_written(struct pl_io *io)
{
	struct fold_copier *c = container_of(io, struct fold_copier, io);
	struct store *to = c->fold->to->store;
	if (io->res <= 0) {
		copier_failed(c, "write", to, c->to);
		return;
	}
	c->done += (uint64_t)io->res;
	if (c->done < c->length) {
		copier_io(c, PL_IO_WRITE, to, c->to, piece_written);
		return;
	}
	to->size_bytes = MAX(to->size_bytes, c->to + c->length);
	copier_end(c);
}

static void piece_read(struct pl_io *io)
{
	struct fold_copier *c = container_of(io, struct fold_copier, io);
	struct store *from = c->fold->from->store;
	if (io->res <= 0) {
		copier_failed(c, "read", from, c->from);
		return;
	}
	c->done += (uint64_t)io->res;
	if (c->done < c->length) {
		copier_io(c, PL_IO_READ, from, c->from, piece_read);
		return;
	}
	c->done = 0;
	copier_io(c, PL_IO_WRITE, c->fold->to->store, c->to, piece_written);
}

static void piece_punched(struct pl_io *io)
{
	struct fold_copier *c = container_of(io, struct fold_copier, io);
	if (io->res == -EOPNOTSUPP) /* a file system that cannot: the zeros are copied */
		copier_io(c, PL_IO_READ, c->fold->from->store, c->from, piece_read);
	else if (io->res < 0)
		copier_failed(c, "punch", c->fold->to->store, c->to);
	else
		copier_end(c);
}

static void copier_start(struct fold *f, struct pl_buf *buf, uint64_t length, bool is_hole)
{
	struct fold_copier *c = f->free_copiers;
	struct fold_run *run = &f->run;
	f->free_copiers = c->next;
	f->in_flight++;
	c->buf = buf;
	c->from = bat_file_offset(f->from, run->from) + run->at;
	c->to = bat_file_offset(f->to, run->to) + run->at;
	c->length = length;
	c->done = 0;
	run->at += length;
	if (!is_hole) {
		copier_io(c, PL_IO_READ, f->from->store, c->from, piece_read);
		return;
	}
	c->io = (struct pl_io){
		.done = piece_punched,
		.kind = PL_IO_FALLOCATE,
		.arg = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		.length = length,
		.offset = c->to,
	};
	store_submit(f->to->store, &c->io);
}

/* ---- cutting a run */

/* Where data begins at or behind @offset of the source, at a page. */
static uint64_t data_at(const struct fold *f, uint64_t offset)
{
	struct store *s = f->from->store;
	uint64_t at = round_down_pow2(s->ops->next_data(s, offset), MAX(BAT_PAGE_BYTES, s->io_align));
	return MAX(at, offset);
}

/* How far the bytes at the run's position are all of a kind, no more than the rest of the run. */
static uint64_t look(const struct fold *f, bool *is_hole)
{
	uint64_t at = bat_file_offset(f->from, f->run.from) + f->run.at;
	uint64_t rest = f->run.bytes - f->run.at, hole = data_at(f, at) - at;
	*is_hole = hole > 0;
	if (*is_hole)
		return MIN(hole, rest);
	uint64_t n = PROBE_BYTES;
	while (n < MIN(rest, FOLD_PIECE_BYTES) && data_at(f, at + n) == at + n)
		n += PROBE_BYTES;
	return MIN(n, rest);
}

static bool must_wait(struct fold *f)
{
	if (f->was_paced || !f->o.delay_ns)
		return false;
	uint64_t ns = f->o.delay_ns(f->o.arg);
	if (ns == 0)
		return false;
	f->was_paced = true;
	pl_timer_start(f->o.loop, &f->timer, ns);
	return true;
}

/* One piece of the run. false: not now, something will pump again. */
static bool copy_piece(struct fold *f)
{
	bool is_hole;
	uint64_t length = look(f, &is_hole);
	if (is_hole && f->run.fresh) {
		f->run.at += length;
		move_on(f, length);
		return true;
	}
	uint32_t most = f->o.step_bytes ? f->o.step_bytes(f->o.arg) : FOLD_PIECE_BYTES;
	bool is_alone = most < FOLD_PIECE_BYTES;
	if (!f->free_copiers || (is_alone && f->in_flight > 0) || must_wait(f))
		return false;
	struct pl_buf *buf = pl_buf_get(f->o.loop, FOLD_PIECE_BYTES);
	if (!buf) {
		if (f->in_flight == 0)
			pl_timer_start(f->o.loop, &f->timer, NO_MEMORY_NS);
		return false;
	}
	f->was_paced = false;
	copier_start(f, buf, MIN(length, most), is_hole);
	return true;
}

static bool is_round_over(const struct fold *f)
{
	bool between_runs = f->run.at == f->run.bytes;
	return f->cancelled || f->res < 0 || fold_is_at_end(f) ||
	       (between_runs && f->pending_count >= f->pending_max);
}

void fold_pump(struct fold *f)
{
	uint32_t steps = 0;
	while (f->state == FOLD_COPY && !f->timer.deadline_ns && !is_round_over(f)) {
		if (steps++ == STEPS_PER_TURN) {
			pl_timer_start(f->o.loop, &f->timer, 0);
			return;
		}
		if (f->run.at < f->run.bytes) {
			if (!copy_piece(f))
				return;
			continue;
		}
		int r = next_run(f);
		if (r == 0)
			steps = STEPS_PER_TURN;
		if (r < 0)
			fold_fail(f, r);
	}
	if (f->state == FOLD_COPY && f->in_flight == 0 && is_round_over(f))
		fold_copied(f);
}

void fold_timer_fired(struct pl_timer *timer)
{
	struct fold *f = container_of(timer, struct fold, timer);
	fold_pump(f);
}
