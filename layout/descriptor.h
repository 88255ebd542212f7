/* DiskDescriptor.xml: read, judge, write. Pure over buffers; the one place that knows the XML.
 *
 * An Image and the Shot of the same GUID are one node here. What lay_desc_parse() lets through is a tree: every GUID
 * is unique, every parent is a node, there is one root, every node reaches it, the top is one of the nodes.
 *
 * Reading, where it differs from libploop: numbers that matter (Disk_size, Max_delta_size, Blocksize, Preallocated)
 * are refused when they are not numbers or do not fit, Cylinders and Heads then count as 0 as they do there; a
 * DOCTYPE is refused, so there are no entities; elements that nobody knows survive a rewrite.
 *
 * One element is our own: Snapshots/MergingGUID, while two images are merged. Stock tools pass over it, and drop it
 * when they write. */
#ifndef PLOOP_LAYOUT_DESCRIPTOR_H
#define PLOOP_LAYOUT_DESCRIPTOR_H

#include "base/cleanup.h"
#include "base/units.h"

#define LAY_DESC_NAME "DiskDescriptor.xml"

#define LAY_DESC_MAX_BYTES	  (4 * MIB)
#define LAY_DESC_MAX_IMAGES	  4096u
#define LAY_DESC_MAX_ELEMENTS	  40960u /* all images with their shots, and room for what we do not know */
#define LAY_DESC_MAX_DEPTH	  16
#define LAY_DESC_MAX_EQUAL_SIGNS  4096u /* bounds attributes, whose checks take quadratic time in libxml2 */
#define LAY_DESC_MAX_FILE_BYTES	  4095u
#define LAY_DESC_MAX_KEY_ID_BYTES 1023u
#define LAY_DESC_MAX_SIZE_SECTORS (UINT64_C(1) << 54) /* of 512 bytes: what an off_t holds */

/* 38 characters {8-4-4-4-12}, lower case. */
struct lay_guid {
	char text[39];
};
extern const struct lay_guid lay_guid_top;  /* the id of the active top */
extern const struct lay_guid lay_guid_none; /* the parent of the root */

/* Braces required, any case. */
bool lay_guid_parse(const char *text, struct lay_guid *out);
bool lay_guid_eq(const struct lay_guid *a, const struct lay_guid *b);

enum lay_desc_mode { LAY_DESC_EXPANDED, LAY_DESC_PREALLOCATED, LAY_DESC_RAW };

/* What an interrupted or running operation left on a Shot. */
enum lay_desc_state { LAY_SHOT_PLAIN, LAY_SHOT_TEMPORARY, LAY_SHOT_TEMPORARY_ZERO, LAY_SHOT_TEMPORARY_ZERO_SWAP };

struct lay_desc_node {
	struct lay_guid guid;
	struct lay_guid parent;
	enum lay_desc_state state;
	char *file; /* as written in the XML, owned; 1…LAY_DESC_MAX_FILE_BYTES bytes, no control characters */
};

/* Where an unknown element stood. */
enum lay_desc_place {
	LAY_IN_ROOT,
	LAY_IN_PARAMETERS,
	LAY_IN_ENCRYPTION,
	LAY_IN_STORAGE_DATA,
	LAY_IN_STORAGE,
	LAY_IN_SNAPSHOTS,
	LAY_DESC_PLACES
};

struct lay_desc {
	uint64_t size_sectors;	  /* 0: not said */
	uint64_t max_delta_bytes; /* 0: no limit */
	uint32_t cylinders, heads;
	uint32_t cluster_sectors;
	enum lay_desc_mode mode;	/* RAW: the root's file has no header */
	bool parallels_root;		/* root element Parallels_disk_image, kept when rewritten */
	char *key_id;			/* NULL: not encrypted */
	char *volume;			/* the Volume element as text; NULL: not a volume */
	char *unknown[LAY_DESC_PLACES]; /* unknown elements as indented text, or NULL */
	struct lay_guid top;
	struct lay_guid merging;	/* the image that is being merged with the one below it; "": none */
	struct lay_desc_node *nodes; /* in the order of the Images; owned, as everything above */
	size_t count;
};

/* The sentence of a refusal, without the name of the file. Bytes from the XML are cut and made printable. */
struct lay_desc_why {
	char text[512];
};

/* Bytes to struct. On success the caller owns *@out and ends it with lay_desc_fini(), otherwise it is untouched.
 * -EUCLEAN not a valid descriptor · -EOPNOTSUPP split disk, child or read-only volume, unknown Type ·
 * -ELOOP a cycle of GUIDs · -ENOMEM. */
int lay_desc_parse(const void *xml, size_t bytes, struct lay_desc *out, struct lay_desc_why *why);

/* Struct to malloc'ed text. -ENOMEM. */
int lay_desc_write(const struct lay_desc *desc, char **xml, size_t *bytes);

void lay_desc_fini(struct lay_desc *desc);

/* NULL when there is none. */
struct lay_desc_node *lay_desc_find(const struct lay_desc *desc, const struct lay_guid *guid);

/* Name the top TOPDELTA everywhere, as every writer does except for volumes. -EUCLEAN: another node has that name. */
int lay_desc_settle_top(struct lay_desc *desc, struct lay_desc_why *why);

/* ---- edits: what one step of an operation on the bundle changes (descriptor_edit.c). New nodes come last, the others
 * keep their order. What these ask of their arguments is the caller's to have checked. -ENOMEM: nothing was changed. */

/* *@out is ended with lay_desc_fini(). */
int lay_desc_copy(const struct lay_desc *desc, struct lay_desc *out);

/* How many nodes stand on @guid; *@last (may be NULL) is the last of them. */
size_t lay_desc_children(const struct lay_desc *desc, const struct lay_guid *guid, struct lay_desc_node **last);

/* The top, which was TOPDELTA, becomes snapshot @guid, a new id, and a new TOPDELTA in @file stands on it. */
int lay_desc_snapshot(struct lay_desc *desc, const struct lay_guid *guid, const char *file, bool temporary);

/* Forget @leaf, on which nothing stands and which is not the top. */
void lay_desc_remove(struct lay_desc *desc, const struct lay_guid *leaf);

/* Forget the top: the node below it, which nothing else stands on, is TOPDELTA now. */
void lay_desc_drop_top(struct lay_desc *desc);

/* @guid has the name @new_guid, which no node had, everywhere. */
void lay_desc_rename(struct lay_desc *desc, const struct lay_guid *guid, const struct lay_guid *new_guid);

enum lay_desc_keep { LAY_KEEP_CHILDS_FILE, LAY_KEEP_PARENTS_FILE };
/* @child and the node below it, which nothing else stands on, become one with the id of @child. */
void lay_desc_merge(struct lay_desc *desc, const struct lay_guid *child, enum lay_desc_keep keep);

/* A new TOPDELTA in @file stands on @guid, another node than the top, which was TOPDELTA. The old top, on which nothing
 * stands, is forgotten, or kept as @kept, a new id. */
int lay_desc_switch(struct lay_desc *desc, const struct lay_guid *guid, const char *file, const struct lay_guid *kept);

int lay_desc_set_file(struct lay_desc_node *node, const char *file);

static inline void desc_autop(struct lay_desc *desc)
{
	lay_desc_fini(desc);
}
#define autodesc __attribute__((cleanup(desc_autop)))

#endif
