/* The format extension cluster: its frame and its list of features. */
#include "layout/ext.h"

#include "base/byteorder.h"
#include "base/checked.h"

#include <string.h>

enum cluster_offset { AT_MAGIC = 0, AT_DIGEST = 8, AT_FEATURES = 24 };
enum feature_offset { FEATURE_MAGIC = 0, FEATURE_FLAGS = 8, FEATURE_BYTES = 16, FEATURE_DATA = 24 };
#define FEATURE_ALIGN 8u

enum lay_finding_id lay_ext_check_offset(const struct lay_header *h, uint64_t file_bytes, struct lay_fault *fault)
{
	uint64_t file_sectors = file_bytes / SECTOR_BYTES;
	if (is_aligned(h->ext_sectors, h->cluster_sectors) && h->ext_sectors >= h->first_block_sectors &&
	    range_fits(h->ext_sectors, h->cluster_sectors, file_sectors))
		return LAY_OK;
	*fault = (struct lay_fault){.value = h->ext_sectors, .limit = file_sectors};
	return LAY_F_EXT_OFFSET;
}

static bool digest(const uint8_t *cluster, uint32_t cluster_bytes, uint8_t out[LAY_MD5_BYTES])
{
	return lay_md5(cluster + AT_FEATURES, cluster_bytes - AT_FEATURES, out);
}

enum lay_finding_id lay_ext_check(const uint8_t *cluster, uint32_t cluster_bytes, struct lay_fault *fault)
{
	*fault = (struct lay_fault){.value = load_le64(cluster + AT_MAGIC), .limit = LAY_EXT_MAGIC};
	if (fault->value != LAY_EXT_MAGIC)
		return LAY_F_EXT_MAGIC;
	uint8_t md5[LAY_MD5_BYTES];
	if (!digest(cluster, cluster_bytes, md5) || memcmp(md5, cluster + AT_DIGEST, sizeof(md5)) != 0)
		return LAY_F_EXT_DIGEST;
	return LAY_OK;
}

enum lay_finding_id lay_ext_next(const uint8_t *cluster, uint32_t cluster_bytes, uint32_t *at, struct lay_feature *out,
				 struct lay_fault *fault)
{
	uint32_t start = *at ? *at : AT_FEATURES;
	uint32_t left = cluster_bytes - start;
	*fault = (struct lay_fault){.index = start, .value = FEATURE_DATA, .limit = left};
	if (left < FEATURE_DATA)
		return LAY_F_EXT_UNTERMINATED;

	const uint8_t *element = cluster + start;
	*out = (struct lay_feature){
		.magic = load_le64(element + FEATURE_MAGIC),
		.flags = load_le64(element + FEATURE_FLAGS),
		.data_offset = start + FEATURE_DATA,
		.data_bytes = load_le32(element + FEATURE_BYTES),
	};
	if (out->magic == 0)
		return LAY_OK;
	fault->value = FEATURE_DATA + round_up_pow2(out->data_bytes, FEATURE_ALIGN);
	if (fault->value > left)
		return LAY_F_EXT_UNTERMINATED;
	*at = start + (uint32_t)fault->value;
	return LAY_OK;
}

enum lay_feature_use lay_feature_use(const struct lay_feature *feature)
{
	if (feature->magic == LAY_FEATURE_DIRTY_BITMAP)
		return LAY_USE_KNOWN;
	if (feature->flags & LAY_FEATURE_NECESSARY)
		return LAY_USE_FORBIDS_WRITING;
	return feature->flags & LAY_FEATURE_TRANSIT ? LAY_USE_CARRY : LAY_USE_DROP;
}

void lay_ext_begin(struct lay_ext_writer *w, uint8_t *cluster, uint32_t cluster_bytes)
{
	*w = (struct lay_ext_writer){cluster, cluster_bytes, AT_FEATURES};
	memset(cluster, 0, cluster_bytes);
}

uint8_t *lay_ext_append(struct lay_ext_writer *w, uint64_t magic, uint64_t flags, uint32_t data_bytes)
{
	/* Behind the last feature there must be room for the end mark. */
	uint64_t bytes = FEATURE_DATA + round_up_pow2(data_bytes, FEATURE_ALIGN);
	if (bytes + FEATURE_DATA > w->cluster_bytes - w->at)
		return NULL;
	uint8_t *element = w->cluster + w->at;
	store_le64(element + FEATURE_MAGIC, magic);
	store_le64(element + FEATURE_FLAGS, flags);
	store_le32(element + FEATURE_BYTES, data_bytes);
	w->at += (uint32_t)bytes;
	return element + FEATURE_DATA;
}

bool lay_ext_carry(struct lay_ext_writer *w, const uint8_t *old)
{
	struct lay_feature feature;
	struct lay_fault fault;
	uint32_t at = 0;
	while (lay_ext_next(old, w->cluster_bytes, &at, &feature, &fault) == LAY_OK && feature.magic != 0) {
		if (lay_feature_use(&feature) != LAY_USE_CARRY)
			continue;
		uint8_t *data = lay_ext_append(w, feature.magic, feature.flags, feature.data_bytes);
		if (!data)
			return false;
		memcpy(data, old + feature.data_offset, feature.data_bytes);
	}
	return true;
}

bool lay_ext_seal(struct lay_ext_writer *w)
{
	store_le64(w->cluster + AT_MAGIC, LAY_EXT_MAGIC);
	return digest(w->cluster, w->cluster_bytes, w->cluster + AT_DIGEST);
}
