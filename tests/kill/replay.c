/* What a disk held when the power failed: plays back what device-mapper's log-writes target noted of it.
 *
 *   replay LOG                  the entries where all that was flushed is there: "INDEX flush" or "INDEX mark TEXT"
 *   replay LOG DISK FROM TO     makes DISK, which is as it was before entry FROM, as it was before entry TO
 *
 * The log (version 1, little-endian) goes by the device's sectors: a head of one, then entries of one each, with their
 * data behind. A write that was done is noted with the next flush, before it, or alone when it went through to the
 * medium; a mark carries its text in its own sector. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "base/units.h"

#define LOG_MAGIC   UINT64_C(0x6a736677736872)
#define LOG_VERSION 1u
#define MAX_SECTOR_BYTES 4096u
#define CHUNK_BYTES (1u << 20)

enum { ENTRY_FLUSH = 1, ENTRY_FUA = 2, ENTRY_DISCARD = 4, ENTRY_MARK = 8 };

struct replay {
	int log, disk; /* disk is -1: only list */
	uint64_t entries;
	uint32_t sector_bytes;
	uint64_t at; /* byte of the log where the next entry is */
};

struct entry {
	uint64_t sector, sectors; /* of the device's size */
	uint64_t flags, text_bytes;
	const char *text;
};

static int give_up(const char *what)
{
	perror(what);
	return -1;
}

static int read_head(struct replay *r)
{
	uint8_t head[28];
	if (pread(r->log, head, sizeof(head), 0) != sizeof(head))
		return give_up("the log's head");
	r->entries = load_le64(head + 16);
	r->sector_bytes = load_le32(head + 24);
	r->at = r->sector_bytes;
	if (load_le64(head) == LOG_MAGIC && load_le64(head + 8) == LOG_VERSION && is_pow2(r->sector_bytes) &&
	    r->sector_bytes >= SECTOR_BYTES && r->sector_bytes <= MAX_SECTOR_BYTES)
		return 0;
	fprintf(stderr, "this is no log of writes, version %u\n", LOG_VERSION);
	return -1;
}

/* @sector keeps the text of a mark, as long as @e is used. */
static int read_entry(struct replay *r, uint8_t *sector, struct entry *e)
{
	if (pread(r->log, sector, r->sector_bytes, (off_t)r->at) != (ssize_t)r->sector_bytes)
		return give_up("an entry of the log");
	r->at += r->sector_bytes;
	*e = (struct entry){
		.sector = load_le64(sector),
		.sectors = load_le64(sector + 8),
		.flags = load_le64(sector + 16),
		.text_bytes = load_le64(sector + 24),
		.text = (char *)sector + 32,
	};
	if (!(e->flags & ENTRY_MARK) || e->text_bytes <= r->sector_bytes - 32)
		return 0;
	fprintf(stderr, "a mark of %llu bytes\n", (unsigned long long)e->text_bytes);
	return -1;
}

/* A discarded range reads zeros: so does the next owner of the space that was there. */
static int apply(const struct replay *r, const struct entry *e)
{
	static uint8_t data[CHUNK_BYTES];
	uint64_t from = r->at, to = e->sector * r->sector_bytes, left = e->sectors * r->sector_bytes;
	bool zeroes = e->flags & ENTRY_DISCARD;
	memset(data, 0, sizeof(data));
	while (left > 0) {
		size_t n = MIN(left, CHUNK_BYTES);
		if (!zeroes && pread(r->log, data, n, (off_t)from) != (ssize_t)n)
			return give_up("the data of an entry");
		if (pwrite(r->disk, data, n, (off_t)to) != (ssize_t)n)
			return give_up("the disk");
		from += n;
		to += n;
		left -= n;
	}
	return 0;
}

static void list(uint64_t index, const struct entry *e)
{
	if (e->flags & ENTRY_MARK)
		printf("%llu mark %.*s\n", (unsigned long long)index, (int)e->text_bytes, e->text);
	else if (e->flags & (ENTRY_FLUSH | ENTRY_FUA))
		printf("%llu flush\n", (unsigned long long)index);
}

/* Entries before @from are passed over. */
static int play(struct replay *r, uint64_t from, uint64_t to)
{
	uint8_t sector[MAX_SECTOR_BYTES];
	struct entry e;
	for (uint64_t i = 0; i < MIN(to, r->entries); i++) {
		if (read_entry(r, sector, &e) < 0)
			return -1;
		bool has_data = !(e.flags & (ENTRY_MARK | ENTRY_DISCARD));
		if (r->disk < 0)
			list(i + 1, &e);
		else if (i >= from && !(e.flags & ENTRY_MARK) && apply(r, &e) < 0)
			return -1;
		r->at += has_data ? e.sectors * r->sector_bytes : 0;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 5)
		return 2;
	autofd int log = open(argv[1], O_RDONLY);
	autofd int disk = argc == 5 ? open(argv[2], O_WRONLY) : -1;
	struct replay r = {.log = log, .disk = disk};
	if (log < 0 || (argc == 5 && disk < 0)) {
		perror(log < 0 ? argv[1] : argv[2]);
		return 1;
	}
	if (read_head(&r) < 0)
		return 1;
	uint64_t from = argc == 5 ? strtoull(argv[3], NULL, 0) : 0;
	uint64_t to = argc == 5 ? strtoull(argv[4], NULL, 0) : r.entries;
	return play(&r, from, to) < 0;
}
