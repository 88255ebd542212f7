/* The 64-byte image header: decode, encode, compute, check. Pure over buffers. Format: layout/README.md. */
#ifndef PLOOP_LAYOUT_HEADER_H
#define PLOOP_LAYOUT_HEADER_H

#include "base/units.h"

#define LAY_HEADER_BYTES 64u
#define LAY_BAT_SLOT_BYTES 4u
#define LAY_HEADER_SLOTS (LAY_HEADER_BYTES / LAY_BAT_SLOT_BYTES) /* slots the header takes of the first cluster */
#define LAY_MIN_FILE_BYTES 4096u

#define LAY_MIN_CLUSTER_SECTORS 64u
#define LAY_MAX_CLUSTER_SECTORS 131072u
#define LAY_DEFAULT_CLUSTER_SECTORS 2048u

#define LAY_IN_USE_OFFSET 44u /* of the marker in the header: 4 bytes */
#define LAY_IN_USE 0x746F6E59u
#define LAY_CLOSED_V20 0u
#define LAY_CLOSED_V21 0x312E3276u

#define LAY_FLAG_EMPTY 0x1u
#define LAY_FLAG_CONVERT 0x2u

enum lay_version { LAY_V1 = 1, LAY_V2 = 2 };

struct lay_header {
	uint32_t version;             /* enum lay_version */
	uint32_t type;                /* 2 */
	uint32_t heads, cylinders;    /* informational */
	uint32_t cluster_sectors;
	uint32_t bat_entries;
	uint64_t size_sectors;
	uint32_t in_use;
	uint32_t first_block_sectors; /* first data cluster */
	uint32_t flags;
	uint64_t ext_sectors;         /* format extension, 0: none */
};

enum lay_finding_id {
	LAY_OK = 0,
#define FINDING(id, name, severity, repair, ...) LAY_F_##id,
#include "findings.def"
#undef FINDING
	LAY_FINDING_COUNT
};

/* The numbers of a finding's sentence; findings.def says what each means. */
struct lay_fault {
	uint64_t index, value, limit;
};

/* Bytes to struct. LAY_OK, or LAY_F_SIGNATURE when the first 16 bytes are not ours; nothing else is judged here. */
enum lay_finding_id lay_header_decode(const uint8_t bytes[LAY_HEADER_BYTES], struct lay_header *out);
void lay_header_encode(const struct lay_header *h, uint8_t bytes[LAY_HEADER_BYTES]);

/* Are the fields usable with a file of @file_bytes? What passes is safe for all the arithmetic below: cluster size,
 * type, first block, sizes that overflow, a BAT longer than the file. @value and @limit get the numbers for the
 * sentence. Accepts what QEMU writes (size not a cluster multiple). */
enum lay_finding_id lay_header_check(const struct lay_header *h, uint64_t file_bytes, uint64_t *value, uint64_t *limit);

/* The header of a new image with a valid cluster size; the size is rounded up to a cluster, marker, flags and extension
 * are 0. LAY_OK, or LAY_F_SIZE_LIMIT when version or cluster cannot address @size_sectors. */
enum lay_finding_id lay_header_compute(uint64_t size_sectors, uint32_t cluster_sectors, enum lay_version version,
				       struct lay_header *out);

/* A power of two from 64 to 131072 sectors. */
bool lay_cluster_is_valid(uint32_t cluster_sectors);

/* Largest size in sectors a version and cluster can address, cut to a cluster multiple. */
uint64_t lay_max_size_sectors(uint32_t cluster_sectors, enum lay_version version);

struct lay_chs {
	uint32_t cylinders, heads, sectors;
};
struct lay_chs lay_chs_compute(uint64_t size_sectors);

static inline uint64_t lay_cluster_bytes(const struct lay_header *h)
{
	return (uint64_t)h->cluster_sectors * SECTOR_BYTES;
}

/* Guest clusters: the last one may be partial (QEMU). */
static inline uint32_t lay_guest_clusters(const struct lay_header *h)
{
	return (uint32_t)div_up(h->size_sectors, h->cluster_sectors);
}

/* Clusters at the start of the file that hold header and BAT. */
static inline uint32_t lay_header_clusters(const struct lay_header *h)
{
	return h->first_block_sectors / h->cluster_sectors;
}

/* Slots between header and first block: at least the guest clusters; those behind them must be 0. */
static inline uint64_t lay_bat_slots(const struct lay_header *h)
{
	return (uint64_t)h->first_block_sectors * (SECTOR_BYTES / LAY_BAT_SLOT_BYTES) - LAY_HEADER_SLOTS;
}

/* Where the slot of a guest cluster is in the file. */
static inline uint64_t lay_slot_offset_bytes(uint32_t guest_cluster)
{
	return LAY_HEADER_BYTES + (uint64_t)guest_cluster * LAY_BAT_SLOT_BYTES;
}

/* A slot's value and the file cluster it names: v1 counts sectors, v2 clusters. */
static inline uint32_t lay_slot_from_cluster(const struct lay_header *h, struct fclu f)
{
	return h->version == LAY_V1 ? f.n * h->cluster_sectors : f.n;
}

static inline struct fclu lay_slot_to_cluster(const struct lay_header *h, uint32_t slot)
{
	return (struct fclu){h->version == LAY_V1 ? slot / h->cluster_sectors : slot};
}

#endif
