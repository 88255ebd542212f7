/* The meaning of a descriptor's elements: every value judged, in the order of the document. */
#include "layout/descriptor_tree.h"
#include "layout/descriptor_xml.h"

#include <string.h>

/* ---- elements */

static size_t count_children(const xmlNode *parent, const char *name)
{
	size_t n = 0;
	for (const xmlNode *i = lay_xml_child(parent, name); i; i = lay_xml_next(i, name))
		n++;
	return n;
}

static int require(const xmlNode *parent, const char *name, xmlNode **out, struct lay_desc_why *why)
{
	*out = lay_xml_child(parent, name);
	if (!*out)
		return lay_desc_refuse(why, -EUCLEAN, "line %ld: %s has no element %s", lay_xml_line(parent),
				       lay_xml_name(parent), name);
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The content of an element without the blanks around it. */
static int text_of(const xmlNode *node, char **out, struct lay_desc_why *why)
{
	char *text = lay_xml_text(node);
	if (!text)
		return lay_desc_refuse(why, -ENOMEM, "no memory for the text of %s", lay_xml_name(node));
	size_t start = 0, end = strlen(text);
	while (start < end && is_blank(text[start]))
		start++;
	while (end > start && is_blank(text[end - 1]))
		end--;
	memmove(text, text + start, end - start);
	text[end - start] = '\0';
	*out = text;
	return 0;
}

/* C syntax with its bases; no sign. */
static bool parse_number(const char *text, uint64_t *out)
{
	if (*text < '0' || *text > '9')
		return false;
	char *end;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 0);
	if (errno || *end)
		return false;
	*out = v;
	return true;
}

/* *@out stays as it is when there is no such element. */
static int read_number(const xmlNode *parent, const char *name, uint64_t limit, uint64_t *out, struct lay_desc_why *why)
{
	const xmlNode *node = lay_xml_child(parent, name);
	autofree char *text = NULL;
	uint64_t v;
	if (!node)
		return 0;
	int r = text_of(node, &text, why);
	if (r)
		return r;
	if (!parse_number(text, &v) || v > limit)
		return lay_desc_refuse(why, -EUCLEAN, "line %ld: %s is \"%s\", expected a number up to %llu",
				       lay_xml_line(node), name, lay_shown(text).text, (unsigned long long)limit);
	*out = v;
	return 0;
}

/* Informational: what is no number counts as 0. */
static int read_hint(const xmlNode *parent, const char *name, uint32_t *out, struct lay_desc_why *why)
{
	uint64_t v = 0;
	int r = read_number(parent, name, UINT32_MAX, &v, why);
	*out = (uint32_t)v;
	return r == -EUCLEAN ? 0 : r;
}

static int read_guid(const xmlNode *parent, const char *name, struct lay_guid *out, struct lay_desc_why *why)
{
	xmlNode *node;
	autofree char *text = NULL;
	int r = require(parent, name, &node, why);
	if (!r)
		r = text_of(node, &text, why);
	if (r)
		return r;
	if (!lay_guid_parse(text, out))
		return lay_desc_refuse(why, -EUCLEAN,
				       "line %ld: %s is \"%s\", expected {8-4-4-4-12} hexadecimal digits",
				       lay_xml_line(node), name, lay_shown(text).text);
	return 0;
}

/* C0, DEL and C1: no use in a name, and a way to fool a terminal. */
static bool has_control(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
			return true;
	return false;
}

static int read_string(const xmlNode *parent, const char *name, size_t limit, char **out, struct lay_desc_why *why)
{
	xmlNode *node;
	int r = require(parent, name, &node, why);
	if (r)
		return r;
	autofree char *text = lay_xml_text(node);
	if (!text)
		return lay_desc_refuse(why, -ENOMEM, "no memory for the text of %s", name);
	size_t n = strlen(text);
	if (n == 0 || n > limit)
		return lay_desc_refuse(why, -EUCLEAN, "line %ld: %s is %zu bytes long, expected 1 to %zu",
				       lay_xml_line(node), name, n, limit);
	if (has_control(text))
		return lay_desc_refuse(why, -EUCLEAN, "line %ld: %s is \"%s\", which has control characters",
				       lay_xml_line(node), name, lay_shown(text).text);
	*out = strdup(text);
	return *out ? 0 : lay_desc_refuse(why, -ENOMEM, "no memory for the text of %s", name);
}

/* ---- what we do not know */

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static int read_unknown(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why)
{
	const xmlNode *parameters = lay_xml_child(root, "Disk_Parameters"), *data = lay_xml_child(root, "StorageData");
	const struct {
		const xmlNode *parent;
		int depth;
		const char *const *known;
	} places[LAY_DESC_PLACES] = {
		[LAY_IN_ROOT] = {root, 1, NAMES("Disk_Parameters", "StorageData", "Snapshots")},
		[LAY_IN_PARAMETERS] = {parameters, 2,
				       NAMES("Disk_size", "Max_delta_size", "Cylinders", "Heads", "Sectors", "Padding",
					     "Encryption")},
		[LAY_IN_ENCRYPTION] = {lay_xml_child(parameters, "Encryption"), 3, NAMES("KeyId")},
		[LAY_IN_STORAGE_DATA] = {data, 2, NAMES("Volume", "Storage")},
		[LAY_IN_STORAGE] = {lay_xml_child(data, "Storage"), 3,
				    NAMES("Start", "End", "Blocksize", "Preallocated", "Image")},
		[LAY_IN_SNAPSHOTS] = {lay_xml_child(root, "Snapshots"), 2, NAMES("TopGUID", "Shot", "MergingGUID")},
	};
	for (int i = 0; i < LAY_DESC_PLACES; i++)
		if (lay_xml_dump_unknown(places[i].parent, places[i].depth, places[i].known, &d->unknown[i]))
			return lay_desc_refuse(why, -ENOMEM, "no memory for the unknown elements");
	return 0;
}

/* ---- the parts of the document */

static int read_parameters(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why)
{
	xmlNode *p;
	int r = require(root, "Disk_Parameters", &p, why);
	if (!r)
		r = read_number(p, "Disk_size", LAY_DESC_MAX_SIZE_SECTORS, &d->size_sectors, why);
	if (!r)
		r = read_number(p, "Max_delta_size", INT64_MAX, &d->max_delta_bytes, why);
	if (!r)
		r = read_hint(p, "Cylinders", &d->cylinders, why);
	if (!r)
		r = read_hint(p, "Heads", &d->heads, why);
	if (r)
		return r;
	const xmlNode *encryption = lay_xml_child(p, "Encryption");
	if (lay_xml_child(encryption, "KeyId"))
		return read_string(encryption, "KeyId", LAY_DESC_MAX_KEY_ID_BYTES, &d->key_id, why);
	return 0;
}

static int read_volume(const xmlNode *data, struct lay_desc *d, struct lay_desc_why *why)
{
	xmlNode *volume = lay_xml_child(data, "Volume");
	if (!volume)
		return 0;
	if (lay_xml_child(volume, "Parent"))
		return lay_desc_refuse(why, -EOPNOTSUPP,
				       "line %ld: Volume has a Parent: child volumes are not supported",
				       lay_xml_line(volume));
	if (lay_xml_child(volume, "ReadOnly"))
		return lay_desc_refuse(why, -EOPNOTSUPP,
				       "line %ld: Volume is ReadOnly: snapshot volumes are not supported",
				       lay_xml_line(volume));
	d->volume = lay_xml_dump(volume, 2);
	return d->volume ? 0 : lay_desc_refuse(why, -ENOMEM, "no memory for the element Volume");
}

static int read_cluster(const xmlNode *storage, struct lay_desc *d, struct lay_desc_why *why)
{
	xmlNode *node;
	uint64_t cluster = 0, preallocated = 0;
	int r = require(storage, "Blocksize", &node, why);
	if (!r)
		r = read_number(storage, "Blocksize", 131072, &cluster, why);
	if (!r)
		r = read_number(storage, "Preallocated", 1, &preallocated, why);
	if (r)
		return r;
	if (cluster < 64 || !is_pow2(cluster))
		return lay_desc_refuse(why, -EUCLEAN,
				       "line %ld: Blocksize is %llu, expected a power of two from 64 to 131072",
				       lay_xml_line(node), (unsigned long long)cluster);
	d->cluster_sectors = (uint32_t)cluster;
	if (preallocated && d->mode == LAY_DESC_RAW)
		return lay_desc_refuse(why, -EUCLEAN,
				       "line %ld: Preallocated is 1 and an Image is Plain: only one can be",
				       lay_xml_line(storage));
	if (preallocated)
		d->mode = LAY_DESC_PREALLOCATED;
	return 0;
}

/* One Plain image makes the disk raw, whichever it is: stock writes it for all of them. */
static int read_type(const xmlNode *image, struct lay_desc *d, struct lay_desc_why *why)
{
	const xmlNode *node = lay_xml_child(image, "Type");
	autofree char *type = NULL;
	if (!node)
		return 0;
	int r = text_of(node, &type, why);
	if (r)
		return r;
	if (!strcmp(type, "Plain"))
		d->mode = LAY_DESC_RAW;
	else if (strcmp(type, "Compressed"))
		return lay_desc_refuse(why, -EOPNOTSUPP, "line %ld: Type is \"%s\", expected Compressed or Plain",
				       lay_xml_line(node), lay_shown(type).text);
	return 0;
}

static int read_images(const xmlNode *storage, struct lay_desc *d, struct lay_desc_why *why)
{
	size_t n = count_children(storage, "Image");
	if (n == 0 || n > LAY_DESC_MAX_IMAGES)
		return lay_desc_refuse(why, -EUCLEAN, "Storage has %zu Images, expected 1 to %u", n,
				       LAY_DESC_MAX_IMAGES);
	d->nodes = calloc(n, sizeof(*d->nodes));
	if (!d->nodes)
		return lay_desc_refuse(why, -ENOMEM, "no memory for %zu images", n);
	for (const xmlNode *i = lay_xml_child(storage, "Image"); i; i = lay_xml_next(i, "Image")) {
		struct lay_desc_node *node = &d->nodes[d->count++];
		int r = read_guid(i, "GUID", &node->guid, why);
		if (!r)
			r = read_type(i, d, why);
		if (!r)
			r = read_string(i, "File", LAY_DESC_MAX_FILE_BYTES, &node->file, why);
		if (r)
			return r;
	}
	return 0;
}

static int read_storage(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why)
{
	xmlNode *data, *storage;
	int r = require(root, "StorageData", &data, why);
	if (!r)
		r = require(data, "Storage", &storage, why);
	if (r)
		return r;
	const xmlNode *second = lay_xml_next(storage, "Storage");
	if (second)
		return lay_desc_refuse(why, -EOPNOTSUPP, "line %ld: a second Storage: split disks are not supported",
				       lay_xml_line(second));
	r = read_volume(data, d, why);
	if (!r)
		r = read_images(storage, d, why);
	return r ? r : read_cluster(storage, d, why);
}

static int read_shots(const xmlNode *snapshots, struct lay_desc_shot *shots, struct lay_desc_why *why)
{
	for (const xmlNode *i = lay_xml_child(snapshots, "Shot"); i; i = lay_xml_next(i, "Shot"), shots++) {
		int r = read_guid(i, "GUID", &shots->guid, why);
		if (!r)
			r = read_guid(i, "ParentGUID", &shots->parent, why);
		if (r)
			return r;
		shots->state = lay_xml_child(i, "TemporaryZeroSwap") ? LAY_SHOT_TEMPORARY_ZERO_SWAP
			       : lay_xml_child(i, "TemporaryZero")   ? LAY_SHOT_TEMPORARY_ZERO
			       : lay_xml_child(i, "Temporary")	     ? LAY_SHOT_TEMPORARY
								     : LAY_SHOT_PLAIN;
	}
	return 0;
}

static int read_snapshots(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why)
{
	xmlNode *snapshots;
	int r = require(root, "Snapshots", &snapshots, why);
	if (!r && lay_xml_child(snapshots, "TopGUID"))
		r = read_guid(snapshots, "TopGUID", &d->top, why);
	if (!r && lay_xml_child(snapshots, "MergingGUID"))
		r = read_guid(snapshots, "MergingGUID", &d->merging, why);
	if (r)
		return r;
	size_t n = count_children(snapshots, "Shot");
	autofree struct lay_desc_shot *shots = calloc(n + 1, sizeof(*shots)); /* one more: lay_desc_join() */
	if (!shots)
		return lay_desc_refuse(why, -ENOMEM, "no memory for %zu Shots", n);
	r = read_shots(snapshots, shots, why);
	return r ? r : lay_desc_join(d, shots, n, why);
}

int lay_desc_read(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why)
{
	const char *name = lay_xml_name(root);
	d->parallels_root = !strcmp(name, "Parallels_disk_image");
	if (!d->parallels_root && strcmp(name, "Virtuozzo_disk_image"))
		return lay_desc_refuse(why, -EUCLEAN,
				       "root element is %s, expected Virtuozzo_disk_image or Parallels_disk_image",
				       lay_shown(name).text);
	int r = read_parameters(root, d, why);
	if (!r)
		r = read_storage(root, d, why);
	if (!r)
		r = read_snapshots(root, d, why);
	return r ? r : read_unknown(root, d, why);
}
