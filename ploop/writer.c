#include "ploop/writer.h"

#include <stdlib.h>

#include "base/reserve.h"
#include "layout/bat.h"
#include "ploop/chain.h"
#include "ploop/disk_survive.h"

struct writer *writer_new(struct pl_disk *d, struct image *image)
{
	struct writer *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->disk = d;
	w->image = image;
	w->survive.life_fd = w->survive.memory_fd = -1;
	if (!d->readonly)
		image->writer = w;
	return w;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	if (w->image->writer == w)
		w->image->writer = NULL;
	commit_fini(w);
	journal_fini(w);
	if (w->own_shm)
		space_release(w->own_shm, partial_shm_bytes(w->disk->map.clusters, w->disk->cluster_bytes));
	partials_free(w->partials);
	pending_free(w->pending);
	survive_detach(&w->survive, false);
	extension_free(w->extension);
	alloc_fini(&w->alloc);
	free(w->freed.at);
	free(w->freed_round.at);
	free(w);
}

bool writer_has_io(const struct writer *w)
{
	return w->space.busy || w->commit.state != COMMIT_IDLE;
}

int writer_init_alloc(struct writer *w)
{
	const struct lay_header *h = &w->image->header;
	uint64_t in_file = lay_file_clusters(h, w->image->store->size_bytes);
	uint64_t limit = h->version == LAY_V1 ? UINT32_MAX / h->cluster_sectors : UINT32_MAX - 1;
	uint64_t max = MAX(in_file, lay_header_clusters(h)) + w->disk->map.clusters + WRITER_SPARE_CLUSTERS;
	return alloc_init(&w->alloc, lay_header_clusters(h), (uint32_t)MIN(max, limit));
}

int writer_start(struct writer *w, const char *holder_program)
{
	int r = w->image->format == PL_FORMAT_PLOOP ? attach_pending(w, holder_program) : 0;
	if (r < 0 || w->disk->readonly)
		return r;
	r = commit_init(w);
	return r < 0 ? r : journal_init(w);
}

struct lay_header writer_header(const struct writer *w, uint32_t marker, uint64_t ext_sectors)
{
	struct lay_header h = w->image->header;
	h.in_use = marker;
	h.ext_sectors = ext_sectors;
	if (marker != LAY_IN_USE && w->alloc.used_count > 0)
		h.flags &= ~LAY_FLAG_EMPTY;
	return h;
}

int writer_mark(struct writer *w, uint32_t marker, uint64_t ext_sectors)
{
	struct lay_header h = writer_header(w, marker, ext_sectors);
	struct lay_header written = w->journal.fenced ? lay_header_fenced(&h, w->journal.area.first) : h;
	int r = image_write_header(w->image, &written);
	if (r == 0)
		w->image->header = h;
	return r;
}

void writer_stop_watching(struct writer *w)
{
	if (w->life_armed)
		pl_loop_cancel(w->disk->loop, &w->life_io);
}

void file_list_add(struct file_list *list, struct fclu f)
{
	if (list->count == list->max) {
		size_t max = list->max ? list->max * 2 : 64;
		struct fclu *more = realloc(list->at, max * sizeof(*more));
		if (!more)
			return; /* the cluster is found free at the next open */
		list->at = more;
		list->max = max;
	}
	list->at[list->count++] = f;
}
