/* The top's format extension while the disk is open for writing: the dirty bitmap goes on counting changes (changed
 * block tracking), what we do not know and must preserve is carried along, and both are written back at close.
 *
 * On disk the extension is void from "in use" to the clean close (the marker says so): a crash ends the tracking, and
 * a backup tool then finds no bitmap and reads all. */
#ifndef PLOOP_EXTENSION_H
#define PLOOP_EXTENSION_H

#include <stdint.h>

struct pl_disk;
struct writer;
struct extension;

/* Read the extension of @w's image, if it has a valid one, into w->extension (NULL: none). A damaged one is dropped
 * with a log line. -EOPNOTSUPP: it holds a feature that forbids writing for those who do not know it. */
int extension_load(struct writer *w);

/* One that tracks changes from now on, under @id. */
int extension_fresh(const struct pl_disk *d, const uint8_t id[16], struct extension **out);
/* The same once more; NULL: no memory. */
struct extension *extension_copy(const struct pl_disk *d, const struct extension *e);

/* [offset, offset + length) is about to change. */
void extension_mark(struct extension *e, uint64_t offset_bytes, uint64_t length_bytes);

/* w->extension as it shall lie in the file, behind the last used cluster. The caller frees @data; once it is written
 * and durable, the header may point to ext_sectors. */
struct extension_bytes {
	uint8_t *data;
	uint64_t length_bytes, offset_bytes;
	uint64_t ext_sectors;
};
int extension_build(const struct writer *w, struct extension_bytes *out);
/* The same, and write it there. Not durable yet. */
int extension_store(struct writer *w, uint64_t *sectors);

void extension_free(struct extension *e);

#endif
