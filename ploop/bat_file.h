/* One image on its own: header and BAT in memory, for those who work on an image file that no disk has open for writing
 * (folding, growing). The waiting calls turn the loop. The store stays the caller's and must outlive it. */
#ifndef PLOOP_BAT_FILE_H
#define PLOOP_BAT_FILE_H

#include "layout/header.h"
#include "ploop/alloc.h"
#include "ploop/store.h"

#define BAT_PAGE_BYTES 4096u /* what a BAT is written in */

struct bat_file {
	struct store *store;
	struct lay_header header;
	uint32_t cluster_bytes;
	uint32_t clusters;   /* of the disk */
	uint32_t *files;     /* guest cluster -> file cluster; 0: absent */
	struct alloc alloc;  /* what the BAT names is used */
	uint32_t fresh_from; /* file clusters from here on were never in the file: they read as zeros once they are */
};

/* Read header and BAT of @store and check both, every entry (D9). The allocator gets room for the disk's clusters and
 * @spare more. On failure @b needs no fini.
 * -EUCLEAN · -EMEDIUMTYPE · -EOPNOTSUPP · -EBUSY (version conversion unfinished) · -ENOMEM. */
int bat_file_load(struct bat_file *b, struct store *store, uint64_t spare);
void bat_file_fini(struct bat_file *b);

/* Before the first change: completes the last cluster of the file. What lies behind the last whole one may be anything,
 * so it becomes a free cluster, not a fresh one. */
int bat_file_begin_changes(struct bat_file *b);

static inline uint64_t bat_file_offset(const struct bat_file *b, struct fclu f)
{
	return (uint64_t)f.n * b->cluster_bytes;
}

/* The page of the file that holds the entry of @g. */
static inline uint32_t bat_file_page_of(struct gclu g)
{
	return (uint32_t)(lay_slot_offset_bytes(g.n) / BAT_PAGE_BYTES);
}
/* What page @page shall hold: the entries as they are in memory, in page 0 behind the header. */
void bat_file_build_page(const struct bat_file *b, uint32_t page, uint8_t out[BAT_PAGE_BYTES]);

/* After bat_file_begin_changes(): a cluster for data, free or new; the file is extended, with a hole, by up to @ahead
 * clusters if it must. *@fresh: it reads as zeros. -ENOSPC: the format cannot address more. May block. */
int bat_file_take(struct bat_file *b, uint32_t ahead, struct fclu *out, bool *fresh);
/* One past the last cluster in use, in bytes: where the file ends when it is closed. */
uint64_t bat_file_end(const struct bat_file *b);

/* Write page 0 and wait until it is durable. */
int bat_file_write_header(const struct bat_file *b);

#endif
