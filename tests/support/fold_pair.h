/* Two neighbours of a chain in memory with random content, made without the engine, and a reader that knows nothing
 * of it either: what folding and growing are judged by. Every sector tells image, guest cluster and place; free
 * clusters and what lies behind the last whole one hold bytes that nobody may see. */
#ifndef PLOOP_TEST_FOLD_PAIR_H
#define PLOOP_TEST_FOLD_PAIR_H

#include "layout/header.h"
#include "ploop/fold.h"
#include "tests/support/medium.h"
#include "tests/support/prng.h"
#include "tests/support/store_fault.h"

struct pair_shape {
	uint32_t version;
	uint32_t cluster_sectors;
	uint32_t child_clusters, parent_clusters;
	uint32_t child_percent, parent_percent; /* of the clusters are there */
	bool raw_parent;
	bool no_punch;
	bool child_bitmap; /* with a format extension: pair_bitmap_is() knows what is in it */
};
struct pair_shape pair_random_shape(struct prng *p);

/* An image of @shape's child; @id tells its sectors. */
struct medium *pair_image(const struct pair_shape *shape, uint32_t id, struct prng *p);
struct medium *pair_child(const struct pair_shape *shape, struct prng *p);
struct medium *pair_parent(const struct pair_shape *shape, struct prng *p);

/* What the chain shows: @child (NULL: nothing) over @parent (NULL: nothing), @bytes of it into *@out, which is the
 * caller's to free. false: an entry points out of the file, or two at the same cluster. */
bool pair_read(const struct medium *child, const struct medium *parent, bool raw_parent, uint64_t bytes, uint8_t **out);
bool pair_is_same(const struct medium *a, const struct medium *b);
struct lay_header pair_header(const struct medium *m);
uint64_t pair_bytes(const struct pair_shape *shape);
/* Closed with an extension that holds the bitmap of pair_child()? */
bool pair_bitmap_is_in(const struct medium *m);

struct pair_run {
	enum pl_merge_into into;
	uint32_t cancel_after;       /* turns of the loop; 0: not */
	struct fault_plan *fault;    /* of the destination; NULL: none */
	struct prng *order;          /* of the stores; NULL: in order */
	uint64_t (*delay_ns)(void *arg);
	uint32_t (*step_bytes)(void *arg);
	bool *agrees;                /* gets whether fold_place() says what the BAT does; NULL: not asked */
};
/* Fold @child and @parent to the end; what fold_start() or done() said. */
int pair_fold(struct pl_loop *loop, const struct pair_shape *shape, struct medium *child, struct medium *parent,
	      const struct pair_run *run);

#endif
