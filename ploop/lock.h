/* Locks on an image file that keep two writers apart: among ourselves, from QEMU and from libploop, both ways.
 *
 *   byte 400        ours: a writer holds it exclusively, every reader shares it. It is also the barrier of D10: the
 *                   kernel frees it only after the last write of a dead process has landed.
 *   100+p, 200+p    QEMU's protocol: "I use permission p" and "I do not share p", p: 0 read, 1 write, 3 resize.
 *                   libploop 9.x tests 200–204 of the base for a write lock.
 *
 * A reader of a file with several names (a sealed delta that clones share) neither takes nor minds 200–204, so that
 * libploop can work on the other bundles. All are open file description locks: they go with the descriptor. */
#ifndef PLOOP_LOCK_H
#define PLOOP_LOCK_H

#include <stdbool.h>
#include <stdint.h>

enum lock_mode { LOCK_READER, LOCK_WRITER };

/* Lock the file open at @fd (readable; for LOCK_WRITER also writable), waiting up to @wait_ms for an owner on its way
 * out. The locks go when the last duplicate of @fd is closed. -EBUSY names what stands in the way. */
int lock_image(int fd, enum lock_mode mode, uint32_t wait_ms, const char *path);

/* A writer's locks become a reader's: its image was sealed. */
void lock_lower(int fd);

/* Does somebody else have the file locked, as a reader or writer of ours or of QEMU's? */
bool lock_has_others(int fd);

/* Now, not when the last duplicate is closed: io_uring lets go of a registered file some time later. */
void lock_drop(int fd);

#endif
