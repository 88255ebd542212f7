/* The format extension: one cluster with a list of features, of which the dirty bitmap is the only one known. Pure over
 * buffers that hold the whole cluster. Format: README.md.
 *
 * Reading                                  Writing
 *   lay_ext_check_offset  where it is        lay_ext_begin    an empty cluster
 *   lay_ext_check         magic, digest      lay_ext_append   room for each feature; then its encode
 *   lay_ext_next          each feature       lay_ext_carry    what a writer must preserve
 *   lay_bitmap_decode     what it says       lay_ext_seal     magic and digest */
#ifndef PLOOP_LAYOUT_EXT_H
#define PLOOP_LAYOUT_EXT_H

#include "layout/header.h"

#define LAY_EXT_MAGIC		 UINT64_C(0xAB234CEF23DCEA87)
#define LAY_FEATURE_DIRTY_BITMAP UINT64_C(0x20385FAE252CB34A)

#define LAY_FEATURE_NECESSARY 0x1u /* who cannot load it must not modify the image */
#define LAY_FEATURE_TRANSIT   0x2u /* who does not know it preserves it as it is */

/* Does the header's extension cluster lie where one may? LAY_OK or LAY_F_EXT_OFFSET. */
enum lay_finding_id lay_ext_check_offset(const struct lay_header *h, uint64_t file_bytes, struct lay_fault *fault);

/* Magic and digest. LAY_OK, LAY_F_EXT_MAGIC or LAY_F_EXT_DIGEST (also when libcrypto offers no MD5). */
enum lay_finding_id lay_ext_check(const uint8_t *cluster, uint32_t cluster_bytes, struct lay_fault *fault);

struct lay_feature {
	uint64_t magic; /* 0: the list has ended */
	uint64_t flags;
	uint32_t data_offset; /* in the cluster */
	uint32_t data_bytes;
};
/* The feature at *@at, which starts as 0 and moves on. LAY_OK or LAY_F_EXT_UNTERMINATED. */
enum lay_finding_id lay_ext_next(const uint8_t *cluster, uint32_t cluster_bytes, uint32_t *at, struct lay_feature *out,
				 struct lay_fault *fault);

enum lay_feature_use {
	LAY_USE_KNOWN,
	LAY_USE_FORBIDS_WRITING, /* unknown and necessary */
	LAY_USE_CARRY,		 /* unknown and in transit */
	LAY_USE_DROP,		 /* unknown, nobody minds */
};
enum lay_feature_use lay_feature_use(const struct lay_feature *feature);

/* A cluster being filled. */
struct lay_ext_writer {
	uint8_t *cluster;
	uint32_t cluster_bytes;
	uint32_t at;
};
void lay_ext_begin(struct lay_ext_writer *w, uint8_t *cluster, uint32_t cluster_bytes);
/* Room for @data_bytes, zeroed; NULL when the cluster is full. */
uint8_t *lay_ext_append(struct lay_ext_writer *w, uint64_t magic, uint64_t flags, uint32_t data_bytes);
/* Append the features of the checked cluster @old that we do not know and must preserve; false when it is full. */
bool lay_ext_carry(struct lay_ext_writer *w, const uint8_t *old);
/* false: libcrypto offers no MD5. */
bool lay_ext_seal(struct lay_ext_writer *w);

/* MD5, the one use of libcrypto here (ext_md5.c). */
#define LAY_MD5_BYTES 16
bool lay_md5(const void *data, size_t bytes, uint8_t out[LAY_MD5_BYTES]);

/* ---- the dirty bitmap: bit k, least significant first, covers sectors [k * granularity, (k + 1) * granularity) */

#define LAY_BITMAP_ID_BYTES		       16
#define LAY_BITMAP_DEFAULT_GRANULARITY_SECTORS 128u

struct lay_bitmap {
	uint64_t size_sectors;		 /* of the disk */
	uint8_t id[LAY_BITMAP_ID_BYTES]; /* UUID, bytes in the order of its text */
	uint32_t granularity_sectors;
	uint32_t l1_entries; /* of the table below; 0: the empty form, nothing is dirty */
	const uint8_t *l1;   /* in the extension cluster */
};

/* An L1 entry describes one cluster of bitmap: a constant, or the sector where its bytes are. */
#define LAY_L1_ZEROS 0u
#define LAY_L1_ONES  1u

/* "01234567-89ab-…", 36 characters in any case. */
bool lay_bitmap_parse_id(const char *text, uint8_t id[LAY_BITMAP_ID_BYTES]);
uint64_t lay_bitmap_bytes(uint64_t size_sectors, uint32_t granularity_sectors);
/* Entries of a full L1. */
uint64_t lay_bitmap_l1_entries(uint64_t size_sectors, uint32_t granularity_sectors, uint32_t cluster_bytes);
/* Bytes of element data that a bitmap with a full L1 takes, or 0 when no element can be so long. */
uint32_t lay_bitmap_data_bytes(uint64_t l1_entries);

/* Read a dirty-bitmap feature of an image of @file_bytes whose header has been checked: sizes, granularity and every
 * L1 entry. What passes is safe to read. LAY_OK or a LAY_F_EXT_BITMAP_… finding. */
enum lay_finding_id lay_bitmap_decode(const struct lay_header *h, uint64_t file_bytes, const uint8_t *cluster,
				      const struct lay_feature *feature, struct lay_bitmap *out,
				      struct lay_fault *fault);
/* Entry @i of a decoded bitmap; LAY_L1_ZEROS for every entry of the empty form. */
uint64_t lay_bitmap_l1_entry(const struct lay_bitmap *b, uint32_t i);
/* Write a bitmap with its full L1 (b->l1 and the empty form do not count) to @data of lay_bitmap_data_bytes(). */
void lay_bitmap_encode(const struct lay_bitmap *b, const uint64_t *l1, uint32_t l1_entries, uint8_t *data);

#endif
