/* The disk behind the control: the calls of ploop.h. */
#include "control_server.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t members(void *arg, struct pl_member *out, size_t max)
{
	const struct control_engine *e = arg;
	return pl_disk_members(e->disk, out, max);
}

/* D9: beneath the folder that the bundle's images are opened in. */
static const struct pl_image_ref *image_of_folder(const struct pl_chain_spec *chain)
{
	for (size_t i = 0; i < chain->count; i++)
		if (chain->images[i].dir_fd >= 0)
			return &chain->images[i];
	return NULL;
}

/* *@path is what ref->path points to, to be freed. */
static int find_file(const struct control_engine *e, const char *name, struct pl_image_ref *ref, char **path)
{
	const struct pl_image_ref *beside = image_of_folder(e->chain);
	if (!beside)
		return pl_fail(-EXDEV, "no image of this disk lies in its folder, so no other can be added");
	size_t folder_bytes = strlen(beside->path) - MIN(strlen(beside->name), strlen(beside->path));
	if (asprintf(path, "%.*s%s", (int)folder_bytes, beside->path, name) < 0) {
		*path = NULL;
		return pl_fail(-ENOMEM, "no memory for a path");
	}
	*ref = (struct pl_image_ref){
		.path = *path, .name = name, .dir_fd = beside->dir_fd, .format = PL_FORMAT_PLOOP};
	return 0;
}

static int push(void *arg, const char *name)
{
	const struct control_engine *e = arg;
	struct pl_image_ref ref;
	autofree char *path = NULL;
	int r = find_file(e, name, &ref, &path);
	return r < 0 ? r : pl_disk_push(e->disk, &ref);
}

static void abandon(void *arg)
{
	const struct control_engine *e = arg;
	pl_disk_abandon(e->disk);
}

static void switch_top(void *arg, const struct pl_switch_options *options, struct pl_change *change)
{
	const struct control_engine *e = arg;
	pl_disk_switch(e->disk, options, change);
}

static void merge(void *arg, uint32_t child, enum pl_merge_into into, struct pl_change *change)
{
	const struct control_engine *e = arg;
	pl_disk_merge(e->disk, child, into, change);
}

static void replace(void *arg, uint32_t place, const char *name, struct pl_change *change)
{
	const struct control_engine *e = arg;
	struct pl_image_ref ref;
	autofree char *path = NULL;
	int r = find_file(e, name, &ref, &path);
	if (r == 0) {
		pl_disk_replace(e->disk, place, &ref, change);
		return;
	}
	change->res = r;
	snprintf(change->error, sizeof(change->error), "%s", pl_error());
	change->done(change);
}

static void finish(void *arg, struct pl_change *change)
{
	const struct control_engine *e = arg;
	pl_disk_finish(e->disk, change);
}

static void cancel(void *arg)
{
	const struct control_engine *e = arg;
	pl_disk_change_cancel(e->disk);
}

static void info(void *arg, struct control_info *out)
{
	const struct control_engine *e = arg;
	struct pl_disk_info disk;
	pl_disk_get_info(e->disk, &disk);
	*out = (struct control_info){
		.size_bytes = disk.size_bytes,
		.allocated_clusters = disk.allocated_clusters,
		.partial_clusters = disk.partial_clusters,
		.cluster_bytes = disk.cluster_bytes,
		.image_version = disk.version,
		.depth = disk.depth,
		.pid = (uint32_t)getpid(),
		.readonly = disk.readonly,
		.survives = disk.survives,
	};
	snprintf(out->program, sizeof(out->program), "%s", PLOOP_VERSION);
}

static void get_stat(void *arg, struct pl_disk_stat *out)
{
	const struct control_engine *e = arg;
	pl_disk_get_stat(e->disk, out);
}

static int set(void *arg, const struct pl_limits *limits)
{
	const struct control_engine *e = arg;
	return pl_disk_set_limits(e->disk, limits);
}

static void set_on_full(void *arg, enum pl_on_full what)
{
	const struct control_engine *e = arg;
	pl_disk_set_on_full(e->disk, what);
}

static void retry(void *arg)
{
	const struct control_engine *e = arg;
	pl_disk_retry(e->disk);
}

static void hand_over(void *arg, struct pl_change *change)
{
	const struct control_engine *e = arg;
	e->hand_over(e->arg, change);
}

struct control_backend control_engine_backend(struct control_engine *engine)
{
	return CONTROL_BACKEND(engine);
}
