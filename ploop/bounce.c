/* Ranges and addresses that direct I/O does not take: 512-byte guests on 4 KiB-sector hosts, callers' own memory.
 *
 * A fragment of them is never longer than a bounce buffer holds (frag_cut).
 *
 *   read   -> read the aligned range into a bounce buffer -> copy out
 *   write  -> gate, and alone on the cluster (so that what others write beside it is not undone)
 *          -> read, overlay, write */
#include <string.h>

#include "ploop/disk.h"

bool is_io_aligned(const struct frag *f)
{
	const struct pl_disk *d = f->disk;
	return is_aligned((uint64_t)f->offset_bytes | f->length_bytes, d->io_align) &&
	       is_aligned((uintptr_t)f->data, d->mem_align);
}

static uint32_t aligned_offset(const struct frag *f)
{
	return (uint32_t)round_down_pow2(f->offset_bytes, f->disk->io_align);
}

/* The whole bounced range, in the file and in the bounce buffer. */
static void aim(struct frag *f, enum pl_io_kind kind)
{
	uint32_t from = aligned_offset(f);
	f->io.kind = (uint8_t)kind;
	f->io.flags = 0;
	f->io.buf = f->bounce;
	f->io.buf_index = PL_IO_NO_BUFFER;
	f->io.length = round_up_pow2(f->offset_bytes + f->length_bytes, f->disk->io_align) - from;
	f->io.offset = file_offset(f->disk, f->at.file, from);
}

static bool is_read(struct frag *f, frag_step *then)
{
	if (f->io.res >= 0)
		return io_is_read(f, level_store(f->disk, f->at.level), then);
	frag_finish(f, f->io.res);
	return false;
}

static uint8_t *guest_bytes(const struct frag *f)
{
	return (uint8_t *)f->bounce + (f->offset_bytes - aligned_offset(f));
}

static void bounced_read_done(struct frag *f)
{
	if (!is_read(f, bounced_read_done))
		return;
	memcpy(f->data, guest_bytes(f), f->length_bytes);
	read_piece_done(f);
}

void bounced_read(struct frag *f)
{
	f->active = true; /* also while it waits: the cluster must not become another's meanwhile (D4) */
	if (!bounce_get(f, bounced_read))
		return;
	aim(f, PL_IO_READ);
	frag_io(f, level_store(f->disk, f->at.level), bounced_read_done);
}

static void bounced_write_done(struct frag *f)
{
	if (f->io.res <= 0) {
		frag_finish(f, f->io.res ? f->io.res : -EIO);
		return;
	}
	f->w->writes++;
	if ((uint64_t)f->io.res < f->io.length) {
		io_go_on(f, f->w->image->store, bounced_write_done);
		return;
	}
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	frag_finish(f, 0);
}

static void bounced_write_overlay(struct frag *f)
{
	if (!is_read(f, bounced_write_overlay))
		return;
	if (f->data)
		memcpy(guest_bytes(f), f->data, f->length_bytes);
	else
		memset(guest_bytes(f), 0, f->length_bytes);
	aim(f, PL_IO_WRITE);
	frag_io(f, f->w->image->store, bounced_write_done);
}

static void bounced_write_start(struct frag *f)
{
	if (!bounce_get(f, bounced_write_start))
		return;
	aim(f, PL_IO_READ);
	frag_io(f, f->w->image->store, bounced_write_overlay);
}

static void bounced_write_alone(struct frag *f)
{
	if (gate_drain(f, bounced_write_alone))
		bounced_write_start(f);
}

void bounced_write(struct frag *f)
{
	gate_open(f);
	bounced_write_alone(f);
}
