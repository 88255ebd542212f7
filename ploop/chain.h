/* Opening the files of a chain and loading their BATs into one map. */
#ifndef PLOOP_CHAIN_H
#define PLOOP_CHAIN_H

#include "ploop/disk.h"

#define HEADER_PAGE_BYTES 4096u

/* Open, lock and judge the images of @spec into d->images, base first; sets the geometry of @d.
 * -EBUSY, -EUCLEAN, -EMEDIUMTYPE, -EOPNOTSUPP, -EINVAL (images that do not fit together). */
int chain_open(struct pl_disk *d, const struct pl_chain_spec *spec, const struct pl_open_options *options);
/* The same with stores that are open already and belong to @d afterwards, whatever happens. */
int chain_adopt(struct pl_disk *d, struct store *const *stores, const struct pl_chain_spec *spec);

/* Read every BAT, check every entry (D9), fill d->map and d->alloc. Of a disk that is only read also what images below
 * the top, which were not closed, have elsewhere. -EAGAIN: such an image must be settled first (settle.h). */
int chain_load(struct pl_disk *d);

void chain_close(struct pl_disk *d);

/* ---- the order of d->images: called while no request is under way */
void chain_append(struct pl_disk *d, struct image *img);
void chain_remove(struct pl_disk *d, struct image *img);
void chain_replace(struct pl_disk *d, const struct image *img, const struct image *by);
/* A level that no image has; NULL: all are taken. */
struct image *chain_free_level(struct pl_disk *d);
/* From now on requests obey the limits of @store too. */
void chain_obey_limits(struct pl_disk *d, const struct store *store);

/* ---- one image */
int image_open(struct pl_disk *d, struct image *img, const struct pl_image_ref *ref, bool readonly,
	       uint32_t lock_wait_ms);
/* @store is its own from now on, or closed on failure. */
int image_adopt(struct image *img, struct store *store);
void image_close(struct image *img);
/* Read and judge the header (D9). */
int image_read_header(struct image *img);
/* Durable on return. */
int image_write_header(struct image *img, const struct lay_header *h);

#endif
