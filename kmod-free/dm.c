#include "kmod-free/dm.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "base/wait.h"
#include "kmod-free/kmodule.h"
#include "kmod-free/sysfs.h"
#include "ploop.h"

#include <dirent.h>
#include <errno.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#define DM_MODULE   "dm-mod"
#define TARGET      "linear"
#define UUID_PREFIX "PLOOP-"
#define NODE_MODE   0600
#define LEVEL_MASK  7 /* of a message of the library; 3 is an error, above it come warnings */
#define LEVEL_ERROR 3

/* To udev: make the nodes, look at nothing. */
#define UDEV_FLAGS                                                                                                     \
	(DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG)

/* The library would keep its control device open, and our server would inherit it. */
static void end_task(struct dm_task *task)
{
	dm_task_destroy(task);
	dm_lib_release();
}

DEFINE_AUTO(struct dm_task *, dmtask, end_task, NULL)
#define autodmtask __attribute__((cleanup(dmtask_autop)))

/* ------------------------------------------------------------------ one task */

static _Thread_local char said[256]; /* the library's last error */

__attribute__((format(printf, 5, 6)))
static void note_message(int level, const char *file, int line, int err, const char *fmt, ...)
{
	va_list ap;
	if ((level & LEVEL_MASK) > LEVEL_ERROR)
		return;
	va_start(ap, fmt);
	vsnprintf(said, sizeof(said), fmt, ap);
	va_end(ap);
}

static int no_memory(const char *name)
{
	return pl_fail(-ENOMEM, "no memory for device-mapper's %s", name);
}

static int new_task(int type, const char *name, struct dm_task **out)
{
	dm_log_with_errno_init(note_message);
	autodmtask struct dm_task *task = dm_task_create(type);
	if (!task || (name && !dm_task_set_name(task, name)))
		return no_memory(name ? name : "control");
	*out = dmtask_steal(&task);
	return 0;
}

/* -errno without a sentence: `said` has the library's. */
static int run_task(struct dm_task *task)
{
	said[0] = '\0';
	if (dm_task_run(task))
		return 0;
	int err = dm_task_get_errno(task);
	return err ? -err : -EIO;
}

/* One that makes or removes nodes: they are as they shall be on return, with or without udev. */
static int run_and_settle(struct dm_task *task)
{
	uint32_t cookie = 0;
	if (!dm_task_set_cookie(task, &cookie, UDEV_FLAGS))
		return -EIO;
	int r = run_task(task);
	dm_udev_wait(cookie);
	dm_task_update_nodes();
	return r;
}

static int failed(int r, const char *what, const char *name)
{
	return pl_fail(r, "device-mapper: %s %s: %s", what, name, said[0] ? said : strerror(-r));
}

/* ------------------------------------------------------------------ is it there, and whose */

static int try_version(void)
{
	autodmtask struct dm_task *task = NULL;
	int r = new_task(DM_DEVICE_VERSION, NULL, &task);
	return r < 0 ? r : run_task(task);
}

int dmt_probe(void)
{
	if (try_version() == 0)
		return 0;
	int r = kmodule_load(DM_MODULE);
	if (r < 0)
		return r;
	r = try_version();
	return r < 0 ? failed(r, "version of", "the kernel's") : 0;
}

static bool get_info(const char *name, struct dm_info *info, bool *ours)
{
	autodmtask struct dm_task *task = NULL;
	if (new_task(DM_DEVICE_INFO, name, &task) < 0 || run_task(task) < 0 || !dm_task_get_info(task, info) ||
	    !info->exists)
		return false;
	const char *uuid = dm_task_get_uuid(task);
	/* partprobe and kpartx put words around the uuid of what they stand on. */
	*ours = uuid && strstr(uuid, UUID_PREFIX);
	return true;
}

bool dmt_exists(const char *name)
{
	struct dm_info info;
	bool ours;
	return get_info(name, &info, &ours);
}

bool dmt_find(const char *name, uint64_t *dev)
{
	struct dm_info info;
	bool ours;
	if (!get_info(name, &info, &ours) || !ours)
		return false;
	*dev = makedev(info.major, info.minor);
	return true;
}

/* ------------------------------------------------------------------ make, exchange */

static int add_map(struct dm_task *task, const struct dmt_map *map)
{
	char text[64];
	snprintf(text, sizeof(text), "%u:%u %llu", major(map->below), minor(map->below),
		 (unsigned long long)(map->offset_bytes / SECTOR_BYTES));
	if (!dm_task_add_target(task, 0, map->length_bytes / SECTOR_BYTES, TARGET, text) ||
	    (map->readonly && !dm_task_set_ro(task)))
		return -ENOMEM;
	return 0;
}

int dmt_create(const char *name, const struct dmt_map *map, uint64_t *dev)
{
	char uuid[128];
	struct dm_info info;
	autodmtask struct dm_task *task = NULL;
	snprintf(uuid, sizeof(uuid), UUID_PREFIX "%s", name);
	int r = new_task(DM_DEVICE_CREATE, name, &task);
	if (r < 0)
		return r;
	if (!dm_task_set_uuid(task, uuid) || !dm_task_set_mode(task, NODE_MODE) || add_map(task, map) < 0)
		return no_memory(name);
	r = run_and_settle(task);
	if (r < 0)
		return failed(r, "make", name);
	if (!dm_task_get_info(task, &info) || !info.exists)
		return failed(-EIO, "number of", name);
	*dev = makedev(info.major, info.minor);
	return 0;
}

/* Resuming with a table in the second slot is suspend, exchange and resume in one. File systems are not frozen: what
 * they wrote goes through the new table. */
static int resume(const char *name)
{
	autodmtask struct dm_task *task = NULL;
	int r = new_task(DM_DEVICE_RESUME, name, &task);
	if (r < 0)
		return r;
	if (!dm_task_skip_lockfs(task))
		return no_memory(name);
	r = run_and_settle(task);
	return r < 0 ? failed(r, "resume", name) : 0;
}

int dmt_switch(const char *name, const struct dmt_map *map)
{
	autodmtask struct dm_task *task = NULL;
	int r = new_task(DM_DEVICE_RELOAD, name, &task);
	if (r < 0)
		return r;
	if (add_map(task, map) < 0)
		return no_memory(name);
	r = run_task(task);
	return r < 0 ? failed(r, "load the table of", name) : resume(name);
}

/* ------------------------------------------------------------------ remove */

static int try_remove(const char *name)
{
	autodmtask struct dm_task *task = NULL;
	int r = new_task(DM_DEVICE_REMOVE, name, &task);
	if (r < 0)
		return r;
	r = run_and_settle(task);
	if (r == -ENXIO)
		return 0; /* gone meanwhile */
	return r < 0 ? failed(r, "remove", name) : 0;
}

static bool is_partition_of(const char *partition, const char *name)
{
	size_t n = strlen(name);
	return strncmp(partition, name, n) == 0 && partition[n] == 'p' && partition[n + 1] &&
	       partition[n + 1 + strspn(partition + n + 1, "0123456789")] == '\0';
}

/* Partitions above @info, whoever put them there. */
static int remove_partitions(const char *name, const struct dm_info *info)
{
	char path[64], partition[128];
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", info->major, info->minor);
	DIR *holders = opendir(path);
	int r = 0;
	struct dirent *entry;
	while (holders && r == 0 && (entry = readdir(holders)))
		if (entry->d_name[0] != '.' &&
		    sysfs_read_line(partition, sizeof(partition), "/sys/block/%s/dm/name", entry->d_name) == 0 &&
		    is_partition_of(partition, name))
			r = try_remove(partition);
	if (holders)
		closedir(holders);
	return r;
}

int dmt_remove(const char *name, uint64_t deadline_ns)
{
	struct dm_info info;
	bool ours;
	struct wait wait = WAIT_UNTIL(deadline_ns);
	int r = 0;
	do {
		if (!get_info(name, &info, &ours) || !ours)
			return 0;
		r = remove_partitions(name, &info);
		if (r == 0)
			r = try_remove(name);
	} while (r == -EBUSY && wait_a_moment(&wait, pl_now_ns()));
	return r;
}
