/* What the header of one image says. */
#include "ploop.h"

#include "base/cleanup.h"
#include "layout/header.h"
#include "ploop/finding.h"
#include "ploop/image_file.h"

#include <fcntl.h>
#include <string.h>

static int read_header(int fd, const char *path, uint64_t file_bytes, struct lay_header *out, bool *unfinished)
{
	struct lay_fault fault = {0};
	if (file_bytes < LAY_MIN_FILE_BYTES) {
		fault.value = file_bytes;
		fault.limit = LAY_MIN_FILE_BYTES;
		return finding_fail(LAY_F_FILE_SHORT, &fault, path);
	}
	uint8_t bytes[LAY_HEADER_BYTES];
	int r = file_read(fd, bytes, sizeof(bytes), 0, path);
	if (r)
		return r;
	enum lay_finding_id f = lay_header_decode(bytes, out);
	*unfinished = f == LAY_OK && lay_is_fenced(out);
	if (*unfinished)
		f = file_unfence(fd, file_bytes, path, out, &fault);
	if (f == LAY_OK)
		f = lay_header_check(out, file_bytes, &fault.value, &fault.limit);
	return f == LAY_OK ? 0 : finding_fail(f, &fault, path);
}

int pl_image_info(const struct pl_image_ref *ref, struct pl_image_info *out)
{
	autofd int fd = pl_image_open_fd(ref, O_RDONLY);
	if (fd < 0)
		return fd;
	uint64_t file_bytes, allocated_bytes;
	int r = file_length(fd, &file_bytes, &allocated_bytes, ref->path);
	if (r)
		return r;

	struct lay_header h = {.size_sectors = file_bytes / SECTOR_BYTES};
	bool unfinished = false;
	if (ref->format == PL_FORMAT_PLOOP)
		r = read_header(fd, ref->path, file_bytes, &h, &unfinished);
	if (r)
		return r;
	*out = (struct pl_image_info){
		.version = h.version,
		.cluster_sectors = h.cluster_sectors,
		.size_sectors = h.size_sectors,
		.bat_entries = h.bat_entries,
		.first_block_sectors = h.first_block_sectors,
		.heads = h.heads,
		.cylinders = h.cylinders,
		.in_use = h.in_use,
		.flags = h.flags,
		.ext_sectors = h.ext_sectors,
		.unfinished = unfinished,
		.file_bytes = file_bytes,
		.allocated_bytes = allocated_bytes,
	};
	return 0;
}
