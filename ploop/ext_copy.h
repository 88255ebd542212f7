/* The format extension of an image that no disk has open for writing, on its way to another image or kept where it is:
 * the dirty bitmap and what writers who do not know it must preserve. */
#ifndef PLOOP_EXT_COPY_H
#define PLOOP_EXT_COPY_H

#include "ploop/bat_file.h"

struct ext_copy;

/* Read the extension of @from. *@out is NULL when it has none; a damaged one is dropped with a log line. Turns the
 * loop.
 * -EOPNOTSUPP: it holds a feature that forbids writing for those who do not know it. -ENOMEM. */
int ext_copy_load(const struct bat_file *from, struct ext_copy **out);
void ext_copy_free(struct ext_copy *e);

/* The extension stays in @b, from which it was loaded: its clusters are nobody's. */
void ext_copy_keep(const struct ext_copy *e, struct bat_file *b);
/* Where it was when it was loaded, for the header. */
uint64_t ext_copy_sectors(const struct ext_copy *e);

/* Its clusters as they must lie from file cluster @first on, in a row; *@data stays the copy's, page-aligned. *@sectors
 * is what the header then points to. -EOVERFLOW: it does not fit into one cluster. */
int ext_copy_build(struct ext_copy *e, struct fclu first, const uint8_t **data, uint64_t *bytes, uint64_t *sectors);

#endif
