/* The unlink list: files of a bundle that are to go unless the descriptor names them.
 *
 *   DiskDescriptor.xml.unlink    a file name a line
 *
 * A file is listed, durably, before it is created without being named yet, and before the descriptor stops naming it.
 * Whoever has the bundle's lock next looks at each name: what the descriptor names stays, the rest is removed, then the
 * list. So an operation that died anywhere leaves no file behind, and its ordinary end is the same sweep, which also
 * removes what was on its way to become the list or the descriptor.
 *
 * The list lies in a folder that others may have written (D9): only a regular file of the folder itself goes, and only
 * one that is called like an image of the bundle: as one of the descriptor's, or that with ".{GUID}" behind. */
#ifndef SNAPSHOT_UNLINK_LIST_H
#define SNAPSHOT_UNLINK_LIST_H

#include "ploop/engine.h"

#define UNLINK_LIST_NAME LAY_DESC_NAME ".unlink"

/* Replace the list, durably. Names with a "/" and NULL are left out: such files are not ours to remove later.
 * @lock_fd is the locked folder. */
int unlink_list_set(const struct pl_bundle *b, int lock_fd, const char *const *names, size_t count);

/* How much of @name is there without the ".{GUID}"s at its end: what names of a bundle's images have in common. */
size_t unlink_list_stem(const char *name);

/* What a sweep did, for those who want to tell: a sentence each; the text is heap memory or NULL. */
struct unlink_report {
	char *text;
};

/* Read the descriptor of @b again, then do what the list says. @report may be NULL. On failure the list stays. */
int unlink_list_sweep(struct pl_bundle *b, int lock_fd, struct unlink_report *report);

#endif
