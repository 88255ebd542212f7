/* The BAT of an image under check: every slot up to the first data cluster, holes of the file skipped. */
#include "ploop/check.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "ploop/finding.h"
#include "ploop/image_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SLOTS ((uint32_t)(MIB / LAY_BAT_SLOT_BYTES))

struct walk {
	struct check *c;
	uint8_t *slots;	     /* CHUNK_SLOTS, as on disk */
	uint32_t *clusters;  /* the same, decoded */
	bool has_repaired;   /* something was written */
	bool length_is_live; /* the file's length has been read again */
};

static enum pl_verdict judge(struct check *c, enum lay_finding_id id)
{
	bool hard = c->o.flags & PL_CHECK_HARD_FORCE;
	switch (finding_info(id)->repair) {
	case REPAIR_FORCE:
		if (c->may_write)
			return PL_VERDICT_FIXED;
		c->has_skipped = true;
		return PL_VERDICT_SKIPPED;
	case REPAIR_HARD:
		if (hard && c->may_write)
			return PL_VERDICT_FIXED;
		break;
	case REPAIR_IGNORE:
		if (hard)
			return PL_VERDICT_IGNORED;
		break;
	default:
		break;
	}
	c->has_fatal = true;
	return PL_VERDICT_FATAL;
}

/* An image that is being written may have grown since we looked: look again, once. */
static int follow_growth(struct walk *w)
{
	struct check *c = w->c;
	uint64_t allocated, before = lay_used_words(c->bat.file_clusters);
	w->length_is_live = true;
	int r = file_length(c->fd, &c->file_bytes, &allocated, c->ref->path);
	if (r)
		return check_stop(c, CHECK_READ, r);
	uint64_t now = MAX(lay_file_clusters(&c->h, c->file_bytes), c->bat.file_clusters);
	uint64_t *used = reallocarray(c->bat.used, lay_used_words(now), sizeof(*used));
	if (!used)
		return check_stop(c, CHECK_MEMORY, pl_fail(-ENOMEM, "check %s: out of memory", c->ref->path));
	memset(used + before, 0, (lay_used_words(now) - before) * sizeof(*used));
	c->bat.used = used;
	c->bat.file_clusters = now;
	return 0;
}

static int write_back(struct walk *w, uint32_t first, uint32_t n)
{
	w->has_repaired = true;
	int r = file_write(w->c->fd, w->slots, (size_t)n * LAY_BAT_SLOT_BYTES, lay_slot_offset_bytes(first),
			   w->c->ref->path);
	return r ? check_stop(w->c, CHECK_WRITE, r) : 0;
}

/* Slots [first, first + n), which are in w->slots. */
static int scan_chunk(struct walk *w, uint32_t first, uint32_t n)
{
	struct check *c = w->c;
	struct lay_fault fault;
	bool is_changed = false;

	for (uint32_t at = 0; at < n;) {
		uint8_t *slots = w->slots + (size_t)at * LAY_BAT_SLOT_BYTES;
		enum lay_finding_id f = lay_bat_decode(&c->bat, first + at, slots, n - at, w->clusters, &fault);
		if (f == LAY_OK)
			break;
		at = (uint32_t)fault.index - first;
		if (f == LAY_F_SLOT_BEYOND_FILE && (c->o.flags & PL_CHECK_LIVE) && !w->length_is_live) {
			int r = follow_growth(w);
			if (r)
				return r;
			continue;
		}
		enum pl_verdict verdict = judge(c, f);
		check_report(c, f, &fault, verdict);
		if (verdict == PL_VERDICT_FIXED) {
			store_le32(w->slots + (size_t)at * LAY_BAT_SLOT_BYTES, 0);
			is_changed = true;
		}
		at++;
	}
	return is_changed ? write_back(w, first, n) : 0;
}

/* The first slot at or behind @first that is not in a hole of the file; @end when there is none. */
static uint32_t next_slot(struct check *c, uint32_t first, uint32_t end)
{
	uint64_t offset = lay_slot_offset_bytes(first);
	off_t data = lseek(c->fd, (off_t)offset, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? end : first; /* else it cannot tell, as on a block device */
	if ((uint64_t)data <= offset)
		return first;
	uint64_t slot = ((uint64_t)data - LAY_HEADER_BYTES) / LAY_BAT_SLOT_BYTES;
	return (uint32_t)MIN(slot, end);
}

static int walk_slots(struct walk *w)
{
	struct check *c = w->c;
	uint32_t end = (uint32_t)MIN(lay_bat_slots(&c->h), (uint64_t)UINT32_MAX);
	for (uint32_t first = next_slot(c, 0, end); first < end; first = next_slot(c, first, end)) {
		uint32_t n = MIN(CHUNK_SLOTS, end - first);
		int r = file_read(c->fd, w->slots, (size_t)n * LAY_BAT_SLOT_BYTES, lay_slot_offset_bytes(first),
				  c->ref->path);
		if (r)
			return check_stop(c, CHECK_READ, r);
		r = scan_chunk(w, first, n);
		if (r)
			return r;
		first += n;
		if (c->o.on_progress)
			c->o.on_progress(c->o.arg, first, end);
	}
	return 0;
}

int check_bat(struct check *c)
{
	autofree void *slots = malloc((size_t)CHUNK_SLOTS * LAY_BAT_SLOT_BYTES);
	autofree void *clusters = malloc(CHUNK_SLOTS * sizeof(uint32_t));
	if (!slots || !clusters)
		return check_stop(c, CHECK_MEMORY, pl_fail(-ENOMEM, "check %s: out of memory", c->ref->path));

	struct walk w = {.c = c, .slots = slots, .clusters = clusters};
	int r = walk_slots(&w);
	if (r || !w.has_repaired)
		return r;
	r = file_sync(c->fd, c->ref->path);
	return r ? check_stop(c, CHECK_SYNC, r) : 0;
}
