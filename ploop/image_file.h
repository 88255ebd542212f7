/* Plain, blocking access to an image file, for those who handle it as a file: create, info, check. */
#ifndef PLOOP_IMAGE_FILE_H
#define PLOOP_IMAGE_FILE_H

#include "layout/journal.h"

/* All @length bytes or none of the count: -errno with a sentence that names @path; a read past the end is -EIO. */
int file_read(int fd, void *buf, size_t length, uint64_t offset, const char *path);
int file_write(int fd, const void *buf, size_t length, uint64_t offset, const char *path);
/* What was written is durable on return. */
int file_sync(int fd, const char *path);
/* Length in bytes, and how many of them take space. */
int file_length(int fd, uint64_t *length_bytes, uint64_t *allocated_bytes, const char *path);

/* The fenced header @h of the file: made true with what its journal says. LAY_OK, or a finding with @fault. */
enum lay_finding_id file_unfence(int fd, uint64_t file_bytes, const char *path, struct lay_header *h,
				 struct lay_fault *fault);

#endif
