/* A disk that runs, and its guest: requests of all kinds in flight, of which no two touch the same block.
 *
 * While an operation goes on they are logged, because a snapshot is taken at a moment that only the engine knows: what
 * completed before it is in, what was submitted after it is not, and each cluster of what was under way is in or not.
 */
#ifndef TEST_MODEL_GUEST_H
#define TEST_MODEL_GUEST_H

#include "ploop.h"
#include "tests/support/prng.h"
#include "tree.h"

#define DEPTH	   6u
#define MAX_LOGGED 400u

struct guest_log {
	uint32_t before[BLOCKS];
	bool loose[BLOCKS]; /* discarded meanwhile: zeros or what was there */
	struct logged {
		uint32_t submitted, completed, version;
		uint32_t first, count;
	} at[MAX_LOGGED];
	uint32_t count, clock;
};

struct guest {
	struct pl_loop *loop; /* the world's */
	struct pl_disk *disk;
	struct pl_bundle *bundle;
	uint32_t image[BLOCKS];
	bool taken[BLOCKS];
	struct slot {
		struct pl_req req;
		struct guest *guest;
		uint8_t *buf;
		struct logged *entry;
		uint32_t first, count, version;
		bool busy, settling; /* settling: reads what a discard left */
	} slot[DEPTH];
	uint32_t in_flight, budget; /* how many more it may begin */
	uint32_t *next_version;
	struct prng *random;
	struct guest_log *log; /* NULL: nothing is logged */
	char why[256];	       /* what went wrong; "" nothing did */
};

/* The bytes of block @block in @version, and back; UINT32_MAX: nobody wrote that there. */
void block_fill(uint8_t *buf, uint32_t block, uint32_t version);
uint32_t block_version(const uint8_t *buf, uint32_t block);
/* All of @disk; with nothing in flight. */
int image_read(struct pl_disk *disk, uint32_t *image);

/* Open the stopped disk in @folder, which reads @image, for writing. 0 or -errno. */
int guest_start(const char *folder, const uint32_t *image, struct guest *g);
/* Wait for what is in flight, and close. */
int guest_stop(struct guest *g);
/* Begin requests, as many as it may. */
void guest_pump(struct guest *g);
/* Wait for those in flight; none follows. */
void guest_drain(struct guest *g);
/* @requests of them, one after the other and several at once. */
void guest_work(struct guest *g, uint32_t requests);

void guest_log_begin(struct guest *g, struct guest_log *log);
void guest_log_end(struct guest *g);
/* Is @seen what the disk was at one moment of the log? */
bool guest_log_judge(const struct guest_log *log, const uint32_t *seen, char *why, size_t why_bytes);

#endif
