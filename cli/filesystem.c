/* ext2/3/4 and xfs get the options that containers' disks have had for years; any other type gets mkfs as it is. */
#include "cli/filesystem.h"

#include "cli/program.h"
#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/units.h"
#include "ploop.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_WORDS 24
#define WORD_BYTES 128

/* An argument vector that owns its words. */
struct words {
	size_t count;
	char text[MAX_WORDS][WORD_BYTES];
	const char *argv[MAX_WORDS + 1];
};

static void add(struct words *w, const char *fmt, ...) PL_PRINTF(2, 3);
static void add(struct words *w, const char *fmt, ...)
{
	invariant(w->count < MAX_WORDS);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(w->text[w->count], WORD_BYTES, fmt, ap);
	va_end(ap);
	w->argv[w->count] = w->text[w->count];
	w->argv[++w->count] = NULL;
}

/* For a path, which may be longer than our own words. */
static void add_path(struct words *w, const char *path)
{
	invariant(w->count < MAX_WORDS);
	w->argv[w->count++] = path;
	w->argv[w->count] = NULL;
}

/* Run it; any failure is -errno with a sentence. */
static int run(const struct words *w)
{
	int r = program_run(w->argv, false);
	return r > 0 ? -EIO : r;
}

static uint64_t block_bytes_of(const struct filesystem_options *o)
{
	return o->block_bytes ? o->block_bytes : FILESYSTEM_DEFAULT_BLOCK_BYTES;
}

/* ---- ext2, ext3, ext4 */

#define EXT_MAX_GROWTH_BYTES (50 * TIB)
#define EXT_MIN_BYTES_FOR_GROWTH (256 * MIB)
#define EXT_MAX_JOURNAL_MIB 128u
#define EXT_MIN_JOURNAL_BLOCKS 1024u
#define EXT_JOURNAL_SHARE 8 /* of the file system at most */

/* The journal in MiB: 128 as ever, an eighth of a smaller file system; 0 when there is no room for one. */
static uint64_t ext_journal_mib(uint64_t bytes, uint64_t block_bytes)
{
	uint64_t least = EXT_MIN_JOURNAL_BLOCKS * block_bytes;
	if (bytes < 2 * least)
		return 0;
	return MAX(MIN(div_up(bytes / MIB, EXT_JOURNAL_SHARE), EXT_MAX_JOURNAL_MIB), div_up(least, MIB));
}

/* Blocks up to which the file system can later be resized in place. Its table takes 4 MiB, too much of a small disk. */
static uint64_t ext_growth_blocks(const char *type, uint64_t bytes, uint64_t block_bytes)
{
	if (bytes < EXT_MIN_BYTES_FOR_GROWTH || EXT_MAX_GROWTH_BYTES <= bytes)
		return 0;
	uint64_t blocks = EXT_MAX_GROWTH_BYTES / block_bytes;
	bool blocks_have_32_bits = strcmp(type, "ext4") != 0;
	return blocks_have_32_bits ? MIN(blocks, UINT32_MAX) : blocks;
}

static int ext_format(const char *path, uint64_t bytes, const struct filesystem_options *o)
{
	uint64_t block_bytes = block_bytes_of(o);
	uint64_t growth = ext_growth_blocks(o->type, bytes, block_bytes);
	uint64_t journal_mib = strcmp(o->type, "ext2") == 0 ? 0 : ext_journal_mib(bytes, block_bytes);
	struct words w = {0};
	add(&w, "mke2fs");
	add(&w, "-q");
	add(&w, "-F");
	add(&w, "-t");
	add(&w, "%s", o->type);
	add(&w, "-b%llu", (unsigned long long)block_bytes);
	if (growth)
		add(&w, "-Elazy_itable_init=%d,resize=%llu", !o->nolazy, (unsigned long long)growth);
	else
		add(&w, "-Elazy_itable_init=%d", !o->nolazy);
	if (journal_mib)
		add(&w, "-Jsize=%llu", (unsigned long long)journal_mib);
	else
		add(&w, "-O^has_journal");
	if (o->label) {
		add(&w, "-L");
		add(&w, "%s", o->label);
	}
	add_path(&w, path);
	return run(&w);
}

static int ext_tune(const char *path)
{
	struct words w = {0};
	add(&w, "tune2fs");
	add(&w, "-ouser_xattr,acl");
	add(&w, "-c0");
	add(&w, "-i0");
	add(&w, "-eremount-ro");
	add_path(&w, path);
	return run(&w);
}

static int ext_edit(const char *path, const char *request)
{
	struct words w = {0};
	add(&w, "debugfs");
	add(&w, "-w");
	add(&w, "-R");
	add(&w, "%s", request);
	add_path(&w, path);
	return run(&w);
}

static int ext_add_balloon(const char *path)
{
	int r = ext_edit(path, "write /dev/null " FILESYSTEM_BALLOON);
	return r == 0 ? ext_edit(path, "set_inode_field " FILESYSTEM_BALLOON " mode 0100600") : r;
}

static int ext_make(const char *path, uint64_t bytes, const struct filesystem_options *o)
{
	int r = ext_format(path, bytes, o);
	if (r == 0)
		r = ext_tune(path);
	return r == 0 ? ext_add_balloon(path) : r;
}

/* ---- xfs */

static int xfs_make(const char *path, uint64_t bytes, const struct filesystem_options *o)
{
	struct words w = {0};
	add(&w, "mkfs.xfs");
	add(&w, "-q");
	add(&w, "-f");
	add(&w, "-b");
	add(&w, "size=%llu", (unsigned long long)block_bytes_of(o));
	if (o->label) {
		add(&w, "-L");
		add(&w, "%s", o->label);
	}
	add_path(&w, path);
	return run(&w);
}

/* ---- whatever mkfs there is */

static int other_make(const char *path, uint64_t bytes, const struct filesystem_options *o)
{
	struct words w = {0};
	add(&w, "mkfs.%s", o->type);
	add_path(&w, path);
	return run(&w);
}

static const struct kind {
	const char *type, *program;
	size_t label_max;
	int (*make)(const char *path, uint64_t bytes, const struct filesystem_options *o);
} kinds[] = {
	{"ext4", "mke2fs", 16, ext_make},
	{"ext3", "mke2fs", 16, ext_make},
	{"ext2", "mke2fs", 16, ext_make},
	{"xfs", "mkfs.xfs", 12, xfs_make},
	{NULL, NULL, 0, other_make}, /* any other name */
};

static const struct kind *kind_of(const char *type)
{
	const struct kind *k = kinds;
	while (k->type && strcmp(k->type, type) != 0)
		k++;
	return k;
}

int filesystem_check(const struct filesystem_options *o)
{
	const struct kind *kind = kind_of(o->type);
	char program[WORD_BYTES], path[PROGRAM_PATH_BYTES];
	if (strchr(o->type, '/') || strlen(o->type) > 32)
		return pl_fail(-EINVAL, "Incorrect file system type %s", o->type);
	snprintf(program, sizeof(program), "mkfs.%s", o->type);
	int r = program_find(kind->program ? kind->program : program, path);
	if (r < 0)
		return pl_wrap(r, "file system %s", o->type);
	if (o->block_bytes && (!is_pow2(o->block_bytes) || o->block_bytes < 512 || o->block_bytes > 64 * KIB))
		return pl_fail(-EINVAL, "file system block size %llu is not a power of two from 512 to 65536",
			       (unsigned long long)o->block_bytes);
	if (o->label && strlen(o->label) > kind->label_max)
		return pl_fail(-EINVAL, "label \"%s\" has %zu bytes, the limit of %s is %zu", o->label,
			       strlen(o->label), o->type, kind->label_max);
	if (!kind->type && (o->block_bytes || o->nolazy))
		return pl_fail(-EINVAL, "block size and --nolazy are for ext and xfs, not for %s", o->type);
	return 0;
}

int filesystem_make(const char *path, uint64_t bytes, const struct filesystem_options *options)
{
	int r = kind_of(options->type)->make(path, bytes, options);
	return r < 0 ? pl_wrap(r, "make a file system of type %s", options->type) : 0;
}

int filesystem_device_bytes(const char *path, uint64_t *bytes)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, bytes) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	return 0;
}

void filesystem_print_available(FILE *out)
{
	static const char *const known[] = {"ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "vfat", "ntfs"};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		char program[WORD_BYTES], path[PROGRAM_PATH_BYTES];
		const struct kind *kind = kind_of(known[i]);
		snprintf(program, sizeof(program), "mkfs.%s", known[i]);
		if (program_find(kind->program ? kind->program : program, path) == 0)
			fprintf(out, " %s", known[i]);
	}
	pl_error_clear();
}
