/* Writes the same blocks of a device again and again while its servers die: no request fails, and a block always shows
 * the last version that was acknowledged: a request that a dead server left is not done again over a later one.
 *
 *   rewriter DEVICE SECONDS
 *
 * Each block has a thread of its own, which has one request in flight. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "ploop.h"
#include "tests/support/model.h"

#define BLOCK_SECTORS 8u
#define BLOCK_BYTES   (BLOCK_SECTORS * SECTOR_BYTES)
#define BLOCKS        24u
#define SETTLE_S      1u /* what comes late comes now */

struct block {
	uint64_t sector;
	uint32_t version; /* the last that was acknowledged */
	bool failed;
	pthread_t thread;
};

static int device;
static uint64_t end_ns;

static bool fails(struct block *b, const char *what, ssize_t got)
{
	fprintf(stderr, "sector %llu: %s of version %u: %s\n", (unsigned long long)b->sector, what, b->version,
		got < 0 ? strerror(errno) : "not all of it");
	b->failed = true;
	return false;
}

static bool shows_its_version(struct block *b, uint8_t *data)
{
	uint8_t want[BLOCK_BYTES];
	ssize_t n = pread(device, data, BLOCK_BYTES, (off_t)(b->sector * SECTOR_BYTES));
	if (n != (ssize_t)BLOCK_BYTES)
		return fails(b, "read", n);
	model_fill(want, b->sector, BLOCK_SECTORS, b->version);
	if (memcmp(want, data, BLOCK_BYTES) == 0)
		return true;
	fprintf(stderr, "sector %llu: does not show version %u\n", (unsigned long long)b->sector, b->version);
	b->failed = true;
	return false;
}

static void *rewrite(void *arg)
{
	struct block *b = arg;
	_Alignas(BLOCK_BYTES) uint8_t data[BLOCK_BYTES];
	bool good = true;
	while (good && pl_now_ns() < end_ns) {
		model_fill(data, b->sector, BLOCK_SECTORS, ++b->version);
		ssize_t n = pwrite(device, data, BLOCK_BYTES, (off_t)(b->sector * SECTOR_BYTES));
		good = n == (ssize_t)BLOCK_BYTES ? shows_its_version(b, data) : fails(b, "write", n);
	}
	sleep(SETTLE_S);
	if (good)
		shows_its_version(b, data);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct block blocks[BLOCKS];
	uint64_t writes = 0;
	bool failed = false;
	if (argc != 3)
		return 2;
	device = open(argv[1], O_RDWR | O_DIRECT);
	if (device < 0) {
		perror(argv[1]);
		return 1;
	}
	end_ns = pl_now_ns() + strtoull(argv[2], NULL, 0) * NS_PER_S;
	/* Neighbours, and some that lie apart: of one cluster and of several. */
	for (uint32_t i = 0; i < BLOCKS; i++) {
		blocks[i].sector = i % 2 ? i * BLOCK_SECTORS : i * 2 * MIB / SECTOR_BYTES;
		if (pthread_create(&blocks[i].thread, NULL, rewrite, &blocks[i]) != 0)
			return 1;
	}
	for (uint32_t i = 0; i < BLOCKS; i++) {
		pthread_join(blocks[i].thread, NULL);
		writes += blocks[i].version;
		failed |= blocks[i].failed;
	}
	printf("%llu writes\n", (unsigned long long)writes);
	return failed;
}
