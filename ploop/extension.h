/* The top's format extension while the disk is open for writing: the dirty bitmap goes on counting changes (changed
 * block tracking), what we do not know and must preserve is carried along, and both are written back at close.
 *
 * On disk the extension is void from "in use" to the clean close (the marker says so): a crash ends the tracking, and
 * a backup tool then finds no bitmap and reads all. */
#ifndef PLOOP_EXTENSION_H
#define PLOOP_EXTENSION_H

#include <stdint.h>

struct pl_disk;
struct extension;

/* Read the extension of d->top, if it has a valid one, into d->extension (NULL: none). A damaged one is dropped with a
 * log line. -EOPNOTSUPP: it holds a feature that forbids writing for those who do not know it. */
int extension_load(struct pl_disk *d);

/* [offset, offset + length) is about to change. */
void extension_mark(struct extension *e, uint64_t offset_bytes, uint64_t length_bytes);

/* Write it behind the last used cluster; the caller syncs and then points the header to *@sectors. */
int extension_store(struct pl_disk *d, uint64_t *sectors);

void extension_free(struct extension *e);

#endif
