#include "ploop/io_error.h"

#include <string.h>

#include "ploop/disk.h"

#define TELL_EVERY_NS (1 * NS_PER_S)

static const char *what(const struct frag *f)
{
	switch (f->io.kind) {
	case PL_IO_READ:
		return "read";
	case PL_IO_WRITE:
		return "write";
	default:
		return "fallocate";
	}
}

void io_error_note(const struct frag *f)
{
	struct pl_disk *d = f->disk;
	struct io_errors *e = &d->io_errors;
	uint64_t now = pl_now_ns();
	if (f->io.res == -EOPNOTSUPP || is_no_space(f->io.res))
		return; /* answers, rather than errors */
	e->count++;
	if (e->told_ns && now - e->told_ns < TELL_EVERY_NS)
		return;
	disk_event(d, "io-error", (uint64_t)-f->io.res, f->io.offset);
	unsigned long long guest_offset = ((unsigned long long)f->g.n << d->cluster_shift) + f->offset_bytes;
	pl_log(PL_LOG_ERROR, "store",
	       "%s: %s failed: %s guest_offset=%llu file_offset=%llu length=%llu unreported=%llu", f->store->path,
	       what(f), strerror(-f->io.res), guest_offset, (unsigned long long)f->io.offset,
	       (unsigned long long)f->io.length, (unsigned long long)(e->count - e->told_count - 1));
	e->told_ns = now;
	e->told_count = e->count;
}
