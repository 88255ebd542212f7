#include "world.h"

#include "tests/unit/bundle_scratch.h"

#include <dirent.h>

#define MESSAGE_BYTES 8192

/* ---- telling */

void world_note(struct world *w, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(w->last[w->ops % REMEMBERED], sizeof(w->last[0]), fmt, ap);
	va_end(ap);
}

void world_wrong(struct world *w, const char *fmt, ...)
{
	char text[MESSAGE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "\nSEED=%llu, operation %llu; the last ones, in %s:",
		      (unsigned long long)w->seed, (unsigned long long)w->ops, scratch);
	for (uint64_t i = w->ops < REMEMBERED ? 0 : w->ops - REMEMBERED + 1; i <= w->ops; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "\n  %llu %s", (unsigned long long)i,
			      w->last[i % REMEMBERED]);
	cr_assert(false, "%s", text);
	abort();
}

/* ---- the set */

/* What syncs are for is not asked here, and there are thousands of them: in memory if it can be. */
static void choose_folder(void)
{
	const char *wanted = getenv("MODEL_DIR"), *memory = "/dev/shm";
	if (wanted && *wanted)
		setenv("TMPDIR", wanted, 1);
	else if (!access(memory, W_OK | X_OK))
		setenv("TMPDIR", memory, 1);
}

void world_begin(struct world *w, uint64_t seed)
{
	choose_folder();
	setup();
	cr_assert(eq(int, chdir(scratch), 0));
	cr_assert(eq(int, pl_loop_new(NULL, &w->loop), 0), "%s", pl_error());
	w->story.step = calloc(MAX_STEPS, sizeof(*w->story.step));
	w->seed = seed;
	w->random.state = seed;
	w->guests.state = ~seed;
}

void world_end(struct world *w)
{
	for (uint32_t i = 0; i < MAX_BUNDLES; i++)
		if (w->at[i].running)
			bundle_stop(w, &w->at[i]);
	pl_loop_free(w->loop);
	free(w->story.step);
	cr_assert(eq(int, chdir("/"), 0));
	teardown();
}

struct bundle *world_free_place(struct world *w)
{
	for (uint32_t i = 0; i < MAX_BUNDLES; i++)
		if (!w->at[i].used)
			return &w->at[i];
	return NULL;
}

void world_name(struct world *w, struct bundle *b)
{
	snprintf(b->folder, sizeof(b->folder), "b%u", w->next_name++);
}

void world_random_guid(struct world *w, char *out)
{
	uint64_t a = prng_next(&w->random), b = prng_next(&w->random);
	snprintf(out, PL_GUID_TEXT + 1, "{%08x-%04x-4%03x-8%03x-%012llx}", (uint32_t)a, (uint16_t)(a >> 32),
		 (uint32_t)(a >> 48) & 0xfff, (uint32_t)b & 0xfff, (unsigned long long)b >> 16);
}

void world_new_bundle(struct world *w)
{
	struct bundle *b = world_free_place(w);
	char path[64];
	uint32_t mode = prng_below(&w->random, 5);
	struct pl_create_options o = {
		.size = sizeof(o),
		.size_sectors = (uint64_t)CLUSTERS * CLUSTER_BYTES / SECTOR_BYTES,
		.cluster_sectors = CLUSTER_BYTES / SECTOR_BYTES,
		.version = 1 + prng_below(&w->random, 2),
		.mode = mode == 0 ? PL_MODE_RAW : mode == 1 ? PL_MODE_PREALLOCATED : PL_MODE_EXPANDED,
		.sparse = true,
	};
	memset(b, 0, sizeof(*b));
	world_name(w, b);
	snprintf(path, sizeof(path), "%s/root.hds", b->folder);
	if (mkdir(b->folder, 0755) || pl_image_create(path, &o) ||
	    pl_bundle_create(b->folder, "root.hds", o.mode, o.cluster_sectors, o.size_sectors))
		world_wrong(w, "%s: create: %s", b->folder, pl_error());
	b->used = true;
	bundle_observe(w, b, &b->tree);
	b->tree.at[0].raw = o.mode == PL_MODE_RAW;
	world_note(w, "%s: a new disk, version %u, mode %d", b->folder, o.version, o.mode);
}

void world_remove(struct world *w, struct bundle *b)
{
	world_note(w, "%s: remove it", b->folder);
	if (b->running)
		bundle_stop(w, b);
	cr_assert(eq(int, nftw(b->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0));
	b->used = false;
}

/* ---- running */

void bundle_start(struct world *w, struct bundle *b)
{
	struct guest *g = &b->guest;
	*g = (struct guest){.loop = w->loop, .random = &w->guests, .next_version = &w->next_version};
	int r = guest_start(b->folder, tree_top(&b->tree)->image, g);
	if (r)
		world_wrong(w, "%s: start: %d %s", b->folder, r, pl_error());
	b->running = true;
	b->interrupted = false;
}

void bundle_stop(struct world *w, struct bundle *b)
{
	int r = guest_stop(&b->guest);
	if (r)
		world_wrong(w, "%s: stop: %d %s", b->folder, r, pl_error());
	b->running = false;
	memcpy(tree_top(&b->tree)->image, b->guest.image, sizeof(b->guest.image));
}

/* ---- looking */

void bundle_observe(struct world *w, const struct bundle *b, struct tree *out)
{
	struct pl_bundle *bundle = opened(b->folder, NULL);
	struct pl_snapshot *list;
	memset(out, 0, sizeof(*out));
	if (pl_snapshot_list(bundle, &list, &out->count))
		world_wrong(w, "%s: list: %s", b->folder, pl_error());
	if (out->count > MAX_NODES + 2)
		world_wrong(w, "%s: %zu images", b->folder, out->count);
	for (size_t i = 0; i < out->count; i++) {
		struct node *n = &out->at[i];
		/* the top of a disk that was never changed may have another id; to the model it is the same */
		snprintf(n->guid, sizeof(n->guid), "%s", list[i].is_top ? TOP_GUID : list[i].guid);
		snprintf(n->parent, sizeof(n->parent), "%s", list[i].parent_guid);
		snprintf(n->file, sizeof(n->file), "%s", strrchr(list[i].path, '/') + 1);
		n->temporary = list[i].is_temporary;
	}
	free(list);
	pl_bundle_close(bundle);
}

static bool is_text(const char *told, const char *seen, const char *any)
{
	return !strcmp(told, any) || !strcmp(told, seen);
}

bool tree_is(const struct tree *told, const struct tree *seen)
{
	for (size_t i = 0; i < told->count && told->count == seen->count; i++) {
		const struct node *a = &told->at[i], *b = &seen->at[i];
		if (!is_text(a->guid, b->guid, "?") || !is_text(a->parent, b->parent, "?") ||
		    !is_text(a->file, b->file, "") || a->temporary != b->temporary)
			return false;
	}
	return told->count == seen->count;
}

static struct stat stat_file(struct world *w, const struct bundle *b, const struct node *n)
{
	char path[128];
	struct stat st;
	snprintf(path, sizeof(path), "%s/%s", b->folder, n->file);
	if (stat(path, &st))
		world_wrong(w, "%s: %s", path, strerror(errno));
	return st;
}

void bundle_look_at_files(struct world *w, struct bundle *b)
{
	for (size_t i = 0; i < b->tree.count; i++) {
		struct stat st = stat_file(w, b, &b->tree.at[i]);
		b->tree.at[i].own = st.st_nlink > 1 ? -EMLINK : !(st.st_mode & 0222) ? -EROFS : 0;
	}
}

void bundle_read(struct world *w, const struct bundle *b, const char *guid, uint32_t *image)
{
	struct pl_open_options options = {.size = sizeof(options), .flags = PL_OPEN_READONLY};
	struct pl_bundle *bundle = opened(b->folder, NULL);
	struct pl_chain_spec chain;
	struct pl_disk *disk;
	int r = pl_bundle_chain(bundle, guid, &chain);
	if (!r)
		r = pl_disk_open(w->loop, &chain, &options, &disk);
	if (!r) {
		r = image_read(disk, image);
		int closed = pl_disk_close(disk);
		r = r ? r : closed;
	}
	if (r)
		world_wrong(w, "%s: read %s: %d %s", b->folder, guid ? guid : "the top", r, pl_error());
	pl_bundle_close(bundle);
}

/* ---- comparing */

static void compare_image(struct world *w, const struct bundle *b, const struct node *n)
{
	static uint32_t seen[BLOCKS];
	bool is_top = !strcmp(n->guid, TOP_GUID);
	const uint32_t *want = n->image;
	if (b->running && is_top) {
		want = b->guest.image;
		if (image_read(b->guest.disk, seen))
			world_wrong(w, "%s: read the running disk: %s", b->folder, pl_error());
	} else {
		bundle_read(w, b, is_top ? NULL : n->guid, seen);
	}
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (seen[i] != want[i])
			world_wrong(w, "%s: image %s: block %u reads %u instead of %u", b->folder, n->guid, i, seen[i],
				    want[i]);
}

static void check_file(struct world *w, const struct bundle *b, size_t i)
{
	struct pl_bundle *bundle = opened(b->folder, NULL);
	bool in_use = (b->running || b->interrupted) && !strcmp(b->tree.at[i].guid, TOP_GUID);
	struct pl_check_options o = {
		.size = sizeof(o),
		.flags = PL_CHECK_FORCE | PL_CHECK_READONLY | (in_use ? PL_CHECK_LIVE : 0),
		.cluster_sectors = CLUSTER_BYTES / SECTOR_BYTES,
	};
	int code = 0;
	if (pl_image_check(&bundle->images[i], &o, &code))
		world_wrong(w, "%s: %s", bundle->images[i].path, pl_error());
	pl_bundle_close(bundle);
}

static uint32_t count_names(const char *folder)
{
	uint32_t n = 0;
	DIR *dir = opendir(folder);
	for (struct dirent *e; (e = readdir(dir));)
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(dir);
	return n;
}

/* The number of a file's names is the number of bundles that read it. */
static void compare_links(struct world *w, const struct bundle *b, const struct node *n)
{
	struct stat st = stat_file(w, b, n);
	uint32_t users = 0;
	for (uint32_t i = 0; i < MAX_BUNDLES; i++)
		for (size_t k = 0; w->at[i].used && k < w->at[i].tree.count; k++)
			users += stat_file(w, &w->at[i], &w->at[i].tree.at[k]).st_ino == st.st_ino;
	if (st.st_nlink != users)
		world_wrong(w, "%s/%s has %lu names, and %u bundles read it", b->folder, n->file,
			    (unsigned long)st.st_nlink, users);
}

static void compare_bundle(struct world *w, struct bundle *b)
{
	static struct tree seen;
	bundle_observe(w, b, &seen);
	if (!tree_is(&b->tree, &seen))
		world_wrong(w, "%s: its tree is another one", b->folder);
	if (count_names(b->folder) != seen.count + 1)
		world_wrong(w, "%s: %u files for %zu images", b->folder, count_names(b->folder), seen.count);
	for (size_t i = 0; i < b->tree.count; i++) {
		compare_links(w, b, &b->tree.at[i]);
		check_file(w, b, i);
		if (!b->tree.at[i].unknown)
			compare_image(w, b, &b->tree.at[i]);
	}
}

void world_compare(struct world *w)
{
	uint32_t used = 0;
	for (uint32_t i = 0; i < MAX_BUNDLES; i++)
		if (w->at[i].used)
			compare_bundle(w, &w->at[i]), used++;
	if (count_names(".") != used)
		world_wrong(w, "%u names in the folder of %u bundles", count_names("."), used);
}
