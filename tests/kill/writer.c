/* A client that knows what it was promised: it writes over NBD until the server dies, and later checks.
 *
 *   writer write URI LOG [COUNT]    random blocks, many in flight, a flush now and then; ends when the connection does,
 *                                   or when that many are acknowledged
 *   writer verify URI LOG [FROM]    each block shows its last acknowledged version, or one that was submitted since
 *   writer flushed URI LOG [FROM]   … or, after the death of everything, its last flushed one or one since
 *
 * In the place of URI, [ COMMAND… ] is a server that is started for this alone, by socket activation.
 *
 * LOG is shared memory in a file: what it says survives the writer's death too. FROM is an older copy of it, for a
 * snapshot that was taken after FROM and before LOG: a block shows what FROM promises, or a version that was submitted
 * until LOG. */
#include <fcntl.h>
#include <libnbd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/units.h"
#include "tests/support/model.h"
#include "tests/support/prng.h"

#define BLOCK_SECTORS 8u
#define BLOCK_BYTES   (BLOCK_SECTORS * SECTOR_BYTES)
#define MAX_BLOCKS    16384u
#define IN_FLIGHT     32u
#define CHUNK_BLOCKS  256u /* are read at once */

struct promise {
	uint32_t submitted, acknowledged, flushed;
};

struct flight {
	struct promise *p;
	uint32_t version;
	bool busy;
	uint8_t data[BLOCK_BYTES];
};

static uint32_t blocks; /* of the disk that are written; a multiple of CHUNK_BLOCKS */
static struct promise *promises;
static const struct promise *promised; /* the least that may show: @promises, or an older copy */
static struct flight flights[IN_FLIGHT];
static struct nbd_handle *nbd;
static bool is_writing;

static int acknowledged(void *arg, int *error)
{
	struct flight *f = arg;
	if (*error == 0)
		f->p->acknowledged = f->version;
	if (*error == 0 && !is_writing) {
		is_writing = true;
		printf("writing\n"); /* who kills the server waits for it */
		fflush(stdout);
	}
	f->busy = false;
	return 1;
}

static uint32_t flushing[MAX_BLOCKS];
static bool flush_busy;

static int flushed(void *arg, int *error)
{
	for (uint32_t b = 0; *error == 0 && b < blocks; b++)
		promises[b].flushed = flushing[b] > promises[b].flushed ? flushing[b] : promises[b].flushed;
	flush_busy = false;
	return 1;
}

/* Places that lie close, and places that lie far apart: clusters written once and often. */
static bool submit(struct flight *f, struct prng *random)
{
	uint32_t block = prng_below(random, prng_percent(random, 50) ? MIN(512, blocks / 8) : blocks);
	struct promise *p = &promises[block];
	if (p->submitted != p->acknowledged)
		return true;
	*f = (struct flight){.p = p, .version = p->submitted + 1, .busy = true};
	model_fill(f->data, (uint64_t)block * BLOCK_SECTORS, BLOCK_SECTORS, f->version);
	p->submitted = f->version;
	return nbd_aio_pwrite(nbd, f->data, BLOCK_BYTES, (uint64_t)block * BLOCK_BYTES,
			      (nbd_completion_callback){.callback = acknowledged, .user_data = f}, 0) >= 0;
}

static bool submit_flush(void)
{
	for (uint32_t b = 0; b < blocks; b++)
		flushing[b] = promises[b].acknowledged;
	flush_busy = true;
	return nbd_aio_flush(nbd, (nbd_completion_callback){.callback = flushed}, 0) >= 0;
}

static bool is_idle(void)
{
	for (uint32_t i = 0; i < IN_FLIGHT; i++) {
		if (flights[i].busy)
			return false;
	}
	return !flush_busy;
}

static int run(struct prng *random, uint64_t count)
{
	uint64_t writes = 0;
	for (;;) {
		for (uint32_t i = 0; i < IN_FLIGHT && writes < count; i++) {
			if (flights[i].busy)
				continue;
			if (!submit(&flights[i], random))
				goto gone;
			writes++;
		}
		if (writes == count && is_idle())
			return nbd_shutdown(nbd, 0);
		if (!flush_busy && prng_percent(random, 2) && !submit_flush())
			goto gone;
		if (nbd_poll(nbd, -1) < 0)
			goto gone;
	}
gone:
	printf("%llu writes until: %s\n", (unsigned long long)writes, nbd_get_error());
	return writes > 0 ? 0 : 1;
}

static uint32_t version_of(const uint8_t *data, uint32_t block, uint32_t from, uint32_t to)
{
	uint8_t want[BLOCK_BYTES];
	for (uint32_t v = from; v <= to; v++) {
		model_fill(want, (uint64_t)block * BLOCK_SECTORS, BLOCK_SECTORS, v);
		if (memcmp(want, data, BLOCK_BYTES) == 0)
			return v;
	}
	return UINT32_MAX;
}

static int verify(bool only_flushed)
{
	static uint8_t chunk[CHUNK_BLOCKS * BLOCK_BYTES];
	uint32_t wrong = 0, seen = 0;
	for (uint32_t b = 0; b < blocks; b++) {
		const uint8_t *data = chunk + b % CHUNK_BLOCKS * BLOCK_BYTES;
		struct promise *p = &promises[b];
		if (b % CHUNK_BLOCKS == 0 && nbd_pread(nbd, chunk, sizeof(chunk), (uint64_t)b * BLOCK_BYTES, 0) < 0) {
			fprintf(stderr, "block %u: %s\n", b, nbd_get_error());
			return 1;
		}
		uint32_t from = only_flushed ? promised[b].flushed : promised[b].acknowledged;
		uint32_t v = version_of(data, b, from, p->submitted);
		if (v == UINT32_MAX && wrong++ < 10)
			fprintf(stderr, "block %u: shows none of versions %u to %u\n", b, from, p->submitted);
		seen += p->submitted > 0;
		if (v != UINT32_MAX && promised == promises)
			*p = (struct promise){v, v, v};
	}
	printf("%u blocks written, %u wrong\n", seen, wrong);
	return wrong > 0;
}

static struct promise *log_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	size_t bytes = MAX_BLOCKS * sizeof(struct promise);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return NULL;
	struct promise *log = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return log == MAP_FAILED ? NULL : log;
}

/* The words between [ and ] of *@argv, or the URI; *@argv moves to what follows. */
static int connect_to(char ***argv)
{
	char **word = *argv, **end = word;
	if (!*word || strcmp(*word, "[") != 0) {
		*argv += *word ? 1 : 0;
		return *word ? nbd_connect_uri(nbd, *word) : -1;
	}
	while (*end && strcmp(*end, "]") != 0)
		end++;
	if (!*end)
		return -1;
	*end = NULL;
	*argv = end + 1;
	return nbd_connect_systemd_socket_activation(nbd, word + 1);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool is_write = strcmp(what, "write") == 0;
	char **rest = argv + MIN(argc, 2);
	nbd = nbd_create();
	if (!nbd || connect_to(&rest) < 0) {
		fprintf(stderr, "%s: %s\n", what, nbd_get_error());
		return 2;
	}
	promises = rest[0] ? log_open(rest[0]) : NULL;
	promised = promises && rest[1] && !is_write ? log_open(rest[1]) : promises;
	if (!promises || !promised)
		return 2;
	int64_t size = nbd_get_size(nbd);
	blocks = (uint32_t)MIN(size, (int64_t)MAX_BLOCKS * BLOCK_BYTES) / BLOCK_BYTES / CHUNK_BLOCKS * CHUNK_BLOCKS;
	struct prng random = {prng_seed((uint64_t)getpid())};
	if (is_write) {
		printf("SEED=%llu\n", (unsigned long long)random.state);
		return run(&random, rest[1] ? strtoull(rest[1], NULL, 0) : UINT64_MAX);
	}
	int r = verify(strcmp(what, "flushed") == 0);
	nbd_close(nbd);
	return r;
}
