/* The pieces of which clones, templates and moves are made.
 *
 *   clone_source.c       the bundle that is read: locked, its descriptor fresh, the chain chosen
 *   clone_folder.c       the new bundle's folder: hidden until it is whole
 *   clone_descriptor.c   the new bundle's descriptor
 *   clone_top.c          the fresh top of a linked clone
 *   clone_copy.c         bytes of files, clone_tree.c whole folders
 *   clone.c clone_seal.c clone_move.c   the operations; their tables: README.md */
#ifndef SNAPSHOT_CLONE_H
#define SNAPSHOT_CLONE_H

#include "layout/header.h"
#include "ploop/engine.h"
#include "snapshot/identity.h"
#include "snapshot/points.h"

#include <sys/stat.h>

/* ---- the source */

struct clone_source {
	struct pl_bundle *bundle; /* read under the lock */
	struct pl_chain_spec chain;
	int lock_fd; /* the folder, locked */
	bool is_top; /* the chain ends with the bundle's top */
};
#define CLONE_SOURCE_NONE {.lock_fd = -1}

enum clone_lock { CLONE_LOCK_SHARED, CLONE_LOCK_ALONE };

/* Lock the folder of @given (several clones may be made at once), read its descriptor again, find the chain up to @guid
 * (NULL: the top). -EBUSY another operation runs, or left one of the images between two states · -ENOENT. */
int clone_source_open(const struct pl_bundle *given, const char *guid, enum clone_lock how, struct clone_source *out);
void clone_source_close(struct clone_source *s);
#define autosource __attribute__((cleanup(clone_source_close)))

/* An image that an interrupted merge writes, or that a backup will merge away, cannot be the ground of others:
 * -EBUSY. */
int clone_source_refuse_unsettled(const struct clone_source *s);

/* Is the image one that nobody may write: 1 or 0, or -errno? */
int clone_is_sealed(const struct pl_image_ref *image);
static inline bool clone_mode_is_sealed(mode_t mode)
{
	return (mode & (S_IWUSR | S_IWGRP | S_IWOTH)) == 0;
}

/* ---- the target */

struct clone_folder {
	char *target;  /* as the caller names it, without slashes at the end; for messages */
	char *name;    /* its last component */
	char *part;    /* the hidden name beside it */
	char *path;    /* of the parent, then of the hidden folder; absolute */
	int parent_fd; /* open for reading */
	int fd;        /* the hidden folder; locked, so that nobody takes it for abandoned */
};
#define CLONE_FOLDER_NONE {.parent_fd = -1, .fd = -1}

/* Take @target apart and open its parent. Nothing is made yet. */
int clone_folder_name(struct clone_folder *f, const char *target);
/* The same for something new. -EEXIST, but for an empty folder · -EINVAL inside @source_folder. */
int clone_folder_judge(struct clone_folder *f, const char *target, const char *source_folder);
/* Remove what crashed clones to the same place left, make the hidden folder. */
int clone_folder_make(struct clone_folder *f);
/* Make the content of these files of it durable. Together, because the first then pays for the journal of all. */
int clone_folder_sync(const struct clone_folder *f, const char *const *names, size_t count);
/* The content of all files is durable: make their names so, show the folder as @target, durably. */
int clone_folder_commit(struct clone_folder *f);
/* Release; what was made and not committed is removed. The sentence of pl_error() stays. */
void clone_folder_close(struct clone_folder *f);
#define autofolder __attribute__((cleanup(clone_folder_close)))

/* ---- descriptor */

struct clone_names { /* the files of the new bundle, base first */
	char **file;
	size_t count;
};
/* A name for each image of @chain, and with @with_top one more for a fresh top. */
int clone_names_make(const struct pl_chain_spec *chain, bool with_top, struct clone_names *out);
void clone_names_free(struct clone_names *names);
#define autonames __attribute__((cleanup(clone_names_free)))

/* Write the descriptor of a bundle with these files into @folder_fd, accepted on return. The images keep their GUIDs,
 * except that the last one is the top. */
int clone_descriptor_write(const struct clone_source *source, const struct clone_names *names, uint64_t size_sectors,
			   int folder_fd, const char *folder_path);

/* Copy a descriptor; the copy is lay_desc_fini()'s. */
int clone_descriptor_copy(const struct lay_desc *from, const char *path, struct lay_desc *out);

/* ---- images */

/* The new file @name in @folder_fd, an image above the open chain @below: empty, but for the clusters that @id (NULL:
 * none) changes, which are whole, though sparse. Accepted on return. */
int clone_top_write(int folder_fd, const char *name, const char *path, struct pl_disk *below,
		    const struct identity *id);

struct clone_progress {
	const struct pl_progress *to; /* NULL: nobody */
	uint64_t done_bytes, total_bytes;
};
/* -ECANCELED, with a sentence, when the caller said so. */
int clone_progress_add(struct clone_progress *p, uint64_t bytes);

/* Copy all of @from (@path is its path) to the empty file @to, holes as holes; accepted on return. The file system
 * shares the blocks where it can. */
int clone_copy_file(int from, int to, const char *path, struct clone_progress *progress);

/* ---- trees of files; nothing is followed out of them */

/* Bytes that all files of a tree take; -EOPNOTSUPP it has something that cannot be copied. */
int clone_tree_measure(int folder_fd, const char *path, uint64_t *bytes);
/* Copy all that is in @from, with owners, modes and times; durable but for the names in @to itself. */
int clone_tree_copy(int from, int to, const char *path, struct clone_progress *progress);
/* Remove the folder @name of @parent_fd with all that is in it. 0 or -errno without a sentence. */
int clone_tree_remove(int parent_fd, const char *name);

#endif
