/* `ploop check` of one image.
 *
 *   open · header · version conversion? · length · clean and not forced: done · reopen for writing, lock, header again
 * · extension · BAT · verdict · marker
 *
 * What differs from the stock tool, on purpose: slots right behind the last entry and entries below the data area are
 * found by every scan; an image in conversion is refused whatever its marker says; no 32-bit arithmetic.
 *
 * Order on disk (D3): a repaired BAT is durable before the marker is cleared, and a slot is only ever set to 0, so that
 * a crash leaves an image that is still marked, with fewer findings. */
#include "ploop/check.h"

#include "base/cleanup.h"
#include "ploop/finding.h"
#include "ploop/image_file.h"
#include "ploop/lock.h"
#include "ploop/settle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define LOCK_WAIT_MS 2000

static void deliver(struct check *c, const struct pl_finding *finding)
{
	if (c->o.on_finding)
		c->o.on_finding(c->o.arg, finding);
}

void check_report(struct check *c, enum lay_finding_id id, const struct lay_fault *fault, enum pl_verdict verdict)
{
	char text[256];
	finding_text(id, fault, text, sizeof(text));
	bool is_error = verdict == PL_VERDICT_NONE && finding_info(id)->severity != SEVERITY_NOTE;
	deliver(c, &(struct pl_finding){finding_info(id)->name, text, verdict, is_error});
}

void check_say(struct check *c, const char *id, bool is_error, const char *fmt, ...)
{
	char text[PATH_MAX + 128];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	deliver(c, &(struct pl_finding){id, text, PL_VERDICT_NONE, is_error});
}

int check_write_header(struct check *c)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	lay_header_encode(&c->h, bytes);
	int r = file_write(c->fd, bytes, sizeof(bytes), 0, c->ref->path);
	if (r)
		return check_stop(c, CHECK_WRITE, r);
	r = file_sync(c->fd, c->ref->path);
	return r ? check_stop(c, CHECK_SYNC, r) : 0;
}

/* A finding that ends the check. */
static int stop_at(struct check *c, enum check_exit code, enum lay_finding_id id, const struct lay_fault *fault)
{
	check_report(c, id, fault, PL_VERDICT_NONE);
	return check_stop(c, code, finding_fail(id, fault, c->ref->path));
}

/* Length and header, checked. */
static int load_header(struct check *c)
{
	uint64_t allocated;
	struct lay_fault fault = {0};
	uint8_t bytes[LAY_HEADER_BYTES];

	int r = file_length(c->fd, &c->file_bytes, &allocated, c->ref->path);
	if (r)
		return check_stop(c, CHECK_READ, r);
	if (c->file_bytes < LAY_MIN_FILE_BYTES) {
		fault = (struct lay_fault){.value = c->file_bytes, .limit = LAY_MIN_FILE_BYTES};
		return stop_at(c, CHECK_READ, LAY_F_FILE_SHORT, &fault);
	}
	r = file_read(c->fd, bytes, sizeof(bytes), 0, c->ref->path);
	if (r)
		return check_stop(c, CHECK_READ, r);

	enum lay_finding_id f = lay_header_decode(bytes, &c->h);
	if (f == LAY_OK && lay_is_fenced(&c->h)) {
		f = file_unfence(c->fd, c->file_bytes, c->ref->path, &c->h, &fault);
		if (f == LAY_OK && !(c->o.flags & PL_CHECK_LIVE)) /* while it is served that is how it is */
			return stop_at(c, CHECK_IN_USE, LAY_F_UNFINISHED, &fault);
	}
	if (f == LAY_OK)
		f = lay_header_check(&c->h, c->file_bytes, &fault.value, &fault.limit);
	if (f != LAY_OK)
		return stop_at(c, CHECK_DAMAGED, f, &fault);
	if (c->o.cluster_sectors != 0 && c->o.cluster_sectors != c->h.cluster_sectors) {
		fault = (struct lay_fault){.value = c->h.cluster_sectors, .limit = c->o.cluster_sectors};
		return stop_at(c, CHECK_PARAMETER, LAY_F_CLUSTER_DIFFERS, &fault);
	}
	if (c->h.flags & LAY_FLAG_CONVERT) {
		fault.value = c->h.flags;
		return stop_at(c, CHECK_CONVERTING, LAY_F_CONVERTING, &fault);
	}
	return 0;
}

static bool is_unaligned(const struct check *c)
{
	return !is_aligned(c->file_bytes, lay_cluster_bytes(&c->h));
}

static void report_unaligned(struct check *c)
{
	struct lay_fault fault = {.value = c->file_bytes, .limit = lay_cluster_bytes(&c->h)};
	check_report(c, LAY_F_FILE_UNALIGNED, &fault, PL_VERDICT_NONE);
}

/* Is there nothing (more) to do? Like the stock tool, an unaligned file that may not be extended is left alone, and no
 * error: the tail is what an interrupted extension left. */
static bool is_done_early(struct check *c)
{
	bool forced = c->o.flags & PL_CHECK_FORCE;
	if (is_unaligned(c) && (!forced || !c->may_write)) {
		report_unaligned(c);
		return true;
	}
	if (c->h.in_use != LAY_IN_USE && !forced) {
		check_say(c, "clean", false, "Image is clean, check is skipped");
		return true;
	}
	return false;
}

/* From here on nobody else changes the image, except when it is checked live. */
static int take_over(struct check *c)
{
	if (c->may_write) {
		int fd = pl_image_open_fd(c->ref, O_RDWR);
		if (fd < 0)
			return check_stop(c, CHECK_OPEN, fd);
		fd_autop(&c->fd);
		c->fd = fd;
		check_say(c, "reopen", false, "Reopen rw %s", c->ref->path);
	}
	if (c->o.flags & PL_CHECK_LIVE)
		return 0;
	int r = lock_image(c->fd, c->may_write ? LOCK_WRITER : LOCK_READER, LOCK_WAIT_MS, c->ref->path);
	return r ? check_stop(c, CHECK_IN_USE, r) : load_header(c);
}

static int extend_to_cluster(struct check *c)
{
	if (!is_unaligned(c) || !c->may_write)
		return 0;
	report_unaligned(c);
	uint64_t bytes = round_up_pow2(c->file_bytes, lay_cluster_bytes(&c->h));
	check_say(c, "file-extended", false, "Truncate image %s up to %" PRIu64, c->ref->path, bytes);
	if (ftruncate(c->fd, (off_t)bytes)) {
		int r = pl_fail(-errno, "truncate %s to %" PRIu64 ": %s", c->ref->path, bytes, strerror(errno));
		return check_stop(c, CHECK_LENGTH, r);
	}
	c->file_bytes = bytes;
	int r = file_sync(c->fd, c->ref->path);
	return r ? check_stop(c, CHECK_SYNC, r) : 0;
}

static void check_entries(struct check *c)
{
	struct lay_fault fault = {.value = c->h.bat_entries, .limit = lay_guest_clusters(&c->h)};
	if (fault.value != fault.limit)
		check_report(c, LAY_F_BAT_ENTRIES, &fault, PL_VERDICT_NONE);
}

/* The content is fine: clear the marker, and with it what it made invalid. */
static int drop_marker(struct check *c)
{
	if (!c->may_write)
		return check_stop(
			c, CHECK_WRITE,
			pl_fail(-EROFS, "%s: the in-use marker cannot be cleared by a read-only check", c->ref->path));
	c->h.in_use = LAY_CLOSED_V20;
	c->h.flags = 0;
	c->h.ext_sectors = 0;
	int r = check_write_header(c);
	if (!r)
		check_report(c, LAY_F_IN_USE, &(struct lay_fault){0}, PL_VERDICT_FIXED);
	return r;
}

static int conclude(struct check *c)
{
	if (c->has_fatal) {
		check_say(c, "not-repaired", true, "Fatal errors were found, image %s is not repaired", c->ref->path);
		return check_stop(c, CHECK_DAMAGED,
				  pl_fail(-EUCLEAN, "Fatal errors were found, image %s is not repaired", c->ref->path));
	}
	if (c->o.flags & PL_CHECK_LIVE)
		return 0;
	bool marked = c->h.in_use == LAY_IN_USE;
	if (marked && !(c->o.flags & PL_CHECK_DROP_IN_USE))
		return stop_at(c, CHECK_IN_USE, LAY_F_IN_USE, &(struct lay_fault){0});
	if (c->has_skipped)
		return check_stop(c, CHECK_DAMAGED,
				  pl_fail(-EUCLEAN, "%s: errors were found and skipped", c->ref->path));
	return marked ? drop_marker(c) : 0;
}

static int scan(struct check *c)
{
	int r = take_over(c);
	if (!r)
		r = extend_to_cluster(c);
	if (r)
		return r;

	c->bat = (struct lay_bat_scan){
		.h = &c->h,
		.file_clusters = lay_file_clusters(&c->h, c->file_bytes),
		.guest_clusters = lay_guest_clusters(&c->h),
	};
	if (c->o.flags & PL_CHECK_DUPLICATES) {
		c->bat.used = calloc(lay_used_words(c->bat.file_clusters), sizeof(uint64_t));
		if (!c->bat.used)
			return check_stop(c, CHECK_MEMORY, pl_fail(-ENOMEM, "check %s: out of memory", c->ref->path));
	}
	check_entries(c);
	r = check_ext(c);
	if (!r)
		r = check_bat(c);
	if (!r)
		r = conclude(c);
	if (!r && c->may_write && (c->o.flags & PL_CHECK_REPAIR_SPARSE))
		r = check_sparse(c);
	return r;
}

static int check_file(struct check *c)
{
	c->fd = pl_image_open_fd(c->ref, O_RDONLY);
	if (c->fd < 0)
		return check_stop(c, CHECK_OPEN, c->fd);
	if (c->ref->format == PL_FORMAT_RAW) {
		if (c->o.cluster_sectors != 0)
			return 0;
		return check_stop(c, CHECK_PARAMETER,
				  pl_fail(-EINVAL, "check %s: a raw image needs its cluster size", c->ref->path));
	}
	int r = load_header(c);
	return r || is_done_early(c) ? r : scan(c);
}

/* A repair must not work on an image that lacks what its dead server acknowledged (D2). */
static void settle(struct check *c)
{
	int r = c->may_write ? settle_image(c->ref) : 0;
	if (r > 0)
		check_say(c, "changes-settled", false, "Took over what a dead server left for %s", c->ref->path);
	else if (r < 0)
		check_say(c, "changes-lost", true, "What a dead server left cannot be used: %s", pl_error());
}

int pl_image_check(const struct pl_image_ref *ref, const struct pl_check_options *options, int *exit_code)
{
	struct check c = {.ref = ref, .fd = -1};
	memcpy(&c.o, options, MIN(options->size, sizeof(c.o)));
	if (c.o.flags & PL_CHECK_LIVE)
		c.o.flags |= PL_CHECK_FORCE | PL_CHECK_DUPLICATES | PL_CHECK_READONLY;
	if (c.o.flags & PL_CHECK_HARD_FORCE)
		c.o.flags |= PL_CHECK_FORCE;
	if (c.o.flags & PL_CHECK_REPAIR_SPARSE) /* what is free follows from what is used */
		c.o.flags |= PL_CHECK_DUPLICATES;
	c.may_write = !(c.o.flags & PL_CHECK_READONLY);

	settle(&c);
	int r = check_file(&c);
	if (c.fd >= 0)
		close(c.fd);
	free(c.bat.used);
	*exit_code = c.exit;
	return r;
}
