/* Decoding the BAT is on the path of every open: 16 Mi slots of a 16 TiB disk take milliseconds, so the loop has one
 * test for all that can be wrong with a value, and what exactly is wrong is found out afterwards. */
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

/* How slots of one image are read. */
struct rules {
	unsigned shift;		/* slot to cluster */
	uint32_t unit;		/* from one cluster to the next, in slot values */
	uint32_t data_start;	/* first cluster of the data area */
	uint32_t data_clusters; /* how many there are */
};

static struct rules rules_of(const struct lay_bat_scan *s)
{
	bool v1 = s->h->version == LAY_V1;
	uint32_t start = lay_header_clusters(s->h);
	uint64_t end = MIN(s->file_clusters, (uint64_t)UINT32_MAX);
	return (struct rules){
		.shift = v1 ? (unsigned)__builtin_ctz(s->h->cluster_sectors) : 0,
		.unit = v1 ? s->h->cluster_sectors : 1,
		.data_start = start,
		.data_clusters = end > start ? (uint32_t)end - start : 0,
	};
}

/* Mark @n < 64 clusters as used; true, and nothing is marked, when one of them was before. */
static inline bool test_and_set(uint64_t *used, uint32_t first, unsigned n)
{
	uint64_t *word = &used[first / 64], bits = (UINT64_C(1) << n) - 1;
	unsigned at = first % 64;
	uint64_t low = bits << at, high = at + n > 64 ? bits >> (64 - at) : 0;
	if ((word[0] & low) || (n > 1 && high && (word[1] & high)))
		return true;
	word[0] |= low;
	if (n > 1 && high)
		word[1] |= high;
	return false;
}

#define RUN 16u

/* Decode RUN slots that are all empty, or name neighbouring good clusters in order: what most of a BAT is. false: they
 * are something else, nothing was counted. */
static inline bool decode_run(const struct rules *r, uint64_t *used, const uint8_t *slots, uint32_t *out)
{
	uint32_t first = load_le32(slots), step = first ? r->unit : 0, differs = 0;
	if (load_le32(slots + LAY_BAT_SLOT_BYTES) != first + step)
		return false;
	for (uint32_t i = 2; i < RUN; i++)
		differs |= load_le32(slots + (size_t)i * LAY_BAT_SLOT_BYTES) ^ (first + i * step);
	if (differs)
		return false;

	uint32_t cluster = first >> r->shift, in_data = cluster - r->data_start;
	if (first != 0) {
		if ((first & (r->unit - 1)) != 0 || first > UINT32_MAX - RUN * r->unit || r->data_clusters < RUN ||
		    in_data > r->data_clusters - RUN)
			return false;
		if (used && test_and_set(used, cluster, RUN))
			return false;
	}
	for (uint32_t i = 0; i < RUN; i++)
		out[i] = first ? cluster + i : 0;
	return true;
}

static inline bool decode_slot(const struct rules *r, uint64_t *used, const uint8_t *slots, uint32_t *out)
{
	uint32_t slot = load_le32(slots), cluster = slot >> r->shift;
	*out = cluster;
	if (slot == 0)
		return true;
	/* below the data area the difference wraps and is too large as well */
	if ((slot & (r->unit - 1)) != 0 || cluster - r->data_start >= r->data_clusters)
		return false;
	return !used || !test_and_set(used, cluster, 1);
}

/* Decode slots of guest clusters; returns how many were good. */
static uint32_t decode_guest_slots(struct lay_bat_scan *s, const uint8_t *slots, uint32_t n, uint32_t *out)
{
	struct rules r = rules_of(s);
	for (uint32_t i = 0; i < n;) {
		const uint8_t *p = slots + (size_t)i * LAY_BAT_SLOT_BYTES;
		if (n - i >= RUN && decode_run(&r, s->used, p, out + i)) {
			i += RUN;
			continue;
		}
		for (uint32_t end = i + MIN(RUN, n - i); i < end; i++, p += LAY_BAT_SLOT_BYTES)
			if (unlikely(!decode_slot(&r, s->used, p, out + i)))
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
