/* The BAT: one 32-bit slot per guest cluster, checked while it is decoded. Pure over buffers. Format: README.md. */
#ifndef PLOOP_LAYOUT_BAT_H
#define PLOOP_LAYOUT_BAT_H

#include "layout/header.h"

/* A walk over the slots of one image. The header has passed lay_header_check() for this file. */
struct lay_bat_scan {
	const struct lay_header *h;
	uint64_t file_clusters;	 /* lay_file_clusters() */
	uint64_t *used;		 /* one bit per file cluster, caller's memory, zero at first; NULL: duplicates pass */
	uint32_t guest_clusters; /* lay_guest_clusters() */
};

/* Whole clusters in a file, cut to what a slot can name. */
uint64_t lay_file_clusters(const struct lay_header *h, uint64_t file_bytes);

/* Words of lay_bat_scan.used. */
static inline size_t lay_used_words(uint64_t file_clusters)
{
	return (size_t)div_up(file_clusters, 64);
}

/* Decode the @n slots of guest clusters [@first, @first + n) into @out: file cluster numbers, 0 for absent. Slots
 * behind the last guest cluster, up to lay_bat_slots(), may be scanned too: they must be 0. LAY_OK, or the finding of
 * the first bad slot: fault->index is its guest cluster, the slots before it are decoded and counted in @used, and the
 * walk can go on behind it. */
enum lay_finding_id lay_bat_decode(struct lay_bat_scan *s, uint32_t first, const void *slots_le, uint32_t n,
				   uint32_t *out, struct lay_fault *fault);

#endif
