/* The memory that outlives a server (D2), seen from the disk: taking over what a dead one left, watching our holder. */
#include <poll.h>

#include "ploop/disk_survive.h"

/* ---- the holder's life */

/* It died, we did not: another one shall hold the same memory. */
static void holder_died(struct pl_io *io)
{
	struct pl_disk *d = container_of(io, struct pl_disk, life_io);
	d->life_armed = false;
	if (io->res == -ECANCELED)
		return;
	disk_event(d, "holder-died", 0, 0);
	if (survive_restart(&d->survive, d->top->store) < 0) {
		pl_log(PL_LOG_ERROR, "disk", "%s; until a flush, writes would not survive our death", pl_error());
		return;
	}
	pl_log(PL_LOG_WARN, "disk", "%s: its holder died and was replaced", d->top->store->path);
	watch_holder(d);
}

void watch_holder(struct pl_disk *d)
{
	if (d->survive.life_fd < 0 || d->readonly)
		return;
	d->life_armed = true;
	d->life_io = (struct pl_io){.done = holder_died, .kind = PL_IO_POLL, .fd = d->survive.life_fd, .arg = POLLIN};
	pl_loop_submit(d->loop, &d->life_io);
}

/* ---- what a dead server left */

static int bad_slot(const struct pl_disk *d, struct gclu g, struct fclu f)
{
	return pl_fail(-EUCLEAN, "%s: the table of a dead server maps guest cluster %u to %u, which cannot be",
		       d->top->store->path, g.n, f.n);
}

/* One change that the BAT may lack. */
static int take_over_slot(struct pl_disk *d, uint64_t word)
{
	struct gclu g = {(uint32_t)(word >> 32)};
	struct fclu f = {(uint32_t)word};
	if (g.n >= d->map.clusters)
		return bad_slot(d, g, f);
	struct map_entry now = map_get(&d->map, g);
	bool in_top = now.level == d->top_level;
	if (in_top && now.file.n == f.n)
		return 0; /* its BAT entry was written */

	if (f.n == 0 && map_has_below(&d->map, g))
		return bad_slot(d, g, f);
	uint64_t in_file = d->top->store->size_bytes >> d->cluster_shift;
	if (f.n != 0 && (f.n < lay_header_clusters(&d->top->header) || f.n >= in_file))
		return bad_slot(d, g, f);
	if (!d->readonly && f.n != 0) {
		if (alloc_is_used(&d->alloc, f))
			return bad_slot(d, g, f);
		alloc_mark(&d->alloc, f);
	}
	if (!d->readonly && in_top)
		file_list_add(&d->freed, now.file);
	if (f.n != 0)
		map_set(&d->map, g, d->top_level, f);
	else
		map_clear(&d->map, g);
	return 0;
}

static int take_over(struct pl_disk *d)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < PENDING_SLOTS; i++) {
		uint64_t word = d->survive.shm->slots[i];
		if (word == PENDING_EMPTY)
			continue;
		int r = take_over_slot(d, word);
		if (r < 0)
			return r;
		n++;
	}
	pl_log(PL_LOG_INFO, "disk", "%s: took over from a dead server changes=%u", d->top->store->path, n);
	disk_event(d, "take-over", n, 0);
	return 0;
}

int attach_pending(struct pl_disk *d, const struct pl_open_options *options)
{
	struct store *top = d->top->store;
	uint32_t cluster_sectors = d->cluster_bytes / SECTOR_BYTES;
	const char *program = options->holder_program;
	int r = d->readonly ? survive_peek(top, d->map.clusters, cluster_sectors, &d->survive)
			    : survive_attach(top, d->map.clusters, cluster_sectors, program, &d->survive);
	if (r < 0)
		return r;
	if (d->survive.inherited && d->top->header.in_use != LAY_IN_USE) {
		/* Somebody repaired and closed the image meanwhile: the table speaks of one that is no more. */
		pl_log(PL_LOG_WARN, "disk", "%s: was closed since its server died, dropping what that left", top->path);
		survive_forget(&d->survive);
	}
	if (d->survive.inherited) {
		r = take_over(d);
		if (r < 0)
			return r;
	}
	if (d->readonly)
		return 0;
	r = pending_new(d->survive.shm, d->map.clusters, &d->pending);
	if (r == 0)
		d->survive.owned = false;
	return r;
}

