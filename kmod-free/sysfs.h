/* What the kernel tells of a block device in /sys. A device is named by its number: names differ between transports. */
#ifndef PLOOP_SYSFS_H
#define PLOOP_SYSFS_H

#include <stddef.h>
#include <stdint.h>

#define SYSFS_NAME_BYTES 64

/* The device number in the file that @fmt names. */
int sysfs_read_dev(uint64_t *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first line of a small file. -ENOENT without a sentence: it is not there. */
int sysfs_read_line(char *out, size_t out_bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The kernel's name of a block device: "nbd0", "loop1". -ENODEV: there is none of that number. */
int sysfs_block_name(uint64_t dev, char name[SYSFS_NAME_BYTES]);

/* Open the kernel's own node of a block device; the descriptor or an errno. */
int sysfs_open_block(uint64_t dev, int flags);

#endif
