/* What an image keeps of clusters that are only partly written: the fence in its header, and the journal it points to.
 * Pure over buffers. Format and reasons: README.md, "Unfinished clusters".
 *
 * The journal lies in file clusters that no BAT entry names: a head of one block, then records, each of whole blocks. A
 * reader applies records in order until one is not valid; the last entry of a guest cluster counts. */
#ifndef PLOOP_LAYOUT_JOURNAL_H
#define PLOOP_LAYOUT_JOURNAL_H

#include "layout/header.h"

#define LAY_JOURNAL_BLOCK_BYTES 4096u
#define LAY_JOURNAL_ID_BYTES	16
#define LAY_UNIT_BYTES		4096u /* a piece of a cluster: it is valid as a whole or not at all */

/* ---- the fence */

/* Does the header keep stock tools out, and point to a journal? Its cluster size is then 0 and told by the journal. */
static inline bool lay_is_fenced(const struct lay_header *h)
{
	return h->in_use == LAY_IN_USE && h->cluster_sectors == 0 && (h->flags & LAY_FLAG_CONVERT) &&
	       h->ext_sectors != 0;
}

/* The header that keeps stock tools out; the journal begins at file cluster @area. */
struct lay_header lay_header_fenced(const struct lay_header *h, struct fclu area);

/* ---- the head */

struct lay_journal {
	uint32_t cluster_sectors; /* of the image, true */
	uint32_t flags;           /* of the image, true */
	uint64_t area_bytes;      /* head and room for records */
	uint8_t id[LAY_JOURNAL_ID_BYTES]; /* of this journal: records of an older one are not taken for its own */
};

/* false: libcrypto offers no MD5. */
bool lay_journal_head_encode(const struct lay_journal *j, uint8_t block[LAY_JOURNAL_BLOCK_BYTES]);

/* Judge the fenced header @h with the head it points to, and make it true: *@h gets its cluster size and flags back,
 * and no extension. LAY_OK, LAY_F_JOURNAL_HEAD or LAY_F_JOURNAL_PLACE. */
enum lay_finding_id lay_journal_head_decode(const uint8_t block[LAY_JOURNAL_BLOCK_BYTES], uint64_t file_bytes,
					    struct lay_header *h, struct lay_journal *out, struct lay_fault *fault);

/* ---- records */

#define LAY_MAX_UNIT_WORDS (LAY_MAX_CLUSTER_SECTORS * SECTOR_BYTES / LAY_UNIT_BYTES / 64)
/* Words of 64 units that tell which of a cluster's are valid. */
static inline uint32_t lay_unit_words(uint64_t cluster_bytes)
{
	return (uint32_t)div_up(cluster_bytes / LAY_UNIT_BYTES, 64);
}

struct lay_journal_entry {
	struct gclu g;
	struct fclu f; /* where its pieces are; 0: it is no longer unfinished */
};

/* Bytes of a record of @entries. */
uint64_t lay_record_bytes(uint32_t entries, uint32_t words);
/* Entry @i into a record; @units has @words words. */
void lay_record_put(uint8_t *record, uint32_t i, struct lay_journal_entry e, const uint64_t *units, uint32_t words);
/* All entries are put: finish it, padding included, as number @number of journal @id. false: no MD5. */
bool lay_record_seal(uint8_t *record, uint32_t entries, uint32_t words, const uint8_t id[LAY_JOURNAL_ID_BYTES],
		     uint64_t number);

/* The bytes of record @number of journal @id, of which the first block is at @block and which may take up to @room
 * bytes; 0: there is none. *@entries gets their count. */
uint64_t lay_record_length(const uint8_t block[LAY_JOURNAL_BLOCK_BYTES], uint64_t room, uint32_t words,
			   const uint8_t id[LAY_JOURNAL_ID_BYTES], uint64_t number, uint32_t *entries);
/* Is all of it as it was written? */
bool lay_record_is_whole(const uint8_t *record, uint64_t bytes);
void lay_record_get(const uint8_t *record, uint32_t i, struct lay_journal_entry *e, uint64_t *units, uint32_t words);

#endif
