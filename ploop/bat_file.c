#include "ploop/bat_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "layout/bat.h"
#include "layout/journal.h"
#include "ploop/finding.h"

#define CHUNK_BYTES (1u << 20)
#define CHUNK_SLOTS (CHUNK_BYTES / LAY_BAT_SLOT_BYTES)
#define PAGE_SLOTS (BAT_PAGE_BYTES / LAY_BAT_SLOT_BYTES)

/* ---- load */

static int read_header(struct store *store, struct lay_header *out)
{
	struct lay_fault fault = {.value = store->size_bytes, .limit = LAY_MIN_FILE_BYTES};
	if (store->size_bytes < LAY_MIN_FILE_BYTES)
		return finding_fail(LAY_F_FILE_SHORT, &fault, store->path);
	autofree uint8_t *page = aligned_alloc(BAT_PAGE_BYTES, BAT_PAGE_BYTES);
	if (!page)
		return pl_fail(-ENOMEM, "%s: no memory to read its header", store->path);
	int r = store_read(store, page, BAT_PAGE_BYTES, 0);
	if (r < 0)
		return r;
	enum lay_finding_id id = lay_header_decode(page, out);
	if (id == LAY_OK && lay_is_fenced(out))
		id = LAY_F_UNFINISHED;
	if (id == LAY_OK)
		id = lay_header_check(out, store->size_bytes, &fault.value, &fault.limit);
	if (id == LAY_OK && (out->flags & LAY_FLAG_CONVERT)) {
		id = LAY_F_CONVERTING;
		fault.value = out->flags;
	}
	return id == LAY_OK ? 0 : finding_fail(id, &fault, store->path);
}

static int init_alloc(struct bat_file *b, uint64_t file_clusters, uint64_t spare)
{
	const struct lay_header *h = &b->header;
	uint64_t limit = h->version == LAY_V1 ? UINT32_MAX / h->cluster_sectors : UINT32_MAX - 1;
	uint64_t max = file_clusters + b->clusters + spare;
	return alloc_init(&b->alloc, lay_header_clusters(h), (uint32_t)MIN(max, limit));
}

/* The part of the BAT in the file at @offset, a multiple of a page. */
static int read_chunk(struct bat_file *b, struct lay_bat_scan *scan, uint8_t *chunk, uint64_t offset, uint64_t bytes)
{
	int r = store_read(b->store, chunk, round_up_pow2(bytes, BAT_PAGE_BYTES), offset);
	if (r < 0)
		return r;
	uint32_t skip = offset == 0 ? LAY_HEADER_BYTES : 0;
	uint32_t first = (uint32_t)((offset + skip - LAY_HEADER_BYTES) / LAY_BAT_SLOT_BYTES);
	uint32_t n = (uint32_t)((bytes - skip) / LAY_BAT_SLOT_BYTES);
	struct lay_fault fault = {0};
	enum lay_finding_id id = lay_bat_decode(scan, first, chunk + skip, n, b->files + first, &fault);
	return id == LAY_OK ? 0 : finding_fail(id, &fault, b->store->path);
}

static int read_bat(struct bat_file *b, uint64_t file_clusters)
{
	struct lay_bat_scan scan = {
		.h = &b->header,
		.file_clusters = file_clusters,
		.used = b->alloc.used,
		.guest_clusters = b->clusters,
	};
	autofree uint8_t *chunk = aligned_alloc(BAT_PAGE_BYTES, CHUNK_BYTES);
	if (!chunk)
		return pl_fail(-ENOMEM, "%s: no memory to read its BAT", b->store->path);
	uint64_t end = lay_slot_offset_bytes(b->clusters);
	for (uint64_t at = 0; at < end;) {
		int r = read_chunk(b, &scan, chunk, at, MIN(end - at, CHUNK_BYTES));
		if (r < 0)
			return r;
		at = MIN(at + CHUNK_BYTES, end);
		if (at < end) /* a hole of it names nothing */
			at = MAX(at, round_down_pow2(b->store->ops->next_data(b->store, at), BAT_PAGE_BYTES));
	}
	return 0;
}

static int load(struct bat_file *b, uint64_t spare)
{
	struct store *store = b->store;
	int r = read_header(store, &b->header);
	if (r < 0)
		return r;
	b->cluster_bytes = (uint32_t)lay_cluster_bytes(&b->header);
	b->clusters = lay_guest_clusters(&b->header);
	uint64_t in_file = lay_file_clusters(&b->header, store->size_bytes);
	r = init_alloc(b, in_file, MIN(spare, UINT32_MAX));
	b->files = calloc(b->clusters, sizeof(*b->files));
	if (r == 0 && !b->files)
		r = pl_fail(-ENOMEM, "%s: no memory for its BAT of %u entries", store->path, b->clusters);
	if (r == 0)
		r = read_bat(b, in_file);
	if (r < 0)
		return r;
	for (uint32_t w = 0; w < lay_used_words(MIN(in_file, b->alloc.max)); w++)
		b->alloc.used_count += (uint32_t)__builtin_popcountll(b->alloc.used[w]);
	alloc_start(&b->alloc, (uint32_t)in_file);
	return 0;
}

int bat_file_load(struct bat_file *b, struct store *store, uint64_t spare)
{
	*b = (struct bat_file){.store = store};
	int r = load(b, spare);
	if (r < 0)
		bat_file_fini(b);
	return r;
}

void bat_file_fini(struct bat_file *b)
{
	alloc_fini(&b->alloc);
	free(b->files);
	b->files = NULL;
}

/* ---- change */

int bat_file_begin_changes(struct bat_file *b)
{
	struct store *store = b->store;
	uint64_t whole = round_up_pow2(store->size_bytes, b->cluster_bytes);
	int r = whole > store->size_bytes ? store->ops->set_size(store, whole) : 0;
	if (r < 0)
		return r;
	alloc_start(&b->alloc, (uint32_t)lay_file_clusters(&b->header, whole));
	b->fresh_from = b->alloc.tail;
	return 0;
}

void bat_file_build_page(const struct bat_file *b, uint32_t page, uint8_t out[BAT_PAGE_BYTES])
{
	uint32_t i = 0;
	if (page == 0) {
		lay_header_encode(&b->header, out);
		i = LAY_HEADER_SLOTS;
	}
	for (; i < PAGE_SLOTS; i++) {
		uint64_t g = (uint64_t)page * PAGE_SLOTS + i - LAY_HEADER_SLOTS;
		uint32_t slot = 0;
		if (g < b->clusters && b->files[g])
			slot = lay_slot_from_cluster(&b->header, (struct fclu){b->files[g]});
		store_le32(out + (size_t)i * LAY_BAT_SLOT_BYTES, slot);
	}
}

static int extend(struct bat_file *b, uint32_t ahead)
{
	struct alloc *a = &b->alloc;
	uint32_t clusters = MIN(MAX(ahead, 1), a->max - a->space);
	int r = b->store->ops->set_size(b->store, bat_file_offset(b, (struct fclu){a->space + clusters}));
	if (r == 0)
		a->space += clusters;
	return r;
}

int bat_file_take(struct bat_file *b, uint32_t ahead, struct fclu *out, bool *fresh)
{
	bool reused;
	int r = alloc_take(&b->alloc, out, &reused);
	if (r == -EAGAIN) {
		r = extend(b, ahead);
		if (r < 0)
			return r;
		r = alloc_take(&b->alloc, out, &reused);
	}
	if (r < 0)
		return pl_fail(r, "%s: it has %u clusters, its format cannot address more", b->store->path,
			       b->alloc.tail);
	*fresh = out->n >= b->fresh_from;
	return 0;
}

uint64_t bat_file_end(const struct bat_file *b)
{
	return bat_file_offset(b, (struct fclu){alloc_end(&b->alloc)});
}

int bat_file_write_header(const struct bat_file *b)
{
	autofree uint8_t *page = aligned_alloc(BAT_PAGE_BYTES, BAT_PAGE_BYTES);
	if (!page)
		return pl_fail(-ENOMEM, "%s: no memory to write its header", b->store->path);
	bat_file_build_page(b, 0, page);
	int r = store_write(b->store, page, BAT_PAGE_BYTES, 0);
	return r < 0 ? r : store_sync(b->store);
}
