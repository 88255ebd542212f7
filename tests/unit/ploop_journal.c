/* D9: journals of partial clusters that cannot be. */
#include "tests/unit/partial_rig.h"

TestSuite(ploop_journal, .init = setup, .fini = teardown, .timeout = 120);

struct forgery {
	struct lay_header h; /* true */
	struct lay_journal head;
	struct fclu area;
};

static struct forgery look_at_journal(const struct rig *r)
{
	struct forgery f;
	struct lay_fault fault;
	const struct medium *m = r->top;
	cr_assert(eq(int, lay_header_decode(m->now.bytes, &f.h), LAY_OK));
	f.area.n = (uint32_t)(f.h.ext_sectors / RIG_CLUSTER_SECTORS);
	const uint8_t *block = m->now.bytes + (uint64_t)f.area.n * RIG_CLUSTER_BYTES;
	cr_assert(eq(int, lay_journal_head_decode(block, m->now.size_bytes, &f.h, &f.head, &fault), LAY_OK));
	return f;
}

static void write_journal(struct rig *r, const struct forgery *f, uint32_t n, const struct lay_journal_entry *e,
			  uint64_t units)
{
	uint8_t head[LAY_JOURNAL_BLOCK_BYTES], record[LAY_JOURNAL_BLOCK_BYTES], bytes[LAY_HEADER_BYTES];
	uint64_t at = (uint64_t)f->area.n * RIG_CLUSTER_BYTES;
	struct lay_header fenced = lay_header_fenced(&f->h, f->area);
	for (uint32_t i = 0; i < n; i++)
		lay_record_put(record, i, e[i], &units, 1);
	cr_assert(lay_journal_head_encode(&f->head, head));
	cr_assert(lay_record_seal(record, n, 1, f->head.id, 0));
	lay_header_encode(&fenced, bytes);
	r->top->sealed = false;
	medium_write(r->top, bytes, sizeof(bytes), 0);
	medium_write(r->top, head, sizeof(head), at);
	medium_write(r->top, record, sizeof(record), at + sizeof(head));
}

/* Refused by writers and, if that is to be, by readers. */
static void must_refuse(struct rig *r, const char *what, bool readers_too)
{
	cr_expect(eq(int, rig_open(r), -EUCLEAN), "%s", what);
	if (readers_too)
		cr_expect(eq(int, rig_open_flags(r, PL_OPEN_READONLY), -EUCLEAN), "%s", what);
}

Test(ploop_journal, D9_an_entry_that_cannot_be_is_refused)
{
	struct rig *r = left_unfinished(1);
	struct forgery f = look_at_journal(r);
	uint32_t last = (uint32_t)(r->top->now.size_bytes / RIG_CLUSTER_BYTES);
	static const struct {
		const char *what;
		bool beyond_file, in_area, readers;
		struct lay_journal_entry e;
		uint64_t units;
	} bad[] = {
		{"a guest cluster outside the disk", .readers = true, .e = {{8}, {2}}, .units = 1},
		{"a file cluster of the header", .readers = true, .e = {{1}, {0xffffffff}}, .units = 1},
		{"a file cluster behind the end", .readers = true, .beyond_file = true, .e = {{1}, {0}}, .units = 1},
		{"a file cluster of the journal", .in_area = true, .e = {{1}, {0}}, .units = 1},
		{"a unit that no cluster has", .readers = true, .e = {{1}, {2}}, .units = UINT64_C(1) << 8 | 1},
		{"no unit at all", .readers = true, .e = {{1}, {2}}, .units = 0},
	};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct lay_journal_entry e = bad[i].e;
		if (bad[i].beyond_file)
			e.f.n = last;
		if (bad[i].in_area)
			e.f = f.area;
		write_journal(r, &f, 1, &e, bad[i].units);
		must_refuse(r, bad[i].what, bad[i].readers);
	}
	struct lay_journal_entry twice[] = {{{1}, {2}}, {{2}, {2}}};
	write_journal(r, &f, 2, twice, 1);
	must_refuse(r, "two with one file cluster", false);
	rig_free(r);
}

Test(ploop_journal, D9_a_journal_in_a_wrong_place_is_refused)
{
	struct rig *r = open_full(1);
	write_at(r, 0, CLUSTER); /* a data cluster of the top */
	request(r, PL_FLUSH, 0, 0, 0);
	write_at(r, CLUSTER, UNIT);
	struct map_entry e = map_get(&r->disk->map, (struct gclu){0});
	leave(r);
	struct forgery f = look_at_journal(r), bad = f;
	bad.area = e.file;
	bad.head.area_bytes = RIG_CLUSTER_BYTES;
	write_journal(r, &bad, 0, NULL, 0);
	must_refuse(r, "where a data cluster is", false);
	bad = f;
	bad.head.cluster_sectors *= 2;
	bad.head.area_bytes = RIG_CLUSTER_BYTES * 2;
	write_journal(r, &bad, 0, NULL, 0);
	cr_expect(lt(int, rig_open(r), 0), "another cluster size");
	bad = f;
	bad.head.area_bytes = 1 * GIB;
	write_journal(r, &bad, 0, NULL, 0);
	must_refuse(r, "longer than the file", true);
	rig_free(r);
}

/* ---- the end of the records */

static uint32_t taken_with(struct rig *r, const struct forgery *f, const uint8_t *id, uint64_t number,
			   struct lay_journal_entry second)
{
	const struct lay_journal_entry first = {{1}, {2}};
	const uint64_t units = 1;
	uint8_t record[LAY_JOURNAL_BLOCK_BYTES];
	write_journal(r, f, 1, &first, units);
	lay_record_put(record, 0, second, &units, 1);
	cr_assert(lay_record_seal(record, 1, 1, id, number));
	medium_write(r->top, record, sizeof(record),
		     (uint64_t)f->area.n * RIG_CLUSTER_BYTES + LAY_JOURNAL_BLOCK_BYTES + sizeof(record));
	cr_assert(eq(int, rig_open_flags(r, PL_OPEN_READONLY), 0), "%s", pl_error());
	uint32_t taken = r->disk->writer->partials->count;
	rig_close(r);
	return taken;
}

Test(ploop_journal, records_count_up_to_the_first_that_is_not_due)
{
	struct rig *r = left_unfinished(1);
	struct forgery f = look_at_journal(r);
	const uint8_t older[LAY_JOURNAL_ID_BYTES] = {1};
	const struct lay_journal_entry another = {{2}, {3}}, over = {{1}, {0}};
	cr_expect(eq(u32, taken_with(r, &f, f.head.id, 1, another), 2));
	cr_expect(eq(u32, taken_with(r, &f, f.head.id, 2, another), 1), "one is missing before it");
	cr_expect(eq(u32, taken_with(r, &f, f.head.id, 0, another), 1), "of the turn before");
	cr_expect(eq(u32, taken_with(r, &f, older, 1, another), 1), "of the journal that was here before");
	cr_expect(eq(u32, taken_with(r, &f, f.head.id, 1, over), 0), "it is no longer unfinished");
	rig_free(r);
}

/* ---- any journal, with digests that are right */

static struct lay_journal_entry random_entry(struct rig *r, uint32_t file_clusters, uint64_t *units)
{
	struct prng *p = &r->random;
	bool sound = prng_percent(p, 97);
	*units = 1 + prng_below(p, sound ? 255 : 4096);
	if (!sound && prng_percent(p, 50))
		*units = 0;
	return (struct lay_journal_entry){
		.g = {prng_below(p, r->shape.clusters + !sound)},
		.f = {prng_percent(p, 20) ? 0 : 1 + prng_below(p, file_clusters + !sound)},
	};
}

static void write_random_journal(struct rig *r, const struct forgery *f)
{
	uint8_t record[LAY_JOURNAL_BLOCK_BYTES];
	uint32_t file_clusters = (uint32_t)(r->top->now.size_bytes / RIG_CLUSTER_BYTES);
	uint64_t at = (uint64_t)f->area.n * RIG_CLUSTER_BYTES + LAY_JOURNAL_BLOCK_BYTES;
	r->top->sealed = false;
	for (uint32_t number = 0, records = 1 + prng_below(&r->random, 5); number < records; number++) {
		uint32_t n = prng_below(&r->random, 5);
		for (uint32_t i = 0; i < n; i++) {
			uint64_t units;
			struct lay_journal_entry e = random_entry(r, file_clusters, &units);
			lay_record_put(record, i, e, &units, 1);
		}
		cr_assert(lay_record_seal(record, n, 1, f->head.id, number + prng_percent(&r->random, 3)));
		medium_write(r->top, record, sizeof(record), at + (uint64_t)number * sizeof(record));
	}
}

/* What is taken is sound, reads, and closes as a plain image. */
static bool is_refused(struct rig *r, uint32_t flags)
{
	int opened = rig_open_flags(r, flags);
	cr_assert(opened == 0 || opened == -EUCLEAN, "%d: %s", opened, pl_error());
	if (opened < 0)
		return true;
	partials_check(r->disk->writer->partials);
	cr_assert(rig_settle(r), "%s", r->why);
	cr_assert(eq(int, rig_close(r), 0), "%s", pl_error());
	return false;
}

Test(ploop_journal, D9_any_journal_is_refused_or_taken)
{
	uint64_t seed = prng_seed(1), taken = 0, refused = 0;
	struct rig *r = left_unfinished(1);
	struct forgery f = look_at_journal(r);
	cr_log_info("SEED=%llu", (unsigned long long)seed);
	for (uint64_t end = seed + 400; seed < end; seed++) {
		struct rig *c = rig_clone(r, seed);
		write_random_journal(c, &f);
		bool by_reader = is_refused(c, PL_OPEN_READONLY), by_writer = is_refused(c, 0);
		cr_expect(by_reader <= by_writer, "SEED=%llu: a writer takes what a reader refuses",
			  (unsigned long long)seed);
		cr_expect(by_writer || rig_check_closed(c), "SEED=%llu: %s", (unsigned long long)seed, c->why);
		*(by_writer ? &refused : &taken) += 1;
		rig_free(c);
	}
	cr_expect(taken > 20 && refused > 20, "%llu taken, %llu refused: it says little", (unsigned long long)taken,
		  (unsigned long long)refused);
	rig_free(r);
}
