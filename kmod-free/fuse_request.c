/* What a FUSE request asks of the disk, and its reply: the raw protocol of linux/fuse.h, for what is worth being fast.
 *
 * The kernel never sends more than it was told to at INIT, but a request is judged all the same: the length it came
 * with, the range against the file. Names, attributes and folders are not seen here. */
#include "kmod-free/fuse_export.h"

#include "base/checked.h"
#include "base/invariant.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

static_assert(sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) == FUSE_REQUEST_HEAD,
	      "write payloads would not land on the page boundary");

/* Where the request lies; the payload of a WRITE begins at s->payload. */
static const struct fuse_in_header *request_head(const struct fuse_slot *s)
{
	return (const struct fuse_in_header *)(s->payload - FUSE_REQUEST_HEAD);
}

static const void *request_body(const struct fuse_slot *s)
{
	return request_head(s) + 1;
}

/* Send @bytes that lie at @data, the header goes right before them. An error here means that the request was
 * interrupted or the file system went away: nobody waits for the answer. */
static void send_reply(struct fuse_slot *s, int32_t error, uint8_t *data, uint32_t bytes)
{
	struct fuse_out_header head = {.len = (uint32_t)sizeof(head) + bytes, .error = error, .unique = s->unique};
	uint8_t *start = data - sizeof(head);
	memcpy(start, &head, sizeof(head));
	ssize_t n = write(s->export->fd, start, head.len);
	if (n < 0 && errno != ENOENT && errno != ENODEV)
		pl_log(PL_LOG_WARN, "fuse", "a reply was refused errno=%d opcode=%u bytes=%u", errno, s->opcode, bytes);
}

static bool answer(struct fuse_slot *s, int32_t error)
{
	send_reply(s, error, s->payload, 0);
	return false;
}

static bool answer_with(struct fuse_slot *s, const void *body, uint32_t bytes)
{
	memcpy(s->payload, body, bytes);
	send_reply(s, 0, s->payload, bytes);
	return false;
}

void fuse_request_finish(struct fuse_slot *s, int32_t res)
{
	if (unlikely(res < 0)) {
		answer(s, res);
	} else if (s->opcode == FUSE_READ) {
		send_reply(s, 0, s->payload + s->skip_bytes, s->reply_bytes);
	} else if (s->opcode == FUSE_WRITE) {
		struct fuse_write_out out = {.size = s->reply_bytes};
		answer_with(s, &out, sizeof(out));
	} else {
		answer(s, 0);
	}
	fuse_slot_done(s);
}

static void disk_done(struct pl_req *req)
{
	fuse_request_finish(req->owner, req->res);
}

static bool submit(struct fuse_slot *s, enum pl_op op, uint8_t flags, uint64_t offset_bytes, uint64_t length_bytes)
{
	s->req.done = disk_done;
	s->req.owner = s;
	s->req.op = (uint8_t)op;
	s->req.flags = flags;
	s->req.buf_index = PL_IO_NO_BUFFER;
	s->req.offset_bytes = offset_bytes;
	s->req.length_bytes = length_bytes;
	s->req.buf = s->payload;
	pl_submit(s->export->disk, &s->req);
	return true;
}

static const struct fuse_file *file_of(const struct fuse_slot *s)
{
	uint64_t ino = request_head(s)->nodeid;
	return ino < FUSE_INO_END && s->export->files[ino].name ? &s->export->files[ino] : NULL;
}

/* Reads past the end are cut; a read that does not begin and end on a sector takes the whole of its edge sectors. */
static bool start_read(struct fuse_slot *s, const struct fuse_file *file)
{
	const struct fuse_read_in *in = request_body(s);
	if (in->offset >= file->length_bytes || in->size == 0)
		return answer(s, 0);
	if (in->size > FUSE_PAYLOAD_BYTES)
		return answer(s, -EINVAL);
	uint64_t end = MIN(in->offset + in->size, file->length_bytes);
	uint64_t from = round_down_pow2(in->offset, SECTOR_BYTES);
	s->skip_bytes = (uint32_t)(in->offset - from);
	s->reply_bytes = (uint32_t)(end - in->offset);
	return submit(s, PL_READ, 0, file->offset_bytes + from, round_up_pow2(end, SECTOR_BYTES) - from);
}

static bool start_write(struct fuse_slot *s, const struct fuse_file *file, size_t bytes)
{
	const struct fuse_write_in *in = request_body(s);
	if (in->size != bytes - FUSE_REQUEST_HEAD)
		return answer(s, -EINVAL);
	if (!range_fits(in->offset, in->size, file->length_bytes))
		return answer(s, -EFBIG);
	if (in->size == 0)
		return answer_with(s, &(struct fuse_write_out){0}, sizeof(struct fuse_write_out));
	uint8_t flags = in->flags & O_DSYNC ? PL_FUA : 0;
	s->reply_bytes = in->size;
	if (is_aligned(in->offset | in->size, SECTOR_BYTES))
		return submit(s, PL_WRITE, flags, file->offset_bytes + in->offset, in->size);
	fuse_unaligned_hold(s, file->offset_bytes + in->offset, flags);
	return true;
}

/* A hole punched must read zeros, and the loop driver turns every discard into one. */
static bool start_fallocate(struct fuse_slot *s, const struct fuse_file *file)
{
	const struct fuse_fallocate_in *in = request_body(s);
	uint8_t flags;
	if (in->mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
		flags = 0;
	else if ((in->mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) == FALLOC_FL_ZERO_RANGE)
		flags = PL_NO_HOLE;
	else
		return answer(s, -EOPNOTSUPP);
	if (!range_fits(in->offset, in->length, file->length_bytes))
		return answer(s, -EFBIG);
	if (!is_aligned(in->offset | in->length, SECTOR_BYTES))
		return answer(s, -EOPNOTSUPP); /* whoever asked writes zeros then */
	if (in->length == 0)
		return answer(s, 0);
	return submit(s, PL_WRITE_ZEROES, flags, file->offset_bytes + in->offset, in->length);
}

static bool answer_open(struct fuse_slot *s)
{
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
	return answer_with(s, &out, sizeof(out));
}

/* Not ours, or about the folder. */
static bool serve_cold(struct fuse_slot *s, size_t bytes)
{
	fuse_files_serve(s->export, request_head(s), bytes);
	return false;
}

static size_t body_bytes(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_READ:
		return sizeof(struct fuse_read_in);
	case FUSE_WRITE:
		return sizeof(struct fuse_write_in);
	case FUSE_FALLOCATE:
		return sizeof(struct fuse_fallocate_in);
	default:
		return 0;
	}
}

static bool start_on_file(struct fuse_slot *s, const struct fuse_file *file, size_t bytes)
{
	if (s->export->readonly && (s->opcode == FUSE_WRITE || s->opcode == FUSE_FALLOCATE))
		return answer(s, -EROFS);
	switch (s->opcode) {
	case FUSE_READ:
		return start_read(s, file);
	case FUSE_WRITE:
		return start_write(s, file, bytes);
	case FUSE_FSYNC:
		return submit(s, PL_FLUSH, 0, 0, 0);
	case FUSE_FALLOCATE:
		return start_fallocate(s, file);
	case FUSE_OPEN:
		return answer_open(s);
	case FUSE_FLUSH:
		return answer(s, 0);
	default:
		return serve_cold(s, bytes);
	}
}

/* ------------------------------------------------------------------ the greeting, and a predecessor's requests */

#define NOTIFY_RESEND 7          /* FUSE_NOTIFY_RESEND and FUSE_HAS_RESEND of newer headers */
#define HAS_RESEND    (1ull << 39)

static void look_at_greeting(struct fuse_export *e, const struct fuse_in_header *head, size_t bytes)
{
	const struct fuse_init_in *in = (const void *)(head + 1);
	uint64_t flags = 0;
	if (bytes >= sizeof(*head) + sizeof(*in))
		flags = in->flags | (uint64_t)(in->flags & FUSE_INIT_EXT ? in->flags2 : 0) << 32;
	e->can_resend = flags & HAS_RESEND;
	e->greeted = true;
}

/* It comes once, first of all; a successor has to know it. */
static bool serve_greeting(struct fuse_slot *s, size_t bytes)
{
	struct fuse_export *e = s->export;
	const struct fuse_in_header *head = request_head(s);
	if (pwrite(e->greeting_fd, head, bytes, 0) != (ssize_t)bytes)
		pl_log(PL_LOG_WARN, "fuse", "the greeting is not kept: %s", strerror(errno));
	fuse_files_serve(e, head, bytes);
	look_at_greeting(e, head, bytes);
	return false;
}

int fuse_request_replay_greeting(struct fuse_export *e)
{
	uint8_t *at = e->slots[0].payload - FUSE_REQUEST_HEAD;
	const struct fuse_in_header *head = (const void *)at;
	ssize_t n = pread(e->greeting_fd, at, FUSE_PAGE_BYTES, 0);
	if (n < (ssize_t)sizeof(*head) || head->opcode != FUSE_INIT || head->len != n)
		return pl_fail(-EUCLEAN, "what a dead server agreed with the kernel on is not known");
	e->replaying = true;
	fuse_files_serve(e, head, (size_t)n);
	e->replaying = false;
	look_at_greeting(e, head, (size_t)n);
	return 0;
}

int fuse_request_again(struct fuse_export *e)
{
	struct fuse_out_header head = {.len = sizeof(head), .error = NOTIFY_RESEND};
	if (write(e->fd, &head, sizeof(head)) == (ssize_t)sizeof(head) || errno == ENODEV)
		return 0; /* unmounted meanwhile: nobody waits */
	return pl_fail(-errno, "the kernel does not repeat the requests of a dead server: %s", strerror(errno));
}

bool fuse_request_start(struct fuse_slot *s, size_t bytes)
{
	const struct fuse_in_header *head = request_head(s);
	invariant(bytes >= sizeof(*head) && head->len == bytes); /* the kernel writes whole requests */
	s->unique = head->unique;
	s->opcode = head->opcode;
	if (s->opcode == FUSE_INIT)
		return serve_greeting(s, bytes);
	if (s->opcode == FUSE_INTERRUPT)
		return answer(s, -ENOSYS); /* every request ends soon by itself; the kernel does not ask again */
	const struct fuse_file *file = file_of(s);
	if (!file)
		return serve_cold(s, bytes);
	if (bytes < sizeof(*head) + body_bytes(s->opcode))
		return answer(s, -EINVAL);
	return start_on_file(s, file, bytes);
}
