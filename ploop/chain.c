#include "ploop/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ploop/finding.h"
#include "ploop/journal_replay.h"
#include "ploop/lock.h"

#define LOCK_WAIT_MS 2000u

/* ---- headers */

int image_read_header(struct image *img)
{
	struct store *store = img->store;
	autofree uint8_t *page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	if (!page)
		return pl_fail(-ENOMEM, "%s: no memory to read its header", store->path);

	struct lay_fault fault = {.value = store->size_bytes, .limit = LAY_MIN_FILE_BYTES};
	if (store->size_bytes < LAY_MIN_FILE_BYTES)
		return finding_fail(LAY_F_FILE_SHORT, &fault, store->path);
	int r = store_read(store, page, HEADER_PAGE_BYTES, 0);
	if (r < 0)
		return r;
	enum lay_finding_id id = lay_header_decode(page, &img->header);
	if (id == LAY_OK)
		r = fence_read(store, &img->header, &img->fence);
	if (r < 0)
		return r;
	if (id == LAY_OK)
		id = lay_header_check(&img->header, store->size_bytes, &fault.value, &fault.limit);
	if (id == LAY_OK && (img->header.flags & LAY_FLAG_CONVERT)) {
		id = LAY_F_CONVERTING;
		fault.value = img->header.flags;
	}
	return id == LAY_OK ? 0 : finding_fail(id, &fault, store->path);
}

int image_write_header(struct image *img, const struct lay_header *h)
{
	struct store *store = img->store;
	autofree uint8_t *page = aligned_alloc(HEADER_PAGE_BYTES, HEADER_PAGE_BYTES);
	if (!page)
		return pl_fail(-ENOMEM, "%s: no memory to write its header", store->path);
	int r = store_read(store, page, HEADER_PAGE_BYTES, 0);
	if (r < 0)
		return r;
	lay_header_encode(h, page);
	r = store_write(store, page, HEADER_PAGE_BYTES, 0);
	return r < 0 ? r : store_sync(store);
}

/* ---- do the images fit together? */

static int set_geometry(struct pl_disk *d, const struct pl_chain_spec *spec)
{
	const struct image *top = d->top;
	uint64_t cluster_sectors = spec->cluster_sectors;
	uint64_t size_sectors = spec->size_sectors;
	if (top->format == PL_FORMAT_PLOOP) {
		cluster_sectors = top->header.cluster_sectors;
		size_sectors = top->header.size_sectors;
	} else if (size_sectors == 0) {
		size_sectors = top->store->size_bytes / SECTOR_BYTES;
	}
	if (!lay_cluster_is_valid((uint32_t)cluster_sectors))
		return pl_fail(-EINVAL,
			       "%s: a raw image needs a cluster size, a power of two of 64 to 131072 sectors, not %llu",
			       top->store->path, (unsigned long long)cluster_sectors);
	if (spec->cluster_sectors && spec->cluster_sectors != cluster_sectors)
		return pl_fail(-EINVAL, "%s has clusters of %llu sectors, the descriptor says %u", top->store->path,
			       (unsigned long long)cluster_sectors, spec->cluster_sectors);
	if (size_sectors == 0 || div_up(size_sectors, cluster_sectors) > UINT32_MAX)
		return pl_fail(-EINVAL, "%s: a disk of %llu sectors is outside of what is supported", top->store->path,
			       (unsigned long long)size_sectors);
	d->size_bytes = size_sectors * SECTOR_BYTES;
	d->cluster_bytes = (uint32_t)(cluster_sectors * SECTOR_BYTES);
	d->cluster_shift = (uint32_t)__builtin_ctz(d->cluster_bytes);
	return 0;
}

static int check_member(const struct pl_disk *d, const struct image *img)
{
	const struct lay_header *top = &d->top->header;
	if (img->format == PL_FORMAT_RAW && img != chain_at(d, 0))
		return pl_fail(-EINVAL, "%s: only the base of a chain can be raw", img->store->path);
	if (img->format == PL_FORMAT_RAW || img == d->top)
		return 0;
	if (img->header.cluster_sectors != top->cluster_sectors)
		return pl_fail(-EINVAL, "%s has clusters of %u sectors, the top of the chain %u", img->store->path,
			       img->header.cluster_sectors, top->cluster_sectors);
	if (img->header.version != top->version)
		return pl_fail(-EINVAL, "%s has format version %u, the top of the chain %u", img->store->path,
			       img->header.version, top->version);
	if (img->header.size_sectors > top->size_sectors)
		return pl_fail(-EINVAL, "%s is larger (%llu sectors) than the top of the chain (%llu)",
			       img->store->path, (unsigned long long)img->header.size_sectors,
			       (unsigned long long)top->size_sectors);
	return 0;
}

static int judge(struct pl_disk *d, const struct pl_chain_spec *spec)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < d->depth; i++)
		if (chain_at(d, i)->format == PL_FORMAT_PLOOP)
			r = image_read_header(chain_at(d, i));
	if (r == 0)
		r = set_geometry(d, spec);
	d->io_align = d->mem_align = 1;
	for (uint32_t i = 0; r == 0 && i < d->depth; i++) {
		chain_obey_limits(d, chain_at(d, i)->store);
		r = check_member(d, chain_at(d, i));
	}
	return r;
}

/* ---- opening */

static int prepare(struct pl_disk *d, const struct pl_chain_spec *spec)
{
	if (spec->count == 0 || spec->count > PL_MAX_CHAIN)
		return pl_fail(-EINVAL, "a chain has 1 to %d images, not %zu", PL_MAX_CHAIN, spec->count);
	d->images = calloc(LEVELS_MAX, sizeof(*d->images));
	if (!d->images)
		return pl_fail(-ENOMEM, "no memory for a chain of %zu images", spec->count);
	d->keep_space = spec->preallocated;
	for (uint32_t i = 0; i < LEVELS_MAX; i++)
		d->images[i].level = (uint8_t)(i + 1);
	for (uint32_t i = 0; i < spec->count; i++) {
		d->images[i].format = spec->images[i].format;
		chain_append(d, &d->images[i]);
	}
	d->writer = writer_new(d, d->top);
	return d->writer ? 0 : pl_fail(-ENOMEM, "no memory to open %s", spec->images[spec->count - 1].path);
}

/* ---- the order */

static void rank_from(struct pl_disk *d, uint32_t place)
{
	for (; place < d->depth; place++)
		d->rank[d->order[place]] = (uint8_t)place;
	d->top = chain_at(d, d->depth - 1);
}

void chain_append(struct pl_disk *d, struct image *img)
{
	d->order[d->depth++] = img->level;
	rank_from(d, d->depth - 1);
}

void chain_remove(struct pl_disk *d, struct image *img)
{
	uint32_t place = d->rank[img->level];
	invariant(d->depth > 1 && d->order[place] == img->level);
	memmove(&d->order[place], &d->order[place + 1], d->depth - place - 1);
	d->depth--;
	rank_from(d, MIN(place, d->depth - 1));
}

void chain_replace(struct pl_disk *d, const struct image *img, const struct image *by)
{
	uint32_t place = d->rank[img->level];
	d->order[place] = by->level;
	rank_from(d, place);
}

struct image *chain_free_level(struct pl_disk *d)
{
	for (uint32_t i = 0; i < PL_MAX_CHAIN; i++)
		if (!d->images[i].store)
			return &d->images[i];
	return NULL;
}

void chain_obey_limits(struct pl_disk *d, const struct store *store)
{
	d->io_align = MAX(d->io_align, store->io_align);
	d->mem_align = MAX(d->mem_align, store->mem_align);
}

/* A lock does not tell who has it, but a server's holder does. */
static int name_owner(struct store *store, int r)
{
	uint32_t pid = survive_server_pid(store);
	return pid == 0 ? r : pl_fail(r, "%s is in use by process %u (ploop-server)", store->path, pid);
}

int image_open(struct pl_disk *d, struct image *img, const struct pl_image_ref *ref, bool readonly,
	       uint32_t lock_wait_ms)
{
	struct pl_image_ref own = *ref;
	own.path = img->path = strdup(ref->path);
	if (!own.path)
		return pl_fail(-ENOMEM, "%s: no memory to open it", ref->path);
	int r = store_file_open(d->loop, &own, readonly, &img->store);
	if (r < 0 || d->peek)
		return r;
	r = lock_image(img->store->fd, readonly ? LOCK_READER : LOCK_WRITER, lock_wait_ms, own.path);
	if (r == -EBUSY)
		return name_owner(img->store, r);
	/* D10: until a moment ago the owner before us may have grown or cut the file. */
	return r < 0 ? r : store_file_measure(img->store);
}

void image_close(struct image *img)
{
	struct store *store = img->store;
	if (store && store->fd >= 0)
		lock_drop(store->fd);
	if (store)
		store_close(store);
	free(img->path);
	*img = (struct image){.level = img->level};
}

int chain_open(struct pl_disk *d, const struct pl_chain_spec *spec, const struct pl_open_options *options)
{
	int r = prepare(d, spec);
	for (uint32_t i = d->depth; r == 0 && i-- > 0;) /* the top first: it decides who may */
		r = image_open(d, &d->images[i], &spec->images[i], d->readonly || i + 1 < d->depth,
			       options->lock_wait_ms ? options->lock_wait_ms : LOCK_WAIT_MS);
	return r < 0 ? r : judge(d, spec);
}

int image_adopt(struct image *img, struct store *store)
{
	img->path = strdup(store->path);
	if (!img->path) {
		store_close(store);
		return pl_fail(-ENOMEM, "%s: no memory to open it", store->path);
	}
	store->path = img->path;
	img->store = store;
	return 0;
}

int chain_adopt(struct pl_disk *d, struct store *const *stores, const struct pl_chain_spec *spec)
{
	int r = prepare(d, spec);
	for (size_t i = 0; i < spec->count; i++) {
		if (r == 0)
			r = image_adopt(&d->images[i], stores[i]);
		else
			store_close(stores[i]);
	}
	return r < 0 ? r : judge(d, spec);
}

void chain_close(struct pl_disk *d)
{
	for (uint32_t i = 0; d->images && i < LEVELS_MAX; i++)
		if (d->images[i].store || d->images[i].path)
			image_close(&d->images[i]);
	free(d->images);
}
