/* Another file, a copy of an image below the top, takes its place under a running disk: pl_disk_replace().
 *
 *   the copy is opened, its header compared, its BAT read -> requests are held for a moment (quiesce.c) -> the map
 *   names the clusters of the copy -> the file that was is closed
 *
 * A copy may have its clusters elsewhere, but must have all that the disk reads from the image. The two read the same,
 * so the descriptor may name either, whoever dies. */
#include <stdlib.h>

#include "ploop/bat_file.h"
#include "ploop/chain.h"
#include "ploop/change.h"
#include "ploop/quiesce.h"

#define REPLACE_WAIT_NS (5 * NS_PER_S)

struct replace {
	struct pl_disk *disk;
	struct image *image, copy;
	uint32_t *files; /* what the copy's BAT names; NULL: raw */
	struct quiesce quiesce;
};

static void end(struct replace *r, int res)
{
	struct pl_disk *d = r->disk;
	image_close(&r->copy); /* or the file that was */
	free(r->files);
	free(r);
	change_done(d, res);
}

/* ---- is it a copy? */

static int judge_header(const struct replace *r, const struct lay_header *copy)
{
	const struct lay_header *h = &r->image->header;
	if (copy->version != h->version || copy->cluster_sectors != h->cluster_sectors ||
	    copy->size_sectors != h->size_sectors)
		return pl_fail(-EINVAL, "%s is no copy of %s: version, cluster size or size differ", r->copy.path,
			       r->image->path);
	if (copy->in_use == LAY_IN_USE)
		return pl_fail(-EBUSY, "%s is marked in use: check it first", r->copy.path);
	return 0;
}

/* Meanwhile the disk can only come to need less of it. */
static int judge_clusters(const struct replace *r)
{
	const struct map *map = &r->disk->map;
	for (uint32_t i = 0; i < map->clusters; i++)
		if (map->level[i] == r->image->level && r->files[i] == 0)
			return pl_fail(-EINVAL, "%s is no copy of %s: guest cluster %u is missing", r->copy.path,
				       r->image->path, i);
	return 0;
}

static int load(struct replace *r)
{
	struct bat_file b;
	int res = bat_file_load(&b, r->copy.store, 0);
	if (res < 0)
		return res;
	res = judge_header(r, &b.header);
	if (res == 0) {
		r->copy.header = b.header;
		r->files = b.files;
		b.files = NULL;
		res = judge_clusters(r);
	}
	bat_file_fini(&b);
	return res;
}

static int judge_raw(const struct replace *r)
{
	uint64_t has = r->copy.store->size_bytes, wants = r->image->store->size_bytes;
	return has == wants ? 0
			    : pl_fail(-EINVAL, "%s is no copy of %s: it has %llu bytes, not %llu", r->copy.path,
				      r->image->path, (unsigned long long)has, (unsigned long long)wants);
}

/* ---- the exchange */

static void exchange(struct replace *r)
{
	struct pl_disk *d = r->disk;
	struct image was = *r->image;
	*r->image = r->copy;
	r->copy = was;
	chain_obey_limits(d, r->image->store);
	for (uint32_t i = 0; r->files && i < d->map.clusters; i++)
		if (d->map.level[i] == r->image->level)
			d->map.file[i] = r->files[i];
	disk_event(d, "replace", d->rank[r->image->level], 0);
}

static void alone(struct quiesce *q, int res)
{
	struct replace *r = container_of(q, struct replace, quiesce);
	struct pl_disk *d = r->disk;
	if (res < 0) {
		pl_fail(res, "%s: requests in flight did not end in time, nothing was changed", d->top->path);
	} else {
		exchange(r);
		quiesce_end(q);
		d->change->pause_ns = q->pause_ns;
	}
	end(r, res);
}

/* ---- begin */

static int judge_place(const struct pl_disk *d, uint32_t place)
{
	int r = change_judge_images(d);
	if (r < 0)
		return r;
	if (place + 1 >= d->depth)
		return pl_fail(-EINVAL, "%s: image %u of a chain of %u is not below the top", d->top->path, place,
			       d->depth);
	return 0;
}

static int open_copy(struct replace *r, const struct pl_image_ref *ref)
{
	struct image *copy = &r->copy;
	*copy = (struct image){.level = r->image->level, .format = r->image->format};
	int res = image_open(r->disk, copy, ref, true, 0);
	if (res < 0)
		return res;
	return copy->format == PL_FORMAT_RAW ? judge_raw(r) : load(r);
}

void pl_disk_replace(struct pl_disk *d, uint32_t place, const struct pl_image_ref *ref, struct pl_change *change)
{
	if (change_begin(d, change) < 0)
		return;
	int res = judge_place(d, place);
	struct replace *r = res < 0 ? NULL : calloc(1, sizeof(*r));
	if (!r) {
		change_done(d, res < 0 ? res : pl_fail(-ENOMEM, "%s: no memory to replace it", ref->path));
		return;
	}
	r->disk = d;
	r->image = chain_at(d, place);
	res = open_copy(r, ref);
	if (res < 0) {
		end(r, res);
		return;
	}
	r->quiesce.ready = alone;
	quiesce_begin(d, &r->quiesce, REPLACE_WAIT_NS);
}
