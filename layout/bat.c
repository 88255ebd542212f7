/* Decoding the BAT is on the path of every open: 16 Mi slots of a 16 TiB disk take milliseconds, so the loop has one test
 * for all that can be wrong with a value, and what exactly is wrong is found out afterwards. */
#include "layout/bat.h"

#include "base/byteorder.h"
#include "base/invariant.h"

#define RESERVED_SLOT 0xFFFFFFFFu

uint64_t lay_file_clusters(const struct lay_header *h, uint64_t file_bytes)
{
	return MIN(file_bytes / lay_cluster_bytes(h), (uint64_t)UINT32_MAX);
}

/* The value of slot @index failed the test of the loop. */
static enum lay_finding_id judge(const struct lay_bat_scan *s, uint32_t index, uint32_t slot, struct lay_fault *fault)
{
	const struct lay_header *h = s->h;
	struct fclu f = lay_slot_to_cluster(h, slot);
	*fault = (struct lay_fault){.index = index, .value = slot};

	if (slot == RESERVED_SLOT)
		return LAY_F_SLOT_RESERVED;
	if (h->version == LAY_V1 && !is_aligned(slot, h->cluster_sectors)) {
		fault->limit = h->cluster_sectors;
		return LAY_F_SLOT_MISALIGNED;
	}
	fault->value = f.n;
	if (f.n < lay_header_clusters(h)) {
		fault->limit = lay_header_clusters(h);
		return LAY_F_SLOT_BELOW_DATA;
	}
	if (f.n >= s->file_clusters) {
		fault->limit = s->file_clusters * lay_cluster_bytes(h);
		return LAY_F_SLOT_BEYOND_FILE;
	}
	return LAY_F_SLOT_DUPLICATE;
}

/* Was the bit set before? */
static inline bool test_and_set(uint64_t *used, uint32_t bit)
{
	uint64_t mask = UINT64_C(1) << (bit % 64);
	uint64_t word = used[bit / 64];
	used[bit / 64] = word | mask;
	return word & mask;
}

/* Decode slots of guest clusters; returns how many were good. */
static uint32_t decode_guest_slots(struct lay_bat_scan *s, const uint8_t *slots, uint32_t n, uint32_t *restrict out)
{
	const struct lay_header *h = s->h;
	unsigned shift = h->version == LAY_V1 ? (unsigned)__builtin_ctz(h->cluster_sectors) : 0;
	uint32_t unit_mask = (UINT32_C(1) << shift) - 1;
	uint32_t data_start = lay_header_clusters(h);
	uint64_t end = MIN(s->file_clusters, (uint64_t)UINT32_MAX);
	uint32_t data_clusters = end > data_start ? (uint32_t)end - data_start : 0;
	uint64_t *used = s->used;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = load_le32(slots + (size_t)i * LAY_BAT_SLOT_BYTES);
		uint32_t cluster = slot >> shift;
		out[i] = cluster;
		if (slot == 0)
			continue;
		/* below the data area the difference wraps and is too large as well */
		if (unlikely((slot & unit_mask) != 0 || cluster - data_start >= data_clusters))
			return i;
		if (used && unlikely(test_and_set(used, cluster)))
			return i;
	}
	return n;
}

static uint32_t count_empty_slots(const uint8_t *slots, uint32_t n, uint32_t *out)
{
	for (uint32_t i = 0; i < n; i++) {
		out[i] = 0;
		if (load_le32(slots + (size_t)i * LAY_BAT_SLOT_BYTES) != 0)
			return i;
	}
	return n;
}

enum lay_finding_id lay_bat_decode(struct lay_bat_scan *s, uint32_t first, const void *slots_le, uint32_t n,
				   uint32_t *out, struct lay_fault *fault)
{
	const uint8_t *slots = slots_le;
	uint32_t in_disk = first < s->guest_clusters ? MIN(n, s->guest_clusters - first) : 0;

	uint32_t good = decode_guest_slots(s, slots, in_disk, out);
	if (good < in_disk)
		return judge(s, first + good, load_le32(slots + (size_t)good * LAY_BAT_SLOT_BYTES), fault);

	good += count_empty_slots(slots + (size_t)good * LAY_BAT_SLOT_BYTES, n - good, out + good);
	if (good == n)
		return LAY_OK;
	*fault = (struct lay_fault){
		.index = (uint64_t)first + good,
		.value = load_le32(slots + (size_t)good * LAY_BAT_SLOT_BYTES),
		.limit = s->guest_clusters,
	};
	return LAY_F_SLOT_BEYOND_DISK;
}
