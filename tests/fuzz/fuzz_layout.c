/* Header, BAT, extension, partition table and journal over arbitrary bytes. Checksums and a few magic values are
 * repaired first, as a hostile image would have them, so that the code behind them is reached. What the checks let
 * through is then used the way the engine uses it: an access outside a buffer is the sanitizer's to find. */
#include "layout/bat.h"
#include "layout/ext.h"
#include "layout/gpt.h"
#include "layout/journal.h"

#include "base/byteorder.h"
#include "base/invariant.h"

#include <string.h>

#define CLUSTER_BYTES (LAY_MIN_CLUSTER_SECTORS * SECTOR_BYTES)

static void fuzz_bat(const struct lay_header *h, const uint8_t *slots, size_t bytes, uint64_t file_bytes)
{
	static uint64_t used[1 << 10];
	static uint32_t out[1 << 14];
	struct lay_bat_scan scan = {h, lay_file_clusters(h, file_bytes), NULL, lay_guest_clusters(h)};
	if (lay_used_words(scan.file_clusters) <= ARRAY_LEN(used)) {
		memset(used, 0, sizeof(used));
		scan.used = used;
	}
	uint32_t n = (uint32_t)MIN(bytes / LAY_BAT_SLOT_BYTES, ARRAY_LEN(out));
	for (uint32_t at = 0; at < n;) {
		struct lay_fault fault;
		enum lay_finding_id f =
			lay_bat_decode(&scan, at, slots + at * LAY_BAT_SLOT_BYTES, n - at, out + at, &fault);
		uint32_t good = f == LAY_OK ? n : (uint32_t)fault.index;
		invariant(good >= at && good <= n);
		for (uint32_t i = at; i < good; i++)
			invariant(out[i] == 0 || (out[i] >= lay_header_clusters(h) && out[i] < scan.file_clusters));
		at = good + 1;
	}
}

static void fuzz_header(const uint8_t *data, size_t size)
{
	uint8_t bytes[LAY_HEADER_BYTES], again[LAY_HEADER_BYTES];
	struct lay_header h;
	uint64_t value, limit;
	if (size < LAY_HEADER_BYTES + 8)
		return;
	memcpy(bytes, data, sizeof(bytes));
	memcpy(bytes, data[0] & 1 ? "WithoutFreeSpace" : "WithouFreSpacExt", 16);
	invariant(lay_header_decode(bytes, &h) == LAY_OK);
	lay_header_encode(&h, again);
	invariant(memcmp(bytes, again, 40) == 0 && memcmp(bytes + 44, again + 44, 20) == 0);

	/* most of 2^32 cluster sizes are refused at once */
	h.cluster_sectors = data[0] & 2 ? h.cluster_sectors : LAY_MIN_CLUSTER_SECTORS << data[1] % 12;
	h.type = data[0] & 4 ? h.type : 2;
	uint64_t file_bytes = load_le64(data + LAY_HEADER_BYTES) >> data[2] % 64;
	if (lay_header_check(&h, file_bytes, &value, &limit) != LAY_OK)
		return;
	uint32_t last = lay_guest_clusters(&h) - 1;
	invariant(lay_slot_offset_bytes(last) + LAY_BAT_SLOT_BYTES <= (uint64_t)h.first_block_sectors * SECTOR_BYTES);
	invariant((uint64_t)h.first_block_sectors * SECTOR_BYTES <= file_bytes);
	fuzz_bat(&h, data + LAY_HEADER_BYTES, size - LAY_HEADER_BYTES, file_bytes);
}

static void fuzz_ext(const uint8_t *data, size_t size)
{
	static uint8_t cluster[CLUSTER_BYTES];
	struct lay_ext_writer w = {cluster, sizeof(cluster), 0};
	struct lay_fault fault;
	struct lay_feature feature = {0};
	struct lay_header h;
	uint32_t at = 0;

	memset(cluster, 0, sizeof(cluster));
	memcpy(cluster, data, MIN(size, sizeof(cluster)));
	lay_ext_check(cluster, sizeof(cluster), &fault);
	invariant(lay_ext_seal(&w) && lay_ext_check(cluster, sizeof(cluster), &fault) == LAY_OK);
	while (lay_ext_next(cluster, sizeof(cluster), &at, &feature, &fault) == LAY_OK && feature.magic != 0) {
		struct lay_bitmap b;
		uint64_t size_sectors = feature.data_bytes >= 8 ? load_le64(cluster + feature.data_offset) : 1;
		lay_feature_use(&feature);
		if (lay_header_compute(size_sectors, LAY_MIN_CLUSTER_SECTORS, LAY_V2, &h) != LAY_OK)
			continue;
		h.size_sectors = size_sectors;
		if (lay_bitmap_decode(&h, UINT64_C(1) << 40, cluster, &feature, &b, &fault) != LAY_OK)
			continue;
		for (uint32_t i = 0; i < b.l1_entries; i++)
			lay_bitmap_l1_entry(&b, i);
	}
	static uint8_t fresh[CLUSTER_BYTES];
	lay_ext_begin(&w, fresh, sizeof(fresh));
	lay_ext_carry(&w, cluster);
}

static void fuzz_gpt(const uint8_t *data, size_t size)
{
	static uint8_t disk[LAY_GPT_PRIMARY_SECTORS * SECTOR_BYTES];
	uint8_t *header = disk + SECTOR_BYTES;
	struct lay_partition part;
	uint64_t size_sectors = size >= 8 ? load_le64(data) : 0;

	memset(disk, 0, sizeof(disk));
	memcpy(header, data, MIN(size, sizeof(disk) - SECTOR_BYTES));
	lay_gpt_decode(disk, size_sectors, &part);

	memcpy(header, "EFI PART\0\0\1\0\x5c\0\0\0", 16);
	store_le32(header + 88, lay_crc32(disk + 2 * SECTOR_BYTES, 128 * 128));
	store_le32(header + 16, 0);
	store_le32(header + 16, lay_crc32(header, 92));
	if (lay_gpt_decode(disk, size_sectors, &part) == LAY_GPT_OK)
		invariant(part.first_sector < size_sectors && part.sectors <= size_sectors - part.first_sector);
}

static void repair_digest(uint8_t *p, uint64_t bytes)
{
	invariant(lay_md5(p + 24, bytes - 24, p + 8));
}

static void fuzz_journal_head(const uint8_t *data, size_t size)
{
	uint8_t block[LAY_JOURNAL_BLOCK_BYTES] = {0};
	struct lay_header h = {.first_block_sectors = LAY_MIN_CLUSTER_SECTORS, .in_use = LAY_IN_USE};
	struct lay_journal j;
	struct lay_fault fault;
	memcpy(block, data, MIN(size, sizeof(block)));
	memcpy(block, "PLOPJNL1", 8);
	repair_digest(block, sizeof(block));
	uint64_t file_bytes = load_le64(block + 64) >> block[72] % 64;
	h.ext_sectors = load_le64(block + 80) >> block[73] % 64;
	if (lay_journal_head_decode(block, file_bytes, &h, &j, &fault) != LAY_OK)
		return;
	invariant(lay_cluster_is_valid(h.cluster_sectors) && h.ext_sectors == 0);
	invariant(j.area_bytes >= LAY_MIN_CLUSTER_SECTORS * SECTOR_BYTES && j.area_bytes <= file_bytes);
}

/* Room as a cluster has it; a record says itself how long it is. */
static void fuzz_journal_record(const uint8_t *data, size_t size)
{
	static uint8_t room[CLUSTER_BYTES];
	static const uint8_t id[LAY_JOURNAL_ID_BYTES];
	uint64_t units[LAY_MAX_UNIT_WORDS];
	uint32_t entries, words = 1 + data[0] % 4;
	memset(room, 0, sizeof(room));
	memcpy(room, data, MIN(size, sizeof(room)));
	memcpy(room, "PLOPREC1", 8);
	memset(room + 24, 0, 24); /* id and number */
	store_le32(room + 52, words);
	uint64_t bytes = lay_record_length(room, sizeof(room), words, id, 0, &entries);
	if (bytes == 0)
		return;
	invariant(bytes <= sizeof(room) && bytes == lay_record_bytes(entries, words));
	repair_digest(room, bytes);
	invariant(lay_record_is_whole(room, bytes));
	for (uint32_t i = 0; i < entries; i++) {
		struct lay_journal_entry e;
		lay_record_get(room, i, &e, units, words);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 5)
		return 0;
	if (data[3] >= 192) {
		fuzz_journal_head(data + 4, size - 4);
		fuzz_journal_record(data + 4, size - 4);
		return 0;
	}
	switch (data[3] % 3) {
	case 0:
		fuzz_header(data, size);
		break;
	case 1:
		fuzz_ext(data + 4, size - 4);
		break;
	default:
		fuzz_gpt(data + 4, size - 4);
	}
	return 0;
}
