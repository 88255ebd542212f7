/* DiskDescriptor.xml from the struct: the element order, indentation and escapes of stock tools. */
#include "layout/descriptor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_text(FILE *f, int depth, const char *element, const char *text)
{
	fprintf(f, "%*s<%s>", 2 * depth, "", element);
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", f);
			break;
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		default:
			fputc(*text, f);
		}
	}
	fprintf(f, "</%s>\n", element);
}

static void put_number(FILE *f, int depth, const char *element, uint64_t value)
{
	fprintf(f, "%*s<%s>%" PRIu64 "</%s>\n", 2 * depth, "", element, value, element);
}

static void put_unknown(FILE *f, const struct lay_desc *d, enum lay_desc_place place)
{
	if (d->unknown[place])
		fputs(d->unknown[place], f);
}

static void put_parameters(FILE *f, const struct lay_desc *d)
{
	uint64_t tracks = (uint64_t)d->cylinders * d->heads;

	fputs("  <Disk_Parameters>\n", f);
	put_number(f, 2, "Disk_size", d->size_sectors);
	if (d->max_delta_bytes)
		put_number(f, 2, "Max_delta_size", d->max_delta_bytes);
	put_number(f, 2, "Cylinders", d->cylinders);
	put_number(f, 2, "Heads", d->heads);
	put_number(f, 2, "Sectors", tracks ? d->size_sectors / tracks : 0);
	put_number(f, 2, "Padding", 0);
	if (d->key_id || d->unknown[LAY_IN_ENCRYPTION]) {
		fputs("    <Encryption>\n", f);
		if (d->key_id)
			put_text(f, 3, "KeyId", d->key_id);
		put_unknown(f, d, LAY_IN_ENCRYPTION);
		fputs("    </Encryption>\n", f);
	}
	put_unknown(f, d, LAY_IN_PARAMETERS);
	fputs("  </Disk_Parameters>\n", f);
}

/* Plain for the root only: what the format means, and readable by those who write it for every image of a raw disk. */
static void put_image(FILE *f, const struct lay_desc *d, const struct lay_desc_node *n)
{
	bool plain = d->mode == LAY_DESC_RAW && lay_guid_eq(&n->parent, &lay_guid_none);

	fputs("      <Image>\n", f);
	put_text(f, 4, "GUID", n->guid.text);
	put_text(f, 4, "Type", plain ? "Plain" : "Compressed");
	put_text(f, 4, "File", n->file);
	fputs("      </Image>\n", f);
}

static void put_storage(FILE *f, const struct lay_desc *d)
{
	fputs("  <StorageData>\n", f);
	if (d->volume)
		fputs(d->volume, f);
	fputs("    <Storage>\n", f);
	put_number(f, 3, "Start", 0);
	put_number(f, 3, "End", d->size_sectors);
	put_number(f, 3, "Blocksize", d->cluster_sectors);
	if (d->mode == LAY_DESC_PREALLOCATED)
		put_number(f, 3, "Preallocated", 1);
	for (size_t i = 0; i < d->count; i++)
		put_image(f, d, &d->nodes[i]);
	put_unknown(f, d, LAY_IN_STORAGE);
	fputs("    </Storage>\n", f);
	put_unknown(f, d, LAY_IN_STORAGE_DATA);
	fputs("  </StorageData>\n", f);
}

static void put_shot(FILE *f, const struct lay_desc_node *n)
{
	static const char *const marker[] = {
		[LAY_SHOT_PLAIN] = "",
		[LAY_SHOT_TEMPORARY] = "      <Temporary/>\n",
		[LAY_SHOT_TEMPORARY_ZERO] = "      <TemporaryZero/>\n",
		[LAY_SHOT_TEMPORARY_ZERO_SWAP] = "      <TemporaryZeroSwap/>\n",
	};
	fputs("    <Shot>\n", f);
	put_text(f, 3, "GUID", n->guid.text);
	put_text(f, 3, "ParentGUID", n->parent.text);
	fputs(marker[n->state], f);
	fputs("    </Shot>\n", f);
}

int lay_desc_write(const struct lay_desc *d, char **xml, size_t *bytes)
{
	const char *root = d->parallels_root ? "Parallels_disk_image" : "Virtuozzo_disk_image";
	autofree char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	if (!f)
		return -ENOMEM;

	fprintf(f, "<?xml version=\"1.0\"?>\n<%s%s>\n", root, d->parallels_root ? " Version=\"1.0\"" : "");
	put_parameters(f, d);
	put_storage(f, d);
	fputs("  <Snapshots>\n", f);
	put_text(f, 2, "TopGUID", d->top.text);
	for (size_t i = 0; i < d->count; i++)
		put_shot(f, &d->nodes[i]);
	if (d->merging.text[0])
		put_text(f, 2, "MergingGUID", d->merging.text);
	put_unknown(f, d, LAY_IN_SNAPSHOTS);
	fputs("  </Snapshots>\n", f);
	put_unknown(f, d, LAY_IN_ROOT);
	fprintf(f, "</%s>\n", root);

	bool failed = ferror(f);
	if (fclose(f) || failed || !text) /* no text: no memory, which fclose() keeps quiet */
		return -ENOMEM;
	*xml = mem_steal(&text);
	*bytes = n;
	return 0;
}
