/* The thread backend carries the requests of a disk: two disks at once, each with its loop on a thread of its own,
 * random requests at queue depth 32, every read compared with what was written. Without Criterion, whose shared memory
 * does not go with ThreadSanitizer: this is what that tool watches. */
#include "base/invariant.h"
#include "base/units.h"
#include "ploop.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DISK_BYTES (64 * MIB)
#define SLOT_BYTES (16 * KIB)
#define SLOTS (DISK_BYTES / SLOT_BYTES)
#define DEPTH 32
#define REQUESTS 4000

struct run;

struct slot_req {
	struct pl_req req;
	struct run *run;
	uint32_t slot;
	uint8_t *buf;
};

struct run {
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct slot_req reqs[DEPTH];
	uint8_t content[SLOTS]; /* the byte each slot is full of */
	bool busy[SLOTS];       /* one request per slot, so that the order is known */
	uint32_t submitted, completed;
	unsigned int seed;
	char path[4096];
};

static void must(int r)
{
	if (r < 0)
		fprintf(stderr, "%s\n", pl_error());
	invariant(r >= 0);
}

static uint32_t draw(struct run *r, uint32_t below)
{
	r->seed = r->seed * 1103515245 + 12345;
	return (r->seed >> 8) % below;
}

static void submit_next(struct run *r, struct slot_req *q)
{
	if (r->submitted == REQUESTS)
		return;
	do
		q->slot = draw(r, SLOTS);
	while (r->busy[q->slot]);
	r->busy[q->slot] = true;
	r->submitted++;

	static const uint8_t ops[] = {PL_READ, PL_READ, PL_WRITE, PL_WRITE, PL_WRITE, PL_WRITE_ZEROES, PL_FLUSH};
	q->req.op = ops[draw(r, ARRAY_LEN(ops))];
	q->req.flags = q->req.op == PL_WRITE && draw(r, 50) == 0 ? PL_FUA : 0;
	q->req.offset_bytes = q->req.op == PL_FLUSH ? 0 : q->slot * SLOT_BYTES;
	q->req.length_bytes = q->req.op == PL_FLUSH ? 0 : SLOT_BYTES;
	q->req.buf = q->buf;
	q->req.buf_index = PL_IO_NO_BUFFER;
	if (q->req.op == PL_WRITE) {
		r->content[q->slot] = (uint8_t)(1 + draw(r, 255));
		memset(q->buf, r->content[q->slot], SLOT_BYTES);
	} else if (q->req.op == PL_WRITE_ZEROES) {
		r->content[q->slot] = 0;
	}
	pl_submit(r->disk, &q->req);
}

static void done(struct pl_req *req)
{
	struct slot_req *q = container_of(req, struct slot_req, req);
	struct run *r = q->run;
	invariant(req->res == 0);
	if (req->op == PL_READ)
		for (size_t i = 0; i < SLOT_BYTES; i++)
			invariant(q->buf[i] == r->content[q->slot]);
	r->busy[q->slot] = false;
	r->completed++;
	submit_next(r, q);
}

static void open_run(struct run *r)
{
	struct pl_create_options create = {.size = sizeof(create), .size_sectors = DISK_BYTES / SECTOR_BYTES};
	struct pl_loop_options plain = {.size = sizeof(plain), .backend = PL_BACKEND_PLAIN};
	struct pl_open_options open = {.size = sizeof(open)};
	struct pl_image_ref image = {.path = r->path, .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &image, .count = 1};

	must(pl_image_create(r->path, &create));
	must(pl_loop_new(&plain, &r->loop));
	must(pl_disk_open(r->loop, &chain, &open, &r->disk));
}

static void *carry(void *arg)
{
	struct run *r = arg;
	open_run(r);
	for (size_t i = 0; i < DEPTH; i++) {
		r->reqs[i] = (struct slot_req){.run = r, .req.done = done};
		invariant(posix_memalign((void **)&r->reqs[i].buf, 4096, SLOT_BYTES) == 0);
		submit_next(r, &r->reqs[i]);
	}
	while (r->completed < REQUESTS)
		must(pl_loop_step(r->loop, true));
	must(pl_disk_close(r->disk));
	pl_loop_free(r->loop);
	for (size_t i = 0; i < DEPTH; i++)
		free(r->reqs[i].buf);
	unlink(r->path);
	return NULL;
}

int main(void)
{
	static struct run runs[2];
	pthread_t threads[ARRAY_LEN(runs)];
	const char *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";

	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		snprintf(runs[i].path, sizeof(runs[i].path), "%s/plain-loop-%zu.hds", dir, i);
		runs[i].seed = (unsigned int)i + 1;
		invariant(pthread_create(&threads[i], NULL, carry, &runs[i]) == 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		pthread_join(threads[i], NULL);
	return 0;
}
