/* The image header; field offsets are those of the table in README.md. */
#include "layout/header.h"

#include "base/byteorder.h"

#include <string.h>

#define SIGNATURE_BYTES		 16
#define DISK_TYPE		 2u
#define QEMU_MAX_CLUSTER_SECTORS (INT32_MAX / 513u)
#define MAX_GUEST_CLUSTERS	 UINT64_C(0xFFFFFFFE) /* the value above is reserved in a BAT */

enum field_offset {
	AT_SIGNATURE = 0,
	AT_TYPE = 16,
	AT_HEADS = 20,
	AT_CYLINDERS = 24,
	AT_CLUSTER = 28,
	AT_BAT_ENTRIES = 32,
	AT_SIZE = 36,
	AT_IN_USE = LAY_IN_USE_OFFSET,
	AT_FIRST_BLOCK = 48,
	AT_FLAGS = 52,
	AT_EXT = 56,
};

static const char signature_v1[] = "WithoutFreeSpace";
static const char signature_v2[] = "WithouFreSpacExt";
_Static_assert(sizeof(signature_v1) - 1 == SIGNATURE_BYTES, "signature v1");
_Static_assert(sizeof(signature_v2) - 1 == SIGNATURE_BYTES, "signature v2");

enum lay_finding_id lay_header_decode(const uint8_t bytes[LAY_HEADER_BYTES], struct lay_header *out)
{
	uint32_t version = 0;
	if (memcmp(bytes + AT_SIGNATURE, signature_v1, SIGNATURE_BYTES) == 0)
		version = LAY_V1;
	else if (memcmp(bytes + AT_SIGNATURE, signature_v2, SIGNATURE_BYTES) == 0)
		version = LAY_V2;
	else
		return LAY_F_SIGNATURE;

	*out = (struct lay_header){
		.version = version,
		.type = load_le32(bytes + AT_TYPE),
		.heads = load_le32(bytes + AT_HEADS),
		.cylinders = load_le32(bytes + AT_CYLINDERS),
		.cluster_sectors = load_le32(bytes + AT_CLUSTER),
		.bat_entries = load_le32(bytes + AT_BAT_ENTRIES),
		.size_sectors = version == LAY_V1 ? load_le32(bytes + AT_SIZE) : load_le64(bytes + AT_SIZE),
		.in_use = load_le32(bytes + AT_IN_USE),
		.first_block_sectors = load_le32(bytes + AT_FIRST_BLOCK),
		.flags = load_le32(bytes + AT_FLAGS),
		.ext_sectors = load_le64(bytes + AT_EXT),
	};
	return LAY_OK;
}

void lay_header_encode(const struct lay_header *h, uint8_t bytes[LAY_HEADER_BYTES])
{
	memcpy(bytes + AT_SIGNATURE, h->version == LAY_V1 ? signature_v1 : signature_v2, SIGNATURE_BYTES);
	store_le32(bytes + AT_TYPE, h->type);
	store_le32(bytes + AT_HEADS, h->heads);
	store_le32(bytes + AT_CYLINDERS, h->cylinders);
	store_le32(bytes + AT_CLUSTER, h->cluster_sectors);
	store_le32(bytes + AT_BAT_ENTRIES, h->bat_entries);
	store_le64(bytes + AT_SIZE, h->version == LAY_V1 ? (uint32_t)h->size_sectors : h->size_sectors);
	store_le32(bytes + AT_IN_USE, h->in_use);
	store_le32(bytes + AT_FIRST_BLOCK, h->first_block_sectors);
	store_le32(bytes + AT_FLAGS, h->flags);
	store_le64(bytes + AT_EXT, h->ext_sectors);
}

bool lay_cluster_is_valid(uint32_t cluster_sectors)
{
	return is_pow2(cluster_sectors) && cluster_sectors >= LAY_MIN_CLUSTER_SECTORS &&
	       cluster_sectors <= LAY_MAX_CLUSTER_SECTORS;
}

static enum lay_finding_id check_cluster(const struct lay_header *h, uint64_t *value, uint64_t *limit)
{
	if (lay_cluster_is_valid(h->cluster_sectors))
		return LAY_OK;
	*value = h->cluster_sectors;
	*limit = LAY_MAX_CLUSTER_SECTORS;
	bool foreign = h->cluster_sectors != 0 && h->cluster_sectors <= QEMU_MAX_CLUSTER_SECTORS;
	return foreign ? LAY_F_CLUSTER_FOREIGN : LAY_F_CLUSTER_SIZE;
}

/* The cluster size has been checked. */
static enum lay_finding_id check_first_block(const struct lay_header *h, uint64_t file_bytes, uint64_t *value,
					     uint64_t *limit)
{
	if (h->first_block_sectors == 0 || !is_aligned(h->first_block_sectors, h->cluster_sectors)) {
		*value = h->first_block_sectors;
		*limit = h->cluster_sectors;
		return h->version == LAY_V1 ? LAY_F_FIRST_BLOCK_FOREIGN : LAY_F_FIRST_BLOCK;
	}
	uint64_t header_bytes = (uint64_t)h->first_block_sectors * SECTOR_BYTES;
	if (header_bytes > file_bytes) {
		*value = header_bytes;
		*limit = file_bytes;
		return LAY_F_HEADER_BEYOND_FILE;
	}
	return LAY_OK;
}

/* Cluster size and first block have been checked. */
static enum lay_finding_id check_size(const struct lay_header *h, uint64_t *value, uint64_t *limit)
{
	if (h->size_sectors == 0)
		return LAY_F_SIZE_ZERO;
	uint64_t clusters = div_up(h->size_sectors, h->cluster_sectors);
	if (clusters > MAX_GUEST_CLUSTERS) {
		*value = h->size_sectors;
		*limit = lay_max_size_sectors(h->cluster_sectors, h->version);
		return LAY_F_SIZE_LIMIT;
	}
	if (clusters > lay_bat_slots(h)) {
		*value = clusters;
		*limit = lay_bat_slots(h);
		return LAY_F_BAT_SHORT;
	}
	return LAY_OK;
}

enum lay_finding_id lay_header_check(const struct lay_header *h, uint64_t file_bytes, uint64_t *value, uint64_t *limit)
{
	*value = *limit = 0;
	if (file_bytes < LAY_MIN_FILE_BYTES) {
		*value = file_bytes;
		*limit = LAY_MIN_FILE_BYTES;
		return LAY_F_FILE_SHORT;
	}
	if (h->type != DISK_TYPE) {
		*value = h->type;
		*limit = DISK_TYPE;
		return LAY_F_TYPE;
	}
	enum lay_finding_id f = check_cluster(h, value, limit);
	if (f == LAY_OK)
		f = check_first_block(h, file_bytes, value, limit);
	return f == LAY_OK ? check_size(h, value, limit) : f;
}

uint64_t lay_max_size_sectors(uint32_t cluster_sectors, enum lay_version version)
{
	if (version == LAY_V1)
		return round_down_pow2(UINT32_MAX, cluster_sectors);
	return MAX_GUEST_CLUSTERS * cluster_sectors;
}

enum lay_finding_id lay_header_compute(uint64_t size_sectors, uint32_t cluster_sectors, enum lay_version version,
				       struct lay_header *out)
{
	if (size_sectors > lay_max_size_sectors(cluster_sectors, version))
		return LAY_F_SIZE_LIMIT;
	uint64_t size = round_up_pow2(size_sectors, cluster_sectors);
	uint64_t entries = size / cluster_sectors;
	uint64_t header_sectors = div_up(LAY_HEADER_BYTES + entries * LAY_BAT_SLOT_BYTES, SECTOR_BYTES);
	struct lay_chs chs = lay_chs_compute(size);
	*out = (struct lay_header){
		.version = version,
		.type = DISK_TYPE,
		.heads = chs.heads,
		.cylinders = chs.cylinders,
		.cluster_sectors = cluster_sectors,
		.bat_entries = (uint32_t)entries,
		.size_sectors = size,
		.first_block_sectors = (uint32_t)round_up_pow2(header_sectors, cluster_sectors),
	};
	return LAY_OK;
}

static struct lay_chs chs(uint64_t cylinders, uint32_t heads, uint32_t sectors)
{
	/* Nobody reads it back: a disk too large for the field gets the largest value. */
	return (struct lay_chs){(uint32_t)MIN(cylinders, UINT32_MAX), heads, sectors};
}

struct lay_chs lay_chs_compute(uint64_t size_sectors)
{
	static const uint8_t track_lengths[] = {63, 32, 16, 8}, head_counts[] = {16, 8, 4, 2};

	if (size_sectors > 504 * MIB / SECTOR_BYTES && size_sectors < 8 * GIB / SECTOR_BYTES)
		return chs(size_sectors / (16 * 63), 16, 63);
	for (size_t t = 0; t < ARRAY_LEN(track_lengths); t++) {
		if (size_sectors % track_lengths[t] != 0)
			continue;
		uint64_t tracks = size_sectors / track_lengths[t];
		for (size_t i = 0; i < ARRAY_LEN(head_counts); i++)
			if (tracks % head_counts[i] == 0)
				return chs(tracks / head_counts[i], head_counts[i], track_lengths[t]);
		break;
	}
	return chs(size_sectors, 1, 1);
}
