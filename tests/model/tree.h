/* What a bundle is, for the model: a tree of images, each with a version number per block; and what an operation may
 * make of it, step by step.
 *
 * An operation is foretold as a list of trees: the one before, then one for each time the descriptor is stored. One
 * that succeeds leaves the last of them, one that dies any of them, and nothing else is ever seen. */
#ifndef TEST_MODEL_TREE_H
#define TEST_MODEL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTERS       64u
#define CLUSTER_BYTES  32768u
#define BLOCK_BYTES    4096u
#define BLOCKS	       (CLUSTERS * CLUSTER_BYTES / BLOCK_BYTES)
#define CLUSTER_BLOCKS (CLUSTER_BYTES / BLOCK_BYTES)
#define MAX_NODES      12u /* fewer than snapshot_rig.h passes in an answer */

#define NO_GUID	 "{00000000-0000-0000-0000-000000000000}"
#define TOP_GUID "{5fbaabe3-6958-40ff-92a7-860e329aab41}"

struct node {
	char guid[40], parent[40]; /* "?": a random one */
	char file[96];		   /* "": any */
	uint32_t image[BLOCKS];	   /* versions; 0 is zeros */
	int own;		   /* 0, or why its file is not to be written: -EMLINK, -EROFS */
	bool raw, temporary;
	bool unknown; /* a merge that did not end writes it: it may read anything */
	bool fresh;   /* taken from a running disk at a moment that is not known yet */
};

struct tree {
	struct node at[MAX_NODES + 2];
	size_t count;
};

struct node *tree_find(struct tree *t, const char *guid);
struct node *tree_top(struct tree *t);
size_t tree_children(const struct tree *t, const char *guid, size_t *last);

/* The trees of one operation. */
#define MAX_STEPS 48
struct story {
	struct tree *step; /* MAX_STEPS of them */
	size_t count;
	struct tree now;
	bool live; /* the disk runs */
};
/* Begin with @before. */
void story_begin(struct story *s, const struct tree *before, bool live);
/* What stands in the folder of the running disk's chain; -1: @guid is not in it. */
int story_place(const struct story *s, const char *guid);

/* The outcome, 0 or a negative errno; the trees are in @s. */
int foretell_create(struct story *s, const char *guid, bool temporary);
int foretell_delete(struct story *s, const char *guid);
int foretell_merge(struct story *s, const char *guid);
int foretell_merge_all(struct story *s);
/* @file: the name of the new image; @exists: there is one. */
int foretell_merge_new(struct story *s, const char *guid, const char *file, bool exists);
int foretell_switch(struct story *s, const char *guid, const char *keep);
/* What making a clone does to its source. */
int foretell_clone(struct story *s, const char *guid, bool full);

#endif
