#include "layout/journal.h"

#include "base/byteorder.h"
#include "layout/ext.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <string.h>

#define CLUSTER_SECTORS 2048u
#define AREA		7u
#define FILE_BYTES	(100 * MIB)
#define MAX_RECORD	(64u * LAY_JOURNAL_BLOCK_BYTES)

static const uint8_t id[LAY_JOURNAL_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t other_id[LAY_JOURNAL_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17};

static struct lay_header plain(uint32_t version)
{
	struct lay_header h;
	cr_assert(eq(int, lay_header_compute(64 * MIB / SECTOR_BYTES, CLUSTER_SECTORS, version, &h), LAY_OK));
	h.in_use = LAY_IN_USE;
	h.flags = LAY_FLAG_EMPTY;
	return h;
}

static struct lay_journal journal(void)
{
	struct lay_journal j = {.cluster_sectors = CLUSTER_SECTORS, .flags = LAY_FLAG_EMPTY, .area_bytes = 2 * MIB};
	memcpy(j.id, id, sizeof(id));
	return j;
}

/* What the fenced header of @version says, as a file has it. */
static struct lay_header through_the_file(uint32_t version)
{
	uint8_t bytes[LAY_HEADER_BYTES];
	struct lay_header h = plain(version), read;
	h = lay_header_fenced(&h, (struct fclu){AREA});
	lay_header_encode(&h, bytes);
	cr_assert(eq(int, lay_header_decode(bytes, &read), LAY_OK));
	return read;
}

/* ---- fence */

struct version {
	uint32_t number;
};

ParameterizedTestParameters(layout_journal, the_fence_is_what_stock_tools_refuse)
{
	static struct version versions[] = {{LAY_V1}, {LAY_V2}};
	return cr_make_param_array(struct version, versions, ARRAY_LEN(versions));
}

ParameterizedTest(struct version *v, layout_journal, the_fence_is_what_stock_tools_refuse)
{
	uint8_t bytes[LAY_HEADER_BYTES], before[LAY_HEADER_BYTES];
	struct lay_header h = plain(v->number), fenced = lay_header_fenced(&h, (struct fclu){AREA});
	lay_header_encode(&h, before);
	lay_header_encode(&fenced, bytes);
	cr_expect(zero(u32, load_le32(bytes + 28)), "cluster size");
	cr_expect(eq(u32, load_le32(bytes + 44), 0x746F6E59), "in use");
	cr_expect(eq(u32, load_le32(bytes + 52), 1 | 2), "version conversion");
	cr_expect(eq(u64, load_le64(bytes + 56), AREA * CLUSTER_SECTORS), "the journal's sector");
	store_le32(bytes + 28, CLUSTER_SECTORS);
	store_le32(bytes + 52, 1);
	store_le64(bytes + 56, 0);
	cr_expect(zero(int, memcmp(bytes, before, sizeof(bytes))), "nothing else changes");
}

ParameterizedTestParameters(layout_journal, the_head_makes_the_header_true_again)
{
	static struct version versions[] = {{LAY_V1}, {LAY_V2}};
	return cr_make_param_array(struct version, versions, ARRAY_LEN(versions));
}

ParameterizedTest(struct version *v, layout_journal, the_head_makes_the_header_true_again)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_header h = through_the_file(v->number), want = plain(v->number);
	struct lay_journal j = journal(), read;
	struct lay_fault fault;
	cr_assert(lay_is_fenced(&h));
	cr_assert(lay_journal_head_encode(&j, block));
	cr_assert(eq(int, lay_journal_head_decode(block, FILE_BYTES, &h, &read, &fault), LAY_OK));
	uint8_t a[LAY_HEADER_BYTES], b[LAY_HEADER_BYTES];
	lay_header_encode(&h, a);
	lay_header_encode(&want, b);
	cr_expect(zero(int, memcmp(a, b, sizeof(a))));
	cr_expect(zero(int, lay_is_fenced(&h)));
	cr_expect(eq(u64, read.area_bytes, j.area_bytes));
	cr_expect(zero(int, memcmp(read.id, id, sizeof(id))));
}

Test(layout_journal, a_header_that_lacks_a_part_of_the_fence_is_none)
{
	struct lay_header h = through_the_file(LAY_V2), no;
	no = h, no.in_use = LAY_CLOSED_V20;
	cr_expect(zero(int, lay_is_fenced(&no)));
	no = h, no.cluster_sectors = CLUSTER_SECTORS;
	cr_expect(zero(int, lay_is_fenced(&no)));
	no = h, no.flags = LAY_FLAG_EMPTY;
	cr_expect(zero(int, lay_is_fenced(&no)));
	no = h, no.ext_sectors = 0;
	cr_expect(zero(int, lay_is_fenced(&no)));
}

/* ---- head */

static enum lay_finding_id read_head(const uint8_t *block, uint64_t file_bytes, struct lay_header h)
{
	struct lay_header before = h;
	struct lay_journal read;
	struct lay_fault fault;
	enum lay_finding_id f = lay_journal_head_decode(block, file_bytes, &h, &read, &fault);
	if (f != LAY_OK)
		cr_expect(eq(u64, h.ext_sectors, before.ext_sectors), "what is refused changes nothing");
	return f;
}

Test(layout_journal, each_byte_of_the_head_is_under_its_digest)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_journal j = journal();
	struct lay_header h = through_the_file(LAY_V2);
	cr_assert(lay_journal_head_encode(&j, block));
	for (uint32_t at = 0; at < sizeof(block); at++) {
		block[at] ^= 0x40;
		cr_expect(eq(int, read_head(block, FILE_BYTES, h), LAY_F_JOURNAL_HEAD), "byte %u", at);
		block[at] ^= 0x40;
	}
	cr_expect(eq(int, read_head(block, FILE_BYTES, h), LAY_OK));
}

static enum lay_finding_id judge(struct lay_journal j, uint64_t file_bytes, uint64_t ext_sectors)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_header h = through_the_file(LAY_V2);
	h.ext_sectors = ext_sectors;
	cr_assert(lay_journal_head_encode(&j, block));
	return read_head(block, file_bytes, h);
}

Test(layout_journal, an_area_that_is_no_clusters_of_the_file_is_refused)
{
	struct lay_journal j = journal(), bad;
	uint64_t at = AREA * CLUSTER_SECTORS, end_bytes = AREA * MIB + j.area_bytes;
	cr_expect(eq(int, judge(j, end_bytes, at), LAY_OK));
	cr_expect(eq(int, judge(j, end_bytes - 1, at), LAY_F_JOURNAL_PLACE), "behind the end");
	cr_expect(eq(int, judge(j, FILE_BYTES, at + 8), LAY_F_JOURNAL_PLACE), "not at a cluster");
	cr_expect(eq(int, judge(j, FILE_BYTES, CLUSTER_SECTORS), LAY_OK), "the first data cluster");
	cr_expect(eq(int, judge(j, FILE_BYTES, UINT64_MAX - CLUSTER_SECTORS + 1), LAY_F_JOURNAL_PLACE), "overflow");
	bad = j, bad.area_bytes = 0;
	cr_expect(eq(int, judge(bad, FILE_BYTES, at), LAY_F_JOURNAL_PLACE));
	bad = j, bad.area_bytes = MIB + 4096;
	cr_expect(eq(int, judge(bad, FILE_BYTES, at), LAY_F_JOURNAL_PLACE));
	bad = j, bad.area_bytes = UINT64_MAX - MIB + 1;
	cr_expect(eq(int, judge(bad, FILE_BYTES, at), LAY_F_JOURNAL_PLACE));
	bad = j, bad.cluster_sectors = CLUSTER_SECTORS * 8; /* then the first data cluster is in the header's */
	cr_expect(eq(int, judge(bad, FILE_BYTES, at), LAY_F_JOURNAL_PLACE));
	static const uint32_t sizes[] = {0, 32, 63, 3000, LAY_MAX_CLUSTER_SECTORS * 2};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		bad = j, bad.cluster_sectors = sizes[i];
		cr_expect(eq(int, judge(bad, FILE_BYTES, at), LAY_F_JOURNAL_HEAD), "%u sectors", sizes[i]);
	}
}

/* ---- records */

static uint64_t unit_word(uint32_t i, uint32_t w)
{
	return UINT64_C(0x9E3779B97F4A7C15) * (i * 257u + w + 1);
}

static uint64_t make_record(uint8_t *record, uint32_t entries, uint32_t words, uint64_t number)
{
	uint64_t units[LAY_MAX_UNIT_WORDS];
	memset(record, 0xee, MAX_RECORD);
	for (uint32_t i = 0; i < entries; i++) {
		for (uint32_t w = 0; w < words; w++)
			units[w] = unit_word(i, w);
		struct lay_journal_entry e = {.g = {1000 + i}, .f = {i % 3 ? 5 + i : 0}};
		lay_record_put(record, i, e, units, words);
	}
	cr_assert(lay_record_seal(record, entries, words, id, number));
	return lay_record_bytes(entries, words);
}

static bool is_record(const uint8_t *record, uint64_t room, uint32_t words, uint64_t number)
{
	uint32_t entries;
	uint64_t bytes = lay_record_length(record, room, words, id, number, &entries);
	return bytes > 0 && lay_record_is_whole(record, bytes);
}

Test(layout_journal, records_come_back)
{
	static const uint32_t words[] = {1, 4, 32, LAY_MAX_UNIT_WORDS};
	static uint8_t record[MAX_RECORD];
	for (size_t k = 0; k < ARRAY_LEN(words); k++) {
		for (uint32_t n = 0; lay_record_bytes(n, words[k]) <= MAX_RECORD; n += 1 + n / 2) {
			uint32_t entries = 0;
			uint64_t units[LAY_MAX_UNIT_WORDS], bytes = make_record(record, n, words[k], n);
			cr_assert(is_aligned(bytes, LAY_JOURNAL_BLOCK_BYTES) && bytes > 0);
			cr_assert(eq(u64, lay_record_length(record, bytes, words[k], id, n, &entries), bytes));
			cr_assert(lay_record_is_whole(record, bytes));
			cr_assert(eq(u32, entries, n));
			for (uint32_t i = 0; i < n; i++) {
				struct lay_journal_entry e;
				lay_record_get(record, i, &e, units, words[k]);
				cr_assert(e.g.n == 1000 + i && e.f.n == (i % 3 ? 5 + i : 0));
				for (uint32_t w = 0; w < words[k]; w++)
					cr_assert(eq(u64, units[w], unit_word(i, w)));
			}
		}
	}
}

Test(layout_journal, a_record_is_padded_with_zeros)
{
	static uint8_t record[MAX_RECORD];
	uint64_t bytes = make_record(record, 3, 4, 1);
	cr_assert(eq(u64, bytes, 4096));
	for (uint64_t at = 56 + 3 * 40; at < bytes; at++)
		cr_assert(zero(u8, record[at]), "byte %llu", (unsigned long long)at);
	cr_expect(eq(u8, record[bytes], 0xee), "not beyond it");
	cr_expect(eq(u64, lay_record_bytes(101, 4), 4096), "56 + 101 * 40 = 4096");
	cr_expect(eq(u64, lay_record_bytes(102, 4), 8192));
}

Test(layout_journal, the_bytes_are_those_of_the_format)
{
	static uint8_t record[MAX_RECORD];
	uint8_t md5[LAY_MD5_BYTES], block[LAY_JOURNAL_BLOCK_BYTES];
	make_record(record, 2, 4, 77);
	cr_expect(zero(int, memcmp(record, "PLOPREC1", 8)));
	cr_expect(lay_md5(record + 24, 4096 - 24, md5) && memcmp(md5, record + 8, 16) == 0);
	cr_expect(zero(int, memcmp(record + 24, id, 16)));
	cr_expect(eq(u64, load_le64(record + 40), 77));
	cr_expect(eq(u32, load_le32(record + 48), 2));
	cr_expect(eq(u32, load_le32(record + 52), 4));
	cr_expect(eq(u32, load_le32(record + 56 + 40), 1001));
	cr_expect(eq(u32, load_le32(record + 56 + 44), 6));
	cr_expect(eq(u64, load_le64(record + 56 + 48), unit_word(1, 0)));
	struct lay_journal j = journal();
	cr_assert(lay_journal_head_encode(&j, block));
	cr_expect(zero(int, memcmp(block, "PLOPJNL1", 8)));
	cr_expect(lay_md5(block + 24, 4096 - 24, md5) && memcmp(md5, block + 8, 16) == 0);
	cr_expect(eq(u32, load_le32(block + 24), CLUSTER_SECTORS));
	cr_expect(eq(u32, load_le32(block + 28), LAY_FLAG_EMPTY));
	cr_expect(eq(u64, load_le64(block + 32), 2 * MIB));
	cr_expect(zero(int, memcmp(block + 40, id, 16)));
}

Test(layout_journal, each_byte_of_a_record_is_under_its_digest)
{
	static uint8_t record[MAX_RECORD];
	uint64_t bytes = make_record(record, 150, 4, 3);
	cr_assert(eq(u64, bytes, 8192));
	for (uint64_t at = 0; at < bytes; at++) {
		record[at] ^= 1;
		cr_assert(zero(int, is_record(record, bytes, 4, 3)), "byte %llu", (unsigned long long)at);
		record[at] ^= 1;
	}
	cr_assert(is_record(record, bytes, 4, 3));
}

/* Of a write that the power cuts off any sectors may be the old ones. */
Test(layout_journal, a_record_torn_at_any_sector_is_none)
{
	static uint8_t record[MAX_RECORD], old[MAX_RECORD], torn[MAX_RECORD];
	uint64_t bytes = make_record(record, 420, 4, 8);
	make_record(old, 420, 4, 7);
	for (uint64_t at = SECTOR_BYTES; at < bytes; at += SECTOR_BYTES) {
		memcpy(torn, record, at);
		memset(torn + at, 0, bytes - at);
		cr_expect(at >= 56 + 420 * 40 || !is_record(torn, bytes, 4, 8), "the first %llu bytes",
			  (unsigned long long)at);
		memcpy(torn + at, old + at, bytes - at);
		cr_expect(memcmp(torn, record, bytes) == 0 || !is_record(torn, bytes, 4, 8));
		memcpy(torn, record, bytes);
		memset(torn + at - SECTOR_BYTES, 0x5a, SECTOR_BYTES);
		cr_expect(zero(int, is_record(torn, bytes, 4, 8)), "without the one before byte %llu",
			  (unsigned long long)at);
	}
}

Test(layout_journal, a_record_of_another_journal_number_or_size_is_none)
{
	static uint8_t record[MAX_RECORD];
	uint32_t entries;
	uint64_t bytes = make_record(record, 150, 4, 3);
	cr_expect(eq(u64, lay_record_length(record, bytes, 4, id, 3, &entries), bytes));
	cr_expect(zero(u64, lay_record_length(record, bytes, 4, other_id, 3, &entries)));
	cr_expect(zero(u64, lay_record_length(record, bytes, 4, id, 2, &entries)));
	cr_expect(zero(u64, lay_record_length(record, bytes, 4, id, 4, &entries)));
	cr_expect(zero(u64, lay_record_length(record, bytes, 5, id, 3, &entries)));
	cr_expect(zero(u64, lay_record_length(record, bytes - 1, 4, id, 3, &entries)), "more than there is room for");
	store_le32(record + 48, UINT32_MAX);
	cr_expect(zero(u64, lay_record_length(record, 1 * GIB, 4, id, 3, &entries)));
	cr_expect(zero(u64, lay_record_length(record, 1 * GIB, LAY_MAX_UNIT_WORDS, id, 3, &entries)));
}
