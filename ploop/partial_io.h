/* Requests on partial clusters (partial.h): where the pieces of a read are, what a write does. */
#ifndef PLOOP_PARTIAL_IO_H
#define PLOOP_PARTIAL_IO_H

#include "ploop/disk.h"
#include "ploop/partial.h"

static inline bool writer_has_partials(const struct writer *w)
{
	return w && w->partials && w->partials->count > 0;
}

static inline bool disk_has_partials(const struct pl_disk *d)
{
	return writer_has_partials(d->writer) || writer_has_partials(d->leaving);
}

/* May first writes make partial clusters now? Only in the top, and while nobody finishes them. */
bool partial_is_wanted(const struct pl_disk *d);

/* Does a partial cluster lie over @e, which the map says of @g? */
bool partial_covers(const struct pl_disk *d, struct gclu g, struct map_entry e);

/* Who writes @g in place, of which the map says @e; NULL: nobody, or a partial cluster lies over it. While a merge
 * drains the top, that may be over a cluster of the image that is written below it. */
static inline struct writer *partial_writer(const struct pl_disk *d, struct gclu g, struct map_entry e)
{
	struct writer *w = level_writer(d, e.level);
	return likely(!d->leaving) || !w || !partial_covers(d, g, e) ? w : NULL;
}

/* Where [@offset, @offset + *@length) of @g is, of which the map says @e; *@length is cut to the piece that is
 * alike. */
struct map_entry partial_look(const struct pl_disk *d, struct gclu g, struct map_entry e, uint32_t offset,
			      uint32_t *length);

/* f->at is what the map says of f->g: make it where the first piece of the range is, and return its length, at most
 * that of the range. */
uint32_t partial_piece(struct frag *f);

/* The same for [@offset, @offset + @length) of @g as the image of @w must be filled: what lies below its own part. */
struct map_entry partial_below(const struct writer *w, struct gclu g, uint32_t offset, uint32_t *length);

/* If the cluster of the write, write zeroes or discard @f is partial, carry it out there. false: it is not. */
bool partial_write(struct frag *f);

/* The first write, or write zeroes, to a cluster that lives below, which makes it partial. @f holds the gate. Goes the
 * way of first_write_whole() when there is no room for one more. */
void partial_create(struct frag *f);

/* It is full, and a pending slot of its writer is reserved: the cluster is whole (D2: before it leaves the table). */
void partial_publish(struct writer *w, uint32_t slot);

#endif
