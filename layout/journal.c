/* The fence and the journal of unfinished clusters; field offsets are those of the tables in README.md. */
#include "layout/journal.h"

#include "base/byteorder.h"
#include "base/checked.h"
#include "layout/ext.h"

#include <string.h>

#define HEAD_MAGIC   UINT64_C(0x314c4e4a504f4c50) /* "PLOPJNL1" */
#define RECORD_MAGIC UINT64_C(0x31434552504f4c50) /* "PLOPREC1" */

/* Both begin alike: magic, digest of all that follows it. */
enum common_offset { AT_MAGIC = 0, AT_DIGEST = 8, AT_DIGESTED = 24 };
enum head_offset { HEAD_CLUSTER = 24, HEAD_FLAGS = 28, HEAD_AREA = 32, HEAD_ID = 40 };
enum record_offset { RECORD_ID = 24, RECORD_NUMBER = 40, RECORD_ENTRIES = 48, RECORD_WORDS = 52, RECORD_FIRST = 56 };

#define ENTRY_BYTES(words) (8 + 8 * (uint64_t)(words))

static bool digest(const uint8_t *p, uint64_t bytes, uint8_t out[LAY_MD5_BYTES])
{
	return lay_md5(p + AT_DIGESTED, bytes - AT_DIGESTED, out);
}

static bool is_as_written(const uint8_t *p, uint64_t bytes)
{
	uint8_t md5[LAY_MD5_BYTES];
	return digest(p, bytes, md5) && memcmp(md5, p + AT_DIGEST, sizeof(md5)) == 0;
}

/* ---- fence and head */

struct lay_header lay_header_fenced(const struct lay_header *h, struct fclu area)
{
	struct lay_header fenced = *h;
	fenced.ext_sectors = (uint64_t)area.n * h->cluster_sectors;
	fenced.cluster_sectors = 0;
	fenced.flags |= LAY_FLAG_CONVERT;
	fenced.in_use = LAY_IN_USE;
	return fenced;
}

bool lay_journal_head_encode(const struct lay_journal *j, uint8_t block[LAY_JOURNAL_BLOCK_BYTES])
{
	memset(block, 0, LAY_JOURNAL_BLOCK_BYTES);
	store_le64(block + AT_MAGIC, HEAD_MAGIC);
	store_le32(block + HEAD_CLUSTER, j->cluster_sectors);
	store_le32(block + HEAD_FLAGS, j->flags);
	store_le64(block + HEAD_AREA, j->area_bytes);
	memcpy(block + HEAD_ID, j->id, LAY_JOURNAL_ID_BYTES);
	return digest(block, LAY_JOURNAL_BLOCK_BYTES, block + AT_DIGEST);
}

enum lay_finding_id lay_journal_head_decode(const uint8_t block[LAY_JOURNAL_BLOCK_BYTES], uint64_t file_bytes,
					    struct lay_header *h, struct lay_journal *out, struct lay_fault *fault)
{
	*fault = (struct lay_fault){.value = h->ext_sectors};
	struct lay_journal j = {
		.cluster_sectors = load_le32(block + HEAD_CLUSTER),
		.flags = load_le32(block + HEAD_FLAGS),
		.area_bytes = load_le64(block + HEAD_AREA),
	};
	memcpy(j.id, block + HEAD_ID, LAY_JOURNAL_ID_BYTES);
	if (load_le64(block + AT_MAGIC) != HEAD_MAGIC || !is_as_written(block, LAY_JOURNAL_BLOCK_BYTES) ||
	    !lay_cluster_is_valid(j.cluster_sectors))
		return LAY_F_JOURNAL_HEAD;

	uint64_t cluster_bytes = (uint64_t)j.cluster_sectors * SECTOR_BYTES, at;
	*fault = (struct lay_fault){.index = h->ext_sectors, .value = j.area_bytes, .limit = file_bytes};
	if (!is_aligned(h->ext_sectors, j.cluster_sectors) || h->ext_sectors < h->first_block_sectors ||
	    j.area_bytes == 0 || !is_aligned(j.area_bytes, cluster_bytes) ||
	    !checked_mul(h->ext_sectors, SECTOR_BYTES, &at) || !range_fits(at, j.area_bytes, file_bytes))
		return LAY_F_JOURNAL_PLACE;
	h->cluster_sectors = j.cluster_sectors;
	h->flags = j.flags;
	h->ext_sectors = 0;
	*out = j;
	return LAY_OK;
}

/* ---- records */

uint64_t lay_record_bytes(uint32_t entries, uint32_t words)
{
	return round_up_pow2(RECORD_FIRST + entries * ENTRY_BYTES(words), LAY_JOURNAL_BLOCK_BYTES);
}

void lay_record_put(uint8_t *record, uint32_t i, struct lay_journal_entry e, const uint64_t *units, uint32_t words)
{
	uint8_t *at = record + RECORD_FIRST + i * ENTRY_BYTES(words);
	store_le32(at, e.g.n);
	store_le32(at + 4, e.f.n);
	for (uint32_t w = 0; w < words; w++)
		store_le64(at + 8 + (size_t)w * 8, units[w]);
}

void lay_record_get(const uint8_t *record, uint32_t i, struct lay_journal_entry *e, uint64_t *units, uint32_t words)
{
	const uint8_t *at = record + RECORD_FIRST + i * ENTRY_BYTES(words);
	*e = (struct lay_journal_entry){.g = {load_le32(at)}, .f = {load_le32(at + 4)}};
	for (uint32_t w = 0; w < words; w++)
		units[w] = load_le64(at + 8 + (size_t)w * 8);
}

bool lay_record_seal(uint8_t *record, uint32_t entries, uint32_t words, const uint8_t id[LAY_JOURNAL_ID_BYTES],
		     uint64_t number)
{
	uint64_t bytes = lay_record_bytes(entries, words), used = RECORD_FIRST + entries * ENTRY_BYTES(words);
	memset(record + used, 0, bytes - used);
	store_le64(record + AT_MAGIC, RECORD_MAGIC);
	memcpy(record + RECORD_ID, id, LAY_JOURNAL_ID_BYTES);
	store_le64(record + RECORD_NUMBER, number);
	store_le32(record + RECORD_ENTRIES, entries);
	store_le32(record + RECORD_WORDS, words);
	return digest(record, bytes, record + AT_DIGEST);
}

uint64_t lay_record_length(const uint8_t block[LAY_JOURNAL_BLOCK_BYTES], uint64_t room, uint32_t words,
			   const uint8_t id[LAY_JOURNAL_ID_BYTES], uint64_t number, uint32_t *entries)
{
	if (load_le64(block + AT_MAGIC) != RECORD_MAGIC || memcmp(block + RECORD_ID, id, LAY_JOURNAL_ID_BYTES) != 0 ||
	    load_le64(block + RECORD_NUMBER) != number || load_le32(block + RECORD_WORDS) != words)
		return 0;
	*entries = load_le32(block + RECORD_ENTRIES);
	uint64_t bytes = lay_record_bytes(*entries, words);
	return bytes <= room ? bytes : 0;
}

bool lay_record_is_whole(const uint8_t *record, uint64_t bytes)
{
	return is_as_written(record, bytes);
}
