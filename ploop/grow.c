/* Growing, step by step. Until the new header is written the old one is true, and says which entries count.
 *
 *   step                                        a crash after it leaves
 *   marked in use                               the image as it was, marked
 *   file long enough for the BAT                same, with free clusters
 *   clusters of the longer BAT copied, synced   same; the copies are free clusters
 *   their entries changed, synced               the old size, data in its new places
 *   the BAT's new clusters zeroed, synced       same: the slots behind the last entry must be 0
 *   new header, synced                          the new size, marked
 *   closed                                      the new size */
#include "ploop/grow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ploop/bat_file.h"
#include "ploop/finding.h"

#define PIECE_BYTES (1u << 20)
#define SECTORS_PER_BAT_CLUSTER (UINT64_C(8192) * 64) /* what a cluster of BAT maps, at least */

struct grow {
	struct bat_file bat;
	struct lay_header to;
	uint32_t first, end; /* file clusters that become BAT: [first, end) */
	bool has_data;
	uint8_t *piece;      /* PIECE_BYTES */
};

/* ---- clusters out of the way */

static int copy_cluster(struct grow *w, struct fclu from, struct fclu to)
{
	const struct bat_file *b = &w->bat;
	for (uint32_t done = 0; done < b->cluster_bytes;) {
		uint32_t n = MIN(b->cluster_bytes - done, PIECE_BYTES);
		int r = store_read(b->store, w->piece, n, bat_file_offset(b, from) + done);
		if (r == 0)
			r = store_write(b->store, w->piece, n, bat_file_offset(b, to) + done);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

static bool is_in_the_way(const struct grow *w, uint32_t file)
{
	return file >= w->first && file < w->end;
}

/* Copy the data of the clusters that become BAT; *@moved gets what the entries must become, 0: unchanged. */
static int copy_all(struct grow *w, uint32_t *moved)
{
	struct bat_file *b = &w->bat;
	for (uint32_t f = w->first; f < w->end; f++)
		if (!alloc_is_used(&b->alloc, (struct fclu){f}))
			alloc_mark(&b->alloc, (struct fclu){f}); /* not for data any more */
	for (uint32_t g = 0; g < b->clusters; g++) {
		struct fclu to;
		bool fresh;
		if (!is_in_the_way(w, b->files[g]))
			continue;
		int r = bat_file_take(b, 1, &to, &fresh);
		if (r == 0)
			r = copy_cluster(w, (struct fclu){b->files[g]}, to);
		if (r < 0)
			return r;
		moved[g] = to.n;
	}
	return store_sync(b->store);
}

static int write_entries(struct grow *w, const uint32_t *moved)
{
	struct bat_file *b = &w->bat;
	uint32_t page = 0;
	bool has_page = false;
	for (uint32_t g = 0; g <= b->clusters; g++) { /* one more, for the last page */
		uint32_t its = bat_file_page_of((struct gclu){g});
		if (has_page && (g == b->clusters || its != page)) {
			bat_file_build_page(b, page, w->piece);
			int r = store_write(b->store, w->piece, BAT_PAGE_BYTES, (uint64_t)page * BAT_PAGE_BYTES);
			if (r < 0)
				return r;
			has_page = false;
		}
		if (g == b->clusters || !moved[g])
			continue;
		b->files[g] = moved[g];
		page = its;
		has_page = true;
	}
	return store_sync(b->store);
}

static int relocate(struct grow *w)
{
	autofree uint32_t *moved = calloc(w->bat.clusters, sizeof(*moved));
	if (!moved)
		return pl_fail(-ENOMEM, "%s: no memory to move its clusters", w->bat.store->path);
	int r = copy_all(w, moved);
	return r < 0 ? r : write_entries(w, moved);
}

/* ---- the BAT's new clusters */

/* From the last entry on, as far as the file was long: its new clusters may hold anything, and so may the slots behind
 * the last entry of the old size, which counted for nothing. */
static int zero_slots(struct grow *w)
{
	const struct bat_file *b = &w->bat;
	uint64_t at = round_up_pow2(lay_slot_offset_bytes(b->clusters), BAT_PAGE_BYTES);
	uint64_t end = bat_file_offset(b, (struct fclu){MIN(MAX(w->end, w->first), b->fresh_from)});
	bat_file_build_page(b, bat_file_page_of((struct gclu){b->clusters - 1}), w->piece);
	int r = store_write(b->store, w->piece, BAT_PAGE_BYTES, at - BAT_PAGE_BYTES);
	memset(w->piece, 0, PIECE_BYTES);
	for (uint64_t n; r == 0 && at < end; at += n) {
		n = MIN(end - at, PIECE_BYTES);
		r = store_write(b->store, w->piece, n, at);
	}
	return r < 0 ? r : store_sync(b->store);
}

static int make_room(struct grow *w)
{
	struct bat_file *b = &w->bat;
	if (w->first >= w->end)
		return zero_slots(w);
	uint64_t bytes = bat_file_offset(b, (struct fclu){w->end});
	int r = bytes > b->store->size_bytes ? b->store->ops->set_size(b->store, bytes) : 0;
	if (r < 0)
		return r;
	alloc_start(&b->alloc, (uint32_t)(b->store->size_bytes / b->cluster_bytes));
	r = relocate(w);
	return r < 0 ? r : zero_slots(w);
}

/* ---- the whole */

static int mark(struct grow *w, uint32_t in_use)
{
	w->bat.header.in_use = in_use;
	w->bat.header.ext_sectors = 0;
	return bat_file_write_header(&w->bat);
}

/* The BAT in memory is the old one, with entries for the old size: the header alone changes. */
static int switch_header(struct grow *w)
{
	struct lay_header *h = &w->bat.header;
	w->to.in_use = LAY_IN_USE;
	w->to.flags = w->has_data ? 0 : h->flags & LAY_FLAG_EMPTY;
	*h = w->to;
	return bat_file_write_header(&w->bat);
}

static int grow_loaded(struct grow *w)
{
	int r = bat_file_begin_changes(&w->bat);
	if (r == 0)
		r = mark(w, LAY_IN_USE);
	if (r == 0)
		r = make_room(w);
	if (r == 0)
		r = switch_header(w);
	return r < 0 ? r : mark(w, LAY_CLOSED_V20);
}

static int close_found(struct grow *w)
{
	int r = store_sync(w->bat.store);
	return r < 0 ? r : mark(w, LAY_CLOSED_V20);
}

static int plan(struct grow *w, uint64_t size_sectors)
{
	const struct lay_header *h = &w->bat.header;
	const char *path = w->bat.store->path;
	if (size_sectors < h->size_sectors)
		return pl_fail(-EINVAL, "%s has %llu sectors, it cannot become smaller (%llu)", path,
			       (unsigned long long)h->size_sectors, (unsigned long long)size_sectors);
	if (!is_aligned(size_sectors, h->cluster_sectors))
		return pl_fail(-EINVAL, "%s: a size of %llu sectors is not a multiple of its cluster of %u", path,
			       (unsigned long long)size_sectors, h->cluster_sectors);
	if (lay_header_compute(size_sectors, h->cluster_sectors, h->version, &w->to) == LAY_OK) {
		w->first = lay_header_clusters(h);
		w->end = lay_header_clusters(&w->to);
		return 0;
	}
	return pl_fail(-EINVAL, "%s: %llu sectors are more than its format can address (%llu)", path,
		       (unsigned long long)size_sectors,
		       (unsigned long long)lay_max_size_sectors(h->cluster_sectors, h->version));
}

int grow_image(struct store *store, uint64_t size_sectors)
{
	struct grow w = {0};
	int r = bat_file_load(&w.bat, store, size_sectors / SECTORS_PER_BAT_CLUSTER + 2);
	if (r < 0)
		return r;
	w.has_data = w.bat.alloc.used_count > 0;
	w.piece = aligned_alloc(BAT_PAGE_BYTES, PIECE_BYTES);
	if (!w.piece)
		r = pl_fail(-ENOMEM, "%s: no memory to grow it", store->path);
	else if (w.bat.header.size_sectors != size_sectors)
		r = plan(&w, size_sectors);
	if (r == 0 && w.bat.header.size_sectors != size_sectors)
		r = grow_loaded(&w);
	else if (r == 0 && w.bat.header.in_use == LAY_IN_USE) /* an interrupted growth got as far as this */
		r = close_found(&w);
	free(w.piece);
	bat_file_fini(&w.bat);
	return r;
}

int grow_raw(struct store *store, uint64_t size_sectors)
{
	uint64_t bytes = size_sectors * SECTOR_BYTES;
	if (size_sectors > INT64_MAX / SECTOR_BYTES)
		return pl_fail(-EINVAL, "%s: a size of %llu sectors is outside of what a file can have", store->path,
			       (unsigned long long)size_sectors);
	if (bytes < store->size_bytes)
		return pl_fail(-EINVAL, "%s has %llu bytes, it cannot become smaller (%llu)", store->path,
			       (unsigned long long)store->size_bytes, (unsigned long long)bytes);
	if (bytes == store->size_bytes)
		return 0;
	int r = store->ops->set_size(store, bytes);
	return r < 0 ? r : store_sync(store);
}
