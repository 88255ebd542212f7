/* A bundle from inside: the descriptor with its folder, and how it is replaced on disk. */
#ifndef PLOOP_BUNDLE_H
#define PLOOP_BUNDLE_H

#include "ploop.h"

#include "layout/descriptor.h"

struct bundle_chain { /* what pl_bundle_chain() gave out */
	struct bundle_chain *next;
	struct pl_image_ref images[];
};

struct pl_bundle {
	char *path;    /* canonical, of the descriptor */
	char *folder;  /* the same without its name */
	int folder_fd; /* O_PATH */
	struct lay_desc desc;
	struct pl_image_ref *images; /* one per desc.nodes[], same order; path and name are owned */
	struct bundle_chain *chains;
	char **outside; /* the files outside the folder that the operator allows, NULL-terminated; NULL: none */
};

/* Read the descriptor again and find its images. What pl_bundle_chain() gave out is void. On failure @b is as before.
 */
int bundle_reload(struct pl_bundle *b);

/* A snapshot's id as an operator types it: braces or not, any case. */
bool bundle_guid(const char *text, struct lay_guid *out);

/* Fill @b->images: find the file of each node and apply D9. -EXDEV a file outside the folder that is not among
 * @outside (NULL-terminated, may be NULL) · -EUCLEAN two images are one file, or one is the descriptor · -EISDIR,
 * -EMEDIUMTYPE not a regular file. A file that does not exist is no error here. */
int bundle_locate(struct pl_bundle *b, const char *const *outside);

/* @file as a name below @folder (absolute): slashes and "." dropped, an absolute path made relative. malloc'ed.
 * -EXDEV: it is not below, or has a "..". */
int bundle_name_below(const char *folder, const char *file, char **out);

/* The lock of whoever changes the bundle in @folder_fd (@path, for messages): one operation at a time, by all
 * processes. A descriptor of the folder; closing it unlocks. -EBUSY another operation runs. */
int bundle_lock(int folder_fd, const char *path);

enum bundle_store_how {
	BUNDLE_REPLACE,
	BUNDLE_REPLACE_LOCKED, /* the caller has the lock */
	BUNDLE_CREATE,
};

/* D6: put @desc in place of the folder's descriptor. Its top is named TOPDELTA from then on, also on failure. Durable
 * on return; on failure the old one stands. @path is the folder's, for messages. BUNDLE_CREATE: -EEXIST when there is
 * one. -EBUSY another operation runs · -EINVAL @desc would not be readable. */
int bundle_store(int folder_fd, const char *path, struct lay_desc *desc, enum bundle_store_how how);

/* Put a file of a few lines in place as D6 says, by way of @name.tmp; @name is short. @folder is open for reading.
 * @must_be_new: it is not replaced, for callers who have the folder's lock; -EEXIST. 0 or -errno without a sentence. */
int folder_put_file(int folder, const char *name, const char *text, size_t n, bool must_be_new);
/* Remove what a crash left of one that put @name; the caller has the lock that those hold who do. */
void folder_drop_temp(int folder, const char *name);

#endif
