#include "guest.h"

#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MOST_BLOCKS 24u
#define WORDS	    (BLOCK_BYTES / sizeof(uint64_t))

void block_fill(uint8_t *buf, uint32_t block, uint32_t version)
{
	uint64_t *word = (uint64_t *)buf;
	for (size_t i = 0; i < WORDS; i++)
		word[i] = version ? (uint64_t)version << 32 | block << 10 | i : 0;
}

uint32_t block_version(const uint8_t *buf, uint32_t block)
{
	const uint64_t *word = (const uint64_t *)buf;
	uint32_t version = (uint32_t)(word[0] >> 32);
	for (size_t i = 0; i < WORDS; i++)
		if (word[i] != (version ? (uint64_t)version << 32 | block << 10 | i : 0))
			return UINT32_MAX;
	return version;
}

int image_read(struct pl_disk *disk, uint32_t *image)
{
	static uint8_t buf[CLUSTER_BYTES];
	for (uint32_t b = 0; b < BLOCKS; b += CLUSTER_BLOCKS) {
		int r = pl_read(disk, buf, sizeof(buf), (uint64_t)b * BLOCK_BYTES);
		if (r)
			return r;
		for (uint32_t i = 0; i < CLUSTER_BLOCKS; i++)
			image[b + i] = block_version(buf + (size_t)i * BLOCK_BYTES, b + i);
	}
	return 0;
}

/* ---- requests */

static void wrong(struct guest *g, const char *what, uint32_t block, uint32_t got, uint32_t want)
{
	if (!g->why[0])
		snprintf(g->why, sizeof(g->why), "%s: block %u reads %u instead of %u", what, block, got, want);
}

static void judge_read(struct slot *s)
{
	struct guest *g = s->guest;
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t b = s->first + i, got = block_version(s->buf + (size_t)i * BLOCK_BYTES, b);
		if (s->settling && got == 0)
			g->image[b] = 0;
		if (got != g->image[b])
			wrong(g, s->settling ? "after a discard" : "a running disk", b, got, g->image[b]);
	}
}

static void finish(struct slot *s)
{
	struct guest *g = s->guest;
	memset(&g->taken[s->first], 0, s->count * sizeof(g->taken[0]));
	s->settling = s->busy = false;
	g->in_flight--;
}

static void done(struct pl_req *req)
{
	struct slot *s = container_of(req, struct slot, req);
	struct guest *g = s->guest;
	if (req->res && !g->why[0])
		snprintf(g->why, sizeof(g->why), "request %u of blocks %u+%u fails: %d", req->op, s->first, s->count,
			 req->res);
	if (s->entry)
		s->entry->completed = ++g->log->clock;
	s->entry = NULL;
	if (req->op == PL_READ)
		judge_read(s);
	if (req->op == PL_WRITE || req->op == PL_WRITE_ZEROES)
		for (uint32_t i = 0; i < s->count; i++)
			g->image[s->first + i] = s->version;
	if (req->op == PL_DISCARD) { /* it may do or not; what it did, it keeps to */
		s->settling = true;
		req->op = PL_READ;
		req->flags = 0;
		pl_submit(g->disk, req);
		return;
	}
	finish(s);
}

/* false: another request has some of it. */
static bool choose_range(struct guest *g, uint32_t *first, uint32_t *count)
{
	*first = prng_below(g->random, BLOCKS);
	*count = 1 + prng_below(g->random, MOST_BLOCKS);
	if (prng_percent(g->random, 30)) { /* whole clusters are treated in another way */
		*first -= *first % CLUSTER_BLOCKS;
		*count = CLUSTER_BLOCKS * (1 + prng_below(g->random, MOST_BLOCKS / CLUSTER_BLOCKS));
	}
	*count = MIN(*count, BLOCKS - *first);
	return !memchr(&g->taken[*first], true, *count);
}

static uint8_t choose_op(struct guest *g)
{
	uint32_t n = prng_below(g->random, 100);
	return n < 45 ? PL_WRITE : n < 65 ? PL_READ : n < 80 ? PL_WRITE_ZEROES : n < 92 ? PL_DISCARD : PL_FLUSH;
}

static void enter_log(struct guest *g, struct slot *s)
{
	struct guest_log *log = g->log;
	if (!log || s->req.op == PL_READ || s->req.op == PL_FLUSH)
		return;
	if (s->req.op == PL_DISCARD) {
		memset(&log->loose[s->first], true, s->count);
		return;
	}
	s->entry = &log->at[log->count++];
	*s->entry = (struct logged){++log->clock, UINT32_MAX, s->version, s->first, s->count};
}

static void set_request(struct guest *g, struct slot *s, uint8_t op)
{
	s->version = op == PL_WRITE ? ++*g->next_version : 0;
	s->req = (struct pl_req){
		.done = done,
		.op = op,
		.buf_index = PL_IO_NO_BUFFER,
		.offset_bytes = op == PL_FLUSH ? 0 : (uint64_t)s->first * BLOCK_BYTES,
		.length_bytes = op == PL_FLUSH ? 0 : (uint64_t)s->count * BLOCK_BYTES,
		.buf = s->buf,
	};
	if ((op == PL_WRITE || op == PL_WRITE_ZEROES) && prng_percent(g->random, 15))
		s->req.flags = PL_FUA;
	if (op == PL_WRITE_ZEROES && prng_percent(g->random, 30))
		s->req.flags |= PL_NO_HOLE;
	for (uint32_t i = 0; i < s->count; i++)
		block_fill(s->buf + (size_t)i * BLOCK_BYTES, s->first + i, s->version);
}

static void begin(struct guest *g, struct slot *s)
{
	if ((g->log && g->log->count == MAX_LOGGED) || !choose_range(g, &s->first, &s->count))
		return;
	set_request(g, s, choose_op(g));
	memset(&g->taken[s->first], true, s->count);
	enter_log(g, s);
	s->busy = true;
	g->in_flight++;
	g->budget--;
	pl_submit(g->disk, &s->req);
}

void guest_pump(struct guest *g)
{
	for (uint32_t i = 0; i < DEPTH && g->budget; i++)
		if (!g->slot[i].busy)
			begin(g, &g->slot[i]);
}

void guest_drain(struct guest *g)
{
	g->budget = 0;
	while (g->in_flight)
		pl_loop_step(g->loop, true);
}

void guest_work(struct guest *g, uint32_t requests)
{
	g->budget = requests;
	while (g->budget || g->in_flight) {
		guest_pump(g);
		pl_loop_step(g->loop, g->in_flight > 0);
	}
}

/* ---- begin and end */

int guest_start(const char *folder, const uint32_t *image, struct guest *g)
{
	struct pl_bundle_options bundle_options = {.size = sizeof(bundle_options)};
	struct pl_open_options options = {.size = sizeof(options)};
	struct pl_chain_spec chain;
	int r = pl_bundle_open(folder, &bundle_options, &g->bundle);
	if (r)
		return r;
	r = pl_bundle_recover(g->bundle, NULL, NULL);
	if (!r)
		r = pl_bundle_chain(g->bundle, NULL, &chain);
	if (!r)
		r = pl_disk_open(g->loop, &chain, &options, &g->disk);
	if (r) {
		pl_bundle_close(g->bundle);
		return r;
	}
	memcpy(g->image, image, sizeof(g->image));
	for (uint32_t i = 0; i < DEPTH; i++) {
		g->slot[i].guest = g;
		g->slot[i].buf = aligned_alloc(BLOCK_BYTES, MOST_BLOCKS * BLOCK_BYTES);
	}
	return 0;
}

int guest_stop(struct guest *g)
{
	guest_drain(g);
	int r = pl_disk_close(g->disk);
	pl_bundle_close(g->bundle);
	g->disk = NULL;
	for (uint32_t i = 0; i < DEPTH; i++)
		free(g->slot[i].buf);
	return r;
}

/* ---- the moment of a snapshot */

void guest_log_begin(struct guest *g, struct guest_log *log)
{
	guest_drain(g);
	memset(log, 0, sizeof(*log));
	memcpy(log->before, g->image, sizeof(log->before));
	g->log = log;
}

void guest_log_end(struct guest *g)
{
	guest_drain(g);
	g->log = NULL;
}

/* What is known of the moment. */
struct moment {
	const struct guest_log *log;
	uint32_t after, before;
	uint8_t side[MAX_LOGGED]; /* of the cluster that is looked at: 1 the request is in, 2 it is not */
};

static bool covers(const struct logged *e, uint32_t block)
{
	return block - e->first < e->count;
}

/* The entry whose version @seen is: its number + 1, 0 for what was there before; -1 none, -2 there are several. */
static int source_of(const struct guest_log *log, uint32_t block, uint32_t seen)
{
	int found = log->before[block] == seen ? 0 : -1;
	for (uint32_t i = 0; i < log->count; i++)
		if (covers(&log->at[i], block) && log->at[i].version == seen)
			found = found == -1 ? (int)i + 1 : -2;
	return found;
}

static void note(struct moment *m, uint32_t block, int source)
{
	for (uint32_t i = 0; i < m->log->count; i++) {
		const struct logged *e = &m->log->at[i];
		if (!covers(e, block))
			continue;
		bool in = (int)i < source;
		m->side[i] |= in ? 1 : 2;
		if (in)
			m->after = MAX(m->after, e->submitted);
		else
			m->before = MIN(m->before, e->completed);
	}
}

static bool judge_block(struct moment *m, uint32_t block, uint32_t seen, char *why, size_t why_bytes)
{
	int source = source_of(m->log, block, seen);
	bool loose = m->log->loose[block];
	if (source == -1 && !(loose && seen == 0)) {
		snprintf(why, why_bytes, "block %u reads %u, which it never was", block, seen);
		return false;
	}
	if (source >= 0 && !loose)
		note(m, block, source);
	return true;
}

/* A request under way at that moment may be in with some clusters only, but with the whole of each. */
static bool judge_cluster(struct moment *m, uint32_t first, const uint32_t *seen, char *why, size_t why_bytes)
{
	memset(m->side, 0, sizeof(m->side));
	for (uint32_t b = first; b < first + CLUSTER_BLOCKS; b++)
		if (!judge_block(m, b, seen[b], why, why_bytes))
			return false;
	for (uint32_t i = 0; i < m->log->count; i++)
		if (m->side[i] == 3) {
			snprintf(why, why_bytes, "cluster %u: the request of version %u is half in",
				 first / CLUSTER_BLOCKS, m->log->at[i].version);
			return false;
		}
	return true;
}

bool guest_log_judge(const struct guest_log *log, const uint32_t *seen, char *why, size_t why_bytes)
{
	struct moment m = {.log = log, .before = UINT32_MAX};
	for (uint32_t b = 0; b < BLOCKS; b += CLUSTER_BLOCKS)
		if (!judge_cluster(&m, b, seen, why, why_bytes))
			return false;
	if (m.after < m.before)
		return true;
	snprintf(why, why_bytes, "it has what was submitted at %u, and not what was completed at %u", m.after,
		 m.before);
	return false;
}
