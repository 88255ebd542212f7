/* Some bundles in a folder, what each of them must be, and the comparison of the two. */
#ifndef TEST_MODEL_WORLD_H
#define TEST_MODEL_WORLD_H

#include "guest.h"
#include "ploop.h"
#include "remote.h"
#include "tree.h"

#define MAX_BUNDLES 4u
#define REMEMBERED  12u

struct bundle {
	bool used, sealed, running;
	bool interrupted; /* what died had the stopped disk open: its marker stays until it is opened again */
	char folder[16];
	bool spared; /* this operation does not die */
	struct tree tree;
	struct guest guest; /* when it runs */
};

struct world {
	struct bundle at[MAX_BUNDLES];
	struct pl_loop *loop;
	struct prng random, guests; /* guests take as many as time allows: what is done next is not theirs to change */
	uint32_t next_version, next_name;
	uint32_t deaths_percent;
	bool running; /* disks may run */
	struct story story;
	struct guest_log log; /* of the operation on a running disk */
	uint64_t seed, ops;
	uint64_t died, refused, done, cancelled;
	char last[REMEMBERED][256]; /* what was done, for whoever reads a failure */
};

/* Begin in an empty folder, which becomes the working directory. */
void world_begin(struct world *w, uint64_t seed);
/* The folder goes, too. */
void world_end(struct world *w);
void world_note(struct world *w, const char *fmt, ...) PL_PRINTF(2, 3);
/* The test has failed: say how to see it again. */
_Noreturn void world_wrong(struct world *w, const char *fmt, ...) PL_PRINTF(2, 3);

void world_new_bundle(struct world *w);
struct bundle *world_free_place(struct world *w);
void world_name(struct world *w, struct bundle *b);
void world_random_guid(struct world *w, char *out);
void world_remove(struct world *w, struct bundle *b);

void bundle_start(struct world *w, struct bundle *b);
void bundle_stop(struct world *w, struct bundle *b);

/* What the descriptor names; no images. */
void bundle_observe(struct world *w, const struct bundle *b, struct tree *out);
/* Is @seen what was foretold? */
bool tree_is(const struct tree *told, const struct tree *seen);
/* Note which files may be written. */
void bundle_look_at_files(struct world *w, struct bundle *b);
/* What image @guid (NULL: the top) of the stopped disk or of a snapshot reads. */
void bundle_read(struct world *w, const struct bundle *b, const char *guid, uint32_t *image);

/* All of it. */
void world_compare(struct world *w);

#endif
