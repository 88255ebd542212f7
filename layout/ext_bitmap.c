/* The dirty bitmap, a feature of the format extension. */
#include "layout/ext.h"

#include "base/byteorder.h"
#include "base/checked.h"

#include <string.h>

enum data_offset { AT_SIZE = 0, AT_ID = 8, AT_GRANULARITY = 24, AT_L1_ENTRIES = 28, AT_L1 = 32 };
#define L1_ENTRY_BYTES 8u

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool lay_bitmap_parse_id(const char *text, uint8_t id[LAY_BITMAP_ID_BYTES])
{
	for (uint32_t i = 0; i < LAY_BITMAP_ID_BYTES; i++) {
		bool dash = i == 4 || i == 6 || i == 8 || i == 10;
		if (dash && *text++ != '-')
			return false;
		int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
		if (low < 0)
			return false;
		id[i] = (uint8_t)(high << 4 | low);
		text += 2;
	}
	return *text == '\0';
}

uint64_t lay_bitmap_bytes(uint64_t size_sectors, uint32_t granularity_sectors)
{
	return div_up(div_up(size_sectors, granularity_sectors), 8);
}

uint64_t lay_bitmap_l1_entries(uint64_t size_sectors, uint32_t granularity_sectors, uint32_t cluster_bytes)
{
	return div_up(lay_bitmap_bytes(size_sectors, granularity_sectors), cluster_bytes);
}

uint32_t lay_bitmap_data_bytes(uint64_t l1_entries)
{
	uint64_t most = ((uint64_t)LAY_MAX_CLUSTER_SECTORS * SECTOR_BYTES - AT_L1) / L1_ENTRY_BYTES;
	return l1_entries <= most ? AT_L1 + (uint32_t)l1_entries * L1_ENTRY_BYTES : 0;
}

/* The number of L1 entries fits disk and element. */
static enum lay_finding_id check_l1_length(const struct lay_header *h, const struct lay_feature *feature,
					   const struct lay_bitmap *b, struct lay_fault *fault)
{
	uint64_t full = lay_bitmap_l1_entries(b->size_sectors, b->granularity_sectors, (uint32_t)lay_cluster_bytes(h));
	if (b->l1_entries != 0 && b->l1_entries != full) {
		*fault = (struct lay_fault){.value = b->l1_entries, .limit = full};
		return LAY_F_EXT_BITMAP_L1;
	}
	uint64_t needed = AT_L1 + (uint64_t)b->l1_entries * L1_ENTRY_BYTES;
	if (needed > feature->data_bytes) {
		*fault = (struct lay_fault){.value = feature->data_bytes, .limit = needed};
		return LAY_F_EXT_BITMAP_SHORT;
	}
	return LAY_OK;
}

/* Every L1 entry is a constant or names a cluster of the data area. */
static enum lay_finding_id check_l1(const struct lay_header *h, uint64_t file_bytes, const struct lay_bitmap *b,
				    struct lay_fault *fault)
{
	uint64_t file_sectors = file_bytes / SECTOR_BYTES;
	for (uint32_t i = 0; i < b->l1_entries; i++) {
		uint64_t sector = lay_bitmap_l1_entry(b, i);
		if (sector == LAY_L1_ZEROS || sector == LAY_L1_ONES)
			continue;
		if (sector < h->first_block_sectors || !range_fits(sector, h->cluster_sectors, file_sectors)) {
			*fault = (struct lay_fault){i, sector, file_sectors};
			return LAY_F_EXT_BITMAP_CLUSTER;
		}
	}
	return LAY_OK;
}

enum lay_finding_id lay_bitmap_decode(const struct lay_header *h, uint64_t file_bytes, const uint8_t *cluster,
				      const struct lay_feature *feature, struct lay_bitmap *out,
				      struct lay_fault *fault)
{
	if (feature->data_bytes < AT_L1) {
		*fault = (struct lay_fault){.value = feature->data_bytes, .limit = AT_L1};
		return LAY_F_EXT_BITMAP_SHORT;
	}
	const uint8_t *data = cluster + feature->data_offset;
	*out = (struct lay_bitmap){
		.size_sectors = load_le64(data + AT_SIZE),
		.granularity_sectors = load_le32(data + AT_GRANULARITY),
		.l1_entries = load_le32(data + AT_L1_ENTRIES),
		.l1 = data + AT_L1,
	};
	memcpy(out->id, data + AT_ID, sizeof(out->id));

	if (out->size_sectors != h->size_sectors) {
		*fault = (struct lay_fault){.value = out->size_sectors, .limit = h->size_sectors};
		return LAY_F_EXT_BITMAP_SIZE;
	}
	if (!is_pow2(out->granularity_sectors)) {
		*fault = (struct lay_fault){.value = out->granularity_sectors, .limit = UINT32_C(1) << 31};
		return LAY_F_EXT_BITMAP_GRANULARITY;
	}
	enum lay_finding_id f = check_l1_length(h, feature, out, fault);
	return f == LAY_OK ? check_l1(h, file_bytes, out, fault) : f;
}

uint64_t lay_bitmap_l1_entry(const struct lay_bitmap *b, uint32_t i)
{
	return i < b->l1_entries ? load_le64(b->l1 + (size_t)i * L1_ENTRY_BYTES) : LAY_L1_ZEROS;
}

void lay_bitmap_encode(const struct lay_bitmap *b, const uint64_t *l1, uint32_t l1_entries, uint8_t *data)
{
	store_le64(data + AT_SIZE, b->size_sectors);
	memcpy(data + AT_ID, b->id, sizeof(b->id));
	store_le32(data + AT_GRANULARITY, b->granularity_sectors);
	store_le32(data + AT_L1_ENTRIES, l1_entries);
	for (uint32_t i = 0; i < l1_entries; i++)
		store_le64(data + AT_L1 + (size_t)i * L1_ENTRY_BYTES, l1[i]);
}
