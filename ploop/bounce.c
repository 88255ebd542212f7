/* Ranges and addresses that direct I/O does not take: 512-byte guests on 4 KiB-sector hosts, callers' own memory.
 *
 * A fragment of them is never longer than a bounce buffer holds (frag_cut).
 *
 *   read   -> read the aligned range into a bounce buffer -> copy out
 *   write  -> gate (so that two neighbours do not undo each other) -> read, overlay, write */
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

static void start_aligned_read(struct frag *f, frag_step *then)
{
	uint32_t from = aligned_offset(f);
	f->io.kind = PL_IO_READ;
	f->io.flags = 0;
	f->io.buf = f->bounce;
	f->io.buf_index = PL_IO_NO_BUFFER;
	f->io.length = round_up_pow2(f->offset_bytes + f->length_bytes, f->disk->io_align) - from;
	f->io.offset = file_offset(f->disk, f->at.file, from);
	frag_io(f, level_store(f->disk, f->at.level), then);
}

/* What the file does not have is zeros. */
static bool read_failed(struct frag *f)
{
	if (f->io.res < 0) {
		frag_finish(f, f->io.res);
		return true;
	}
	memset((uint8_t *)f->bounce + f->io.res, 0, f->io.length - (uint64_t)f->io.res);
	return false;
}

static uint8_t *guest_bytes(const struct frag *f)
{
	return (uint8_t *)f->bounce + (f->offset_bytes - aligned_offset(f));
}

static void bounced_read_done(struct frag *f)
{
	if (read_failed(f))
		return;
	memcpy(f->data, guest_bytes(f), f->length_bytes);
	frag_finish(f, 0);
}

void bounced_read(struct frag *f)
{
	if (bounce_get(f, bounced_read))
		start_aligned_read(f, bounced_read_done);
}

static void bounced_write_done(struct frag *f)
{
	bool whole = f->io.res >= 0 && (uint64_t)f->io.res == f->io.length;
	f->disk->writes++;
	if (f->req->flags & PL_FUA)
		req_state(f->req)->must_commit = true;
	frag_finish(f, whole ? 0 : f->io.res < 0 ? f->io.res : -EIO);
}

static void bounced_write_overlay(struct frag *f)
{
	if (read_failed(f))
		return;
	memcpy(guest_bytes(f), f->data, f->length_bytes);
	f->io.kind = PL_IO_WRITE;
	frag_io(f, f->disk->top->store, bounced_write_done);
}

static void bounced_write_start(struct frag *f)
{
	if (bounce_get(f, bounced_write_start))
		start_aligned_read(f, bounced_write_overlay);
}

void bounced_write(struct frag *f)
{
	gate_open(f);
	bounced_write_start(f);
}
