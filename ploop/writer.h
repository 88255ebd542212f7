/* An image that is written, and all that takes: where there is space, which map changes its file lacks, the rounds that
 * bring them there, the memory that keeps them should we die.
 *
 * A disk has one, for its top. Two more may live for a while: the top that is to come (switch.c) and the one that was,
 * until it is sealed (seal.c), or the image into which a merge drains the top (drain.c). */
#ifndef PLOOP_WRITER_H
#define PLOOP_WRITER_H

#include "ploop/alloc.h"
#include "ploop/commit.h"
#include "ploop/extension.h"
#include "ploop/journal.h"
#include "ploop/pending.h"
#include "ploop/survive.h"

struct image;

struct space { /* growth of the file: space.c */
	struct pl_io io;
	uint32_t run_clusters;
	uint32_t asked_clusters;
	uint32_t durable_end; /* clusters before it are the file's even after a power failure; fresh ones are zeros */
	bool busy, parked;
	bool asking; /* @io is under way */
	bool sparse; /* the file grows by its size alone */
	int error; /* of the last attempt, until told */
	struct queue waiters;
};

struct file_list { /* file clusters that are no longer mapped */
	struct fclu *at;
	size_t count, max;
};

struct writer {
	/* fixed */
	struct pl_disk *disk;
	struct image *image;

	/* changes */
	struct alloc alloc;
	struct pending *pending; /* NULL: raw, or a disk that is only read */
	struct survive survive;
	struct pl_io life_io; /* tells when the holder dies */
	bool life_armed;
	struct commit commit;
	struct partials *partials; /* NULL: raw */
	struct partial_shm *own_shm; /* of a disk that is only read: theirs */
	struct journal journal;
	struct space space;
	struct extension *extension;  /* NULL: the image has none */
	struct file_list freed;       /* unmapped since the last cut */
	struct file_list freed_round; /* unmapped in the BAT of the running round */
	uint64_t writes;              /* completed, ever */
	bool sealing;                 /* its last round runs: seal.c */
};

#define WRITER_SPARE_CLUSTERS 4096u /* that a file may have besides the disk's: for journals */

/* NULL: no memory. */
struct writer *writer_new(struct pl_disk *d, struct image *image);
/* Nothing of it may be in flight. The holder stays if it has something to keep. NULL is fine. */
void writer_free(struct writer *w);
/* Does a round run, or the file grow? */
bool writer_has_io(const struct writer *w);
/* Its operation on the loop ends soon. */
void writer_stop_watching(struct writer *w);

/* The allocator for an image of this file: space for what the format can address and the disk can need. */
int writer_init_alloc(struct writer *w);
/* d->writer->alloc has its bits: the memory of D2, the rounds. Takes over what a dead server left. */
int writer_start(struct writer *w, const char *holder_program);
/* Write the header with this marker, durable on return. */
int writer_mark(struct writer *w, uint32_t marker, uint64_t ext_sectors);
/* The header that @marker asks for, without a fence. */
struct lay_header writer_header(const struct writer *w, uint32_t marker, uint64_t ext_sectors);

/* Where the map says that a cluster now is nowhere or elsewhere: its old cluster is free after the next round. */
void file_list_add(struct file_list *list, struct fclu f);

#endif
