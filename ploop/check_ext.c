/* The format extension of an image under check. While the marker says "in use" or "closed, 2.0" the header's pointer
 * means nothing; a stale one makes QEMU refuse the image, so it is taken out. */
#include "ploop/check.h"

#include "base/cleanup.h"
#include "layout/ext.h"
#include "ploop/finding.h"
#include "ploop/image_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void mark_used(struct check *c, uint64_t first_sector)
{
	if (!c->bat.used)
		return;
	uint64_t last_sector = first_sector + c->h.cluster_sectors - 1;
	for (uint64_t f = first_sector / c->h.cluster_sectors;
	     f <= last_sector / c->h.cluster_sectors && f < c->bat.file_clusters; f++)
		c->bat.used[f / 64] |= UINT64_C(1) << (f % 64);
}

static enum lay_finding_id check_feature(struct check *c, const uint8_t *cluster, const struct lay_feature *feature,
					 struct lay_fault *fault)
{
	if (lay_feature_use(feature) == LAY_USE_FORBIDS_WRITING) {
		*fault = (struct lay_fault){.index = feature->data_offset, .value = feature->magic};
		return LAY_F_EXT_NECESSARY;
	}
	if (feature->magic != LAY_FEATURE_DIRTY_BITMAP)
		return LAY_OK;
	struct lay_bitmap bitmap;
	enum lay_finding_id f = lay_bitmap_decode(&c->h, c->file_bytes, cluster, feature, &bitmap, fault);
	for (uint32_t i = 0; f == LAY_OK && i < bitmap.l1_entries; i++)
		if (lay_bitmap_l1_entry(&bitmap, i) > LAY_L1_ONES)
			mark_used(c, lay_bitmap_l1_entry(&bitmap, i));
	return f;
}

static enum lay_finding_id check_cluster(struct check *c, const uint8_t *cluster, struct lay_fault *fault)
{
	uint32_t bytes = (uint32_t)lay_cluster_bytes(&c->h), at = 0;
	struct lay_feature feature = {0};
	enum lay_finding_id f = lay_ext_check(cluster, bytes, fault);
	do {
		if (f == LAY_OK)
			f = lay_ext_next(cluster, bytes, &at, &feature, fault);
		if (f == LAY_OK && feature.magic != 0)
			f = check_feature(c, cluster, &feature, fault);
	} while (f == LAY_OK && feature.magic != 0);
	if (f == LAY_OK)
		mark_used(c, c->h.ext_sectors);
	return f;
}

/* Report @id and take the extension out of the header. */
static int drop_ext(struct check *c, enum lay_finding_id id, const struct lay_fault *fault)
{
	if (!c->may_write) {
		check_report(c, id, fault, PL_VERDICT_SKIPPED);
		return 0;
	}
	c->h.ext_sectors = 0;
	c->h.in_use = LAY_CLOSED_V20;
	if (c->bat.used) /* its clusters are free now */
		memset(c->bat.used, 0, lay_used_words(c->bat.file_clusters) * sizeof(*c->bat.used));
	int r = check_write_header(c);
	if (!r)
		check_report(c, id, fault, PL_VERDICT_FIXED);
	return r;
}

int check_ext(struct check *c)
{
	struct lay_fault fault = {.value = c->h.ext_sectors, .limit = c->h.in_use};
	if (c->h.ext_sectors == 0 || c->h.in_use == LAY_IN_USE)
		return 0;
	if (c->h.in_use != LAY_CLOSED_V21)
		return drop_ext(c, LAY_F_EXT_STALE, &fault);

	enum lay_finding_id f = lay_ext_check_offset(&c->h, c->file_bytes, &fault);
	if (f != LAY_OK)
		return drop_ext(c, f, &fault);
	autofree uint8_t *cluster = malloc(lay_cluster_bytes(&c->h));
	if (!cluster)
		return check_stop(c, CHECK_MEMORY, pl_fail(-ENOMEM, "check %s: out of memory", c->ref->path));
	int r = file_read(c->fd, cluster, lay_cluster_bytes(&c->h), c->h.ext_sectors * SECTOR_BYTES, c->ref->path);
	if (r)
		return check_stop(c, CHECK_READ, r);

	f = check_cluster(c, cluster, &fault);
	if (f == LAY_F_EXT_NECESSARY) {
		check_report(c, f, &fault, PL_VERDICT_SKIPPED);
		c->may_write = false;
		return 0;
	}
	return f == LAY_OK ? 0 : drop_ext(c, f, &fault);
}
