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

/* Read every BAT, check every entry (D9), fill d->map and d->alloc. */
int chain_load(struct pl_disk *d);

void chain_close(struct pl_disk *d);

/* Write the top's header, durable on return. */
int chain_write_header(struct pl_disk *d, const struct lay_header *h);

#endif
