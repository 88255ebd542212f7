/* The memory that outlives a server (D2), seen from the disk: taking over what a dead one left, watching our holder. */
#include <poll.h>

#include "ploop/disk_survive.h"
#include "ploop/journal_replay.h"

/* ---- the holder's life */

/* It died, we did not: another one shall hold the same memory. */
static void holder_died(struct pl_io *io)
{
	struct writer *w = container_of(io, struct writer, life_io);
	w->life_armed = false;
	if (io->res == -ECANCELED)
		return;
	disk_event(w->disk, "holder-died", 0, 0);
	if (survive_restart(&w->survive, w->image->store) < 0) {
		pl_log(PL_LOG_ERROR, "disk", "%s; until a flush, writes would not survive our death", pl_error());
		return;
	}
	pl_log(PL_LOG_WARN, "disk", "%s: its holder died and was replaced", w->image->path);
	watch_holder(w);
}

void watch_holder(struct writer *w)
{
	if (w->survive.life_fd < 0 || w->disk->readonly)
		return;
	w->life_armed = true;
	w->life_io = (struct pl_io){.done = holder_died, .kind = PL_IO_POLL, .fd = w->survive.life_fd, .arg = POLLIN};
	pl_loop_submit(w->disk->loop, &w->life_io);
}

/* ---- what a dead server left */

static int bad_slot(const struct writer *w, struct gclu g, struct fclu f)
{
	return pl_fail(-EUCLEAN, "%s: the table of a dead server maps guest cluster %u to %u, which cannot be",
		       w->image->path, g.n, f.n);
}

/* One change that the BAT may lack. */
static int take_over_slot(struct writer *w, uint64_t word)
{
	struct pl_disk *d = w->disk;
	const struct image *img = w->image;
	struct gclu g = {(uint32_t)(word >> 32)};
	struct fclu f = {(uint32_t)word};
	if (g.n >= d->map.clusters)
		return bad_slot(w, g, f);
	struct map_entry now = map_get(&d->map, g);
	bool in_top = now.level == img->level;
	if (in_top && now.file.n == f.n)
		return 0; /* its BAT entry was written */

	/* A merge moved it down: what is below shows, which the map has forgotten. */
	if (f.n == 0 && map_has_below(&d->map, g))
		return !in_top || d->peek ? 0 : -EAGAIN;
	uint64_t in_file = img->store->size_bytes >> d->cluster_shift;
	if (f.n != 0 && (f.n < lay_header_clusters(&img->header) || f.n >= in_file))
		return bad_slot(w, g, f);
	if (!d->readonly && f.n != 0) {
		if (alloc_is_used(&w->alloc, f))
			return bad_slot(w, g, f);
		alloc_mark(&w->alloc, f);
	}
	if (!d->readonly && in_top)
		file_list_add(&w->freed, now.file);
	if (f.n != 0)
		map_set(&d->map, g, img->level, f);
	else
		map_clear(&d->map, g);
	if (img != d->top)
		map_set_below(&d->map, g);
	return 0;
}

static int take_over(struct writer *w)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < PENDING_SLOTS; i++) {
		uint64_t word = w->survive.shm->slots[i];
		if (word == PENDING_EMPTY)
			continue;
		int r = take_over_slot(w, word);
		if (r < 0)
			return r;
		n++;
	}
	pl_log(PL_LOG_INFO, "disk", "%s: took over from a dead server changes=%u", w->image->path, n);
	disk_event(w->disk, "take-over", n, 0);
	return 0;
}

int attach_pending(struct writer *w, const char *program)
{
	const struct pl_disk *d = w->disk;
	struct store *store = w->image->store;
	uint32_t cluster_sectors = d->cluster_bytes / SECTOR_BYTES;
	int r = d->readonly ? survive_peek(store, d->map.clusters, cluster_sectors, &w->survive)
			    : survive_attach(store, d->map.clusters, cluster_sectors, program, &w->survive);
	if (r < 0)
		return r;
	if (w->survive.inherited && w->image->header.in_use != LAY_IN_USE) {
		/* Somebody repaired and closed the image meanwhile: the table speaks of one that is no more. */
		pl_log(PL_LOG_WARN, "disk", "%s: was closed since its server died, dropping what that left",
		       store->path);
		survive_forget(&w->survive);
	}
	if (w->survive.inherited)
		r = take_over(w);
	if (r == 0)
		r = partials_load(w);
	if (r < 0 || d->readonly)
		return r;
	r = pending_new(w->survive.shm, d->map.clusters, &w->pending);
	if (r == 0)
		w->survive.owned = false;
	return r;
}
