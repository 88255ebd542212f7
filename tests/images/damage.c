#include "tests/images/damage.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/invariant.h"
#include "layout/ext.h"
#include "layout/journal.h"
#include "ploop.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum header_field {
	TYPE = 16,
	CLUSTER = 28,
	ENTRIES = 32,
	SIZE = 36,
	IN_USE = 44,
	FIRST_BLOCK = 48,
	FLAGS = 52,
	EXT = 56
};
#define SLOT(n) (LAY_HEADER_BYTES + (n)*LAY_BAT_SLOT_BYTES)

#define BITMAP_CLUSTER 5u
#define EXT_CLUSTER    6u
#define IN_EXT(byte)   (EXT_CLUSTER * DAMAGE_CLUSTER_BYTES + (byte))
#define FEATURE	       24 /* in the extension cluster */
#define BITMAP	       (FEATURE + 24)

static int open_image(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	invariant(fd >= 0);
	return fd;
}

static void read_at(int fd, void *buf, size_t n, uint64_t offset)
{
	invariant(pread(fd, buf, n, (off_t)offset) == (ssize_t)n);
}

static void write_at(int fd, const void *buf, size_t n, uint64_t offset)
{
	invariant(pwrite(fd, buf, n, (off_t)offset) == (ssize_t)n);
}

static void poke_bytes(const char *path, uint64_t offset, const void *was, const void *now, size_t n)
{
	uint8_t got[8];
	autofd int fd = open_image(path);
	read_at(fd, got, n, offset);
	invariant(memcmp(got, was, n) == 0 && memcmp(was, now, n) != 0);
	write_at(fd, now, n, offset);
	read_at(fd, got, n, offset);
	invariant(memcmp(got, now, n) == 0);
}

void damage_poke(const char *path, uint64_t offset, uint32_t was, uint32_t now)
{
	uint8_t old[4], new[4];
	store_le32(old, was);
	store_le32(new, now);
	poke_bytes(path, offset, old, new, sizeof(new));
}

static void poke64(const char *path, uint64_t offset, uint64_t was, uint64_t now)
{
	uint8_t old[8], new[8];
	store_le64(old, was);
	store_le64(new, now);
	poke_bytes(path, offset, old, new, sizeof(new));
}

static void set_length(const char *path, uint64_t was, uint64_t now)
{
	autofd int fd = open_image(path);
	struct stat st;
	invariant(fstat(fd, &st) == 0 && (uint64_t)st.st_size == was && was != now);
	invariant(ftruncate(fd, (off_t)now) == 0);
	invariant(fstat(fd, &st) == 0 && (uint64_t)st.st_size == now);
}

static void create(const char *path, enum lay_version version, uint32_t cluster_sectors, uint64_t size_sectors)
{
	struct pl_create_options o = {.size = sizeof(o),
				      .size_sectors = size_sectors,
				      .cluster_sectors = cluster_sectors,
				      .version = version};
	unlink(path);
	invariant(pl_image_create(path, &o) == 0);
}

void damage_none(const char *path, enum lay_version version)
{
	uint32_t unit = version == LAY_V1 ? DAMAGE_CLUSTER_SECTORS : 1;
	create(path, version, DAMAGE_CLUSTER_SECTORS, DAMAGE_DISK_SECTORS);
	for (uint32_t g = 0; g < 4; g++) {
		uint8_t data[DAMAGE_CLUSTER_BYTES];
		memset(data, (int)g, sizeof(data));
		autofd int fd = open_image(path);
		write_at(fd, data, sizeof(data), (g + 1) * DAMAGE_CLUSTER_BYTES);
		damage_poke(path, SLOT(g), 0, (g + 1) * unit);
	}
}

void damage_sign(const char *path)
{
	uint8_t cluster[DAMAGE_CLUSTER_BYTES];
	autofd int fd = open_image(path);
	read_at(fd, cluster, sizeof(cluster), IN_EXT(0));
	invariant(lay_md5(cluster + FEATURE, sizeof(cluster) - FEATURE, cluster + 8));
	write_at(fd, cluster, sizeof(cluster), IN_EXT(0));
}

void damage_none_with_bitmap(const char *path)
{
	struct lay_bitmap b = {.size_sectors = DAMAGE_DISK_SECTORS, .granularity_sectors = 128};
	uint64_t l1 = BITMAP_CLUSTER * DAMAGE_CLUSTER_SECTORS;
	uint8_t cluster[DAMAGE_CLUSTER_BYTES];
	struct lay_ext_writer w;
	damage_none(path, LAY_V2);

	autofd int fd = open_image(path);
	memset(cluster, 0x55, sizeof(cluster));
	write_at(fd, cluster, sizeof(cluster), BITMAP_CLUSTER * DAMAGE_CLUSTER_BYTES);
	lay_ext_begin(&w, cluster, sizeof(cluster));
	lay_bitmap_encode(&b, &l1, 1, lay_ext_append(&w, LAY_FEATURE_DIRTY_BITMAP, 0, lay_bitmap_data_bytes(1)));
	invariant(lay_ext_seal(&w));
	write_at(fd, cluster, sizeof(cluster), IN_EXT(0));
	poke64(path, EXT, 0, EXT_CLUSTER * DAMAGE_CLUSTER_SECTORS);
	damage_poke(path, IN_USE, LAY_CLOSED_V20, LAY_CLOSED_V21);
}

/* ---- one generator per row; a row without one does not link */

#define GENERATOR(id) static void make_##id(const char *path)

#define SOUND_BYTES (5 * DAMAGE_CLUSTER_BYTES)

GENERATOR(FILE_SHORT)
{
	damage_none(path, LAY_V2);
	set_length(path, SOUND_BYTES, LAY_MIN_FILE_BYTES - 1);
}

GENERATOR(SIGNATURE)
{
	damage_none(path, LAY_V2);
	poke_bytes(path, 0, "WithouFr", "withouFr", 8);
}

GENERATOR(TYPE)
{
	damage_none(path, LAY_V2);
	damage_poke(path, TYPE, 2, 3);
}

GENERATOR(CLUSTER_SIZE)
{
	damage_none(path, LAY_V2);
	damage_poke(path, CLUSTER, DAMAGE_CLUSTER_SECTORS, 0);
}

GENERATOR(CLUSTER_FOREIGN)
{
	damage_none(path, LAY_V2);
	damage_poke(path, CLUSTER, DAMAGE_CLUSTER_SECTORS, 63);
}

GENERATOR(FIRST_BLOCK)
{
	damage_none(path, LAY_V2);
	damage_poke(path, FIRST_BLOCK, 64, 65);
}

GENERATOR(FIRST_BLOCK_FOREIGN)
{
	damage_none(path, LAY_V1);
	damage_poke(path, FIRST_BLOCK, 64, 0);
}

GENERATOR(HEADER_BEYOND_FILE)
{
	damage_none(path, LAY_V2);
	set_length(path, SOUND_BYTES, DAMAGE_CLUSTER_BYTES - 1);
}

GENERATOR(SIZE_ZERO)
{
	damage_none(path, LAY_V2);
	poke64(path, SIZE, DAMAGE_DISK_SECTORS, 0);
}

GENERATOR(SIZE_LIMIT)
{
	damage_none(path, LAY_V2);
	poke64(path, SIZE, DAMAGE_DISK_SECTORS, UINT64_MAX);
}

GENERATOR(BAT_SHORT)
{
	damage_none(path, LAY_V2);
	poke64(path, SIZE, DAMAGE_DISK_SECTORS, 8177 * DAMAGE_CLUSTER_SECTORS);
}

GENERATOR(BAT_ENTRIES)
{
	damage_none(path, LAY_V2);
	damage_poke(path, ENTRIES, 100, 101);
}

/* Sound in itself, but the descriptor says DAMAGE_CLUSTER_SECTORS. */
GENERATOR(CLUSTER_DIFFERS)
{
	create(path, LAY_V2, 2 * DAMAGE_CLUSTER_SECTORS, DAMAGE_DISK_SECTORS);
}

GENERATOR(CONVERTING)
{
	damage_none(path, LAY_V2);
	damage_poke(path, IN_USE, 0, LAY_IN_USE);
	damage_poke(path, FLAGS, LAY_FLAG_EMPTY, LAY_FLAG_EMPTY | LAY_FLAG_CONVERT);
}

#define JOURNAL_CLUSTER 5u

/* An image with a fence and an empty journal behind its data. */
static void fence(const char *path, struct lay_journal j)
{
	uint8_t header[LAY_HEADER_BYTES], block[LAY_JOURNAL_BLOCK_BYTES];
	struct lay_header h;
	damage_none(path, LAY_V2);
	autofd int fd = open_image(path);
	invariant(ftruncate(fd, (JOURNAL_CLUSTER + 1) * DAMAGE_CLUSTER_BYTES) == 0);
	read_at(fd, header, sizeof(header), 0);
	invariant(lay_header_decode(header, &h) == LAY_OK);
	j.cluster_sectors = h.cluster_sectors;
	j.flags = h.flags;
	h = lay_header_fenced(&h, (struct fclu){JOURNAL_CLUSTER});
	lay_header_encode(&h, header);
	write_at(fd, header, sizeof(header), 0);
	invariant(lay_journal_head_encode(&j, block));
	write_at(fd, block, sizeof(block), JOURNAL_CLUSTER * DAMAGE_CLUSTER_BYTES);
}

GENERATOR(UNFINISHED)
{
	fence(path, (struct lay_journal){.area_bytes = DAMAGE_CLUSTER_BYTES});
}

GENERATOR(JOURNAL_HEAD)
{
	fence(path, (struct lay_journal){.area_bytes = DAMAGE_CLUSTER_BYTES});
	damage_poke(path, JOURNAL_CLUSTER * DAMAGE_CLUSTER_BYTES + 100, 0, 1);
}

GENERATOR(JOURNAL_PLACE)
{
	fence(path, (struct lay_journal){.area_bytes = 2 * DAMAGE_CLUSTER_BYTES});
}

GENERATOR(IN_USE)
{
	damage_none(path, LAY_V2);
	damage_poke(path, IN_USE, 0, LAY_IN_USE);
}

GENERATOR(FILE_UNALIGNED)
{
	damage_none(path, LAY_V2);
	set_length(path, SOUND_BYTES, SOUND_BYTES + 100);
}

GENERATOR(SLOT_BEYOND_DISK)
{
	damage_none(path, LAY_V2);
	damage_poke(path, SLOT(100), 0, 4);
}

GENERATOR(SLOT_RESERVED)
{
	damage_none(path, LAY_V2);
	damage_poke(path, SLOT(1), 2, 0xFFFFFFFF);
}

GENERATOR(SLOT_MISALIGNED)
{
	damage_none(path, LAY_V1);
	damage_poke(path, SLOT(1), 2 * DAMAGE_CLUSTER_SECTORS, 2 * DAMAGE_CLUSTER_SECTORS + 1);
}

/* Cluster 1 holds the second part of a longer BAT. */
GENERATOR(SLOT_BELOW_DATA)
{
	create(path, LAY_V2, DAMAGE_CLUSTER_SECTORS, 8177 * DAMAGE_CLUSTER_SECTORS);
	damage_poke(path, SLOT(1), 0, 1);
}

GENERATOR(SLOT_BEYOND_FILE)
{
	damage_none(path, LAY_V2);
	damage_poke(path, SLOT(3), 4, 9);
}

GENERATOR(SLOT_DUPLICATE)
{
	damage_none(path, LAY_V2);
	damage_poke(path, SLOT(2), 3, 1);
}

GENERATOR(EXT_STALE)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_USE, LAY_CLOSED_V21, LAY_CLOSED_V20);
}

GENERATOR(EXT_OFFSET)
{
	damage_none_with_bitmap(path);
	poke64(path, EXT, EXT_CLUSTER * DAMAGE_CLUSTER_SECTORS, EXT_CLUSTER * DAMAGE_CLUSTER_SECTORS + 1);
}

GENERATOR(EXT_MAGIC)
{
	damage_none_with_bitmap(path);
	poke64(path, IN_EXT(0), LAY_EXT_MAGIC, LAY_EXT_MAGIC + 1);
}

GENERATOR(EXT_DIGEST)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_EXT(DAMAGE_CLUSTER_BYTES - 4), 0, 1);
}

GENERATOR(EXT_UNTERMINATED)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_EXT(FEATURE + 16), 40, UINT32_MAX);
	damage_sign(path);
}

GENERATOR(EXT_NECESSARY)
{
	damage_none_with_bitmap(path);
	poke64(path, IN_EXT(FEATURE), LAY_FEATURE_DIRTY_BITMAP, 1);
	poke64(path, IN_EXT(FEATURE + 8), 0, LAY_FEATURE_NECESSARY);
	damage_sign(path);
}

GENERATOR(EXT_BITMAP_SHORT)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_EXT(FEATURE + 16), 40, 24);
	damage_sign(path);
}

GENERATOR(EXT_BITMAP_SIZE)
{
	damage_none_with_bitmap(path);
	poke64(path, IN_EXT(BITMAP), DAMAGE_DISK_SECTORS, DAMAGE_DISK_SECTORS + 1);
	damage_sign(path);
}

GENERATOR(EXT_BITMAP_GRANULARITY)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_EXT(BITMAP + 24), 128, 0);
	damage_sign(path);
}

GENERATOR(EXT_BITMAP_L1)
{
	damage_none_with_bitmap(path);
	damage_poke(path, IN_EXT(BITMAP + 28), 1, 2);
	damage_sign(path);
}

GENERATOR(EXT_BITMAP_CLUSTER)
{
	damage_none_with_bitmap(path);
	poke64(path, IN_EXT(BITMAP + 32), BITMAP_CLUSTER * DAMAGE_CLUSTER_SECTORS, 2);
	damage_sign(path);
}

const struct damage damages[LAY_FINDING_COUNT - 1] = {
#define FINDING(id, name, severity, repair, ...) {LAY_F_##id, name, make_##id},
#include "layout/findings.def"
#undef FINDING
};
