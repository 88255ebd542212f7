#include "kmod-free/registry.h"

#include "base/cleanup.h"
#include "kmod-free/control_full.h"
#include "kmod-free/keeper.h"
#include "kmod-free/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define STATE_MAX_BYTES ((size_t)(PL_MAX_CHAIN + 16) * PATH_MAX)

int registry_path(const char *name, const char *file, char path[PATH_MAX])
{
	int r = pl_run_dir(path, PATH_MAX);
	if (r < 0)
		return r;
	size_t used = strlen(path);
	int n = snprintf(path + used, PATH_MAX - used, "/%s%s%s", name, file ? "/" : "", file ? file : "");
	return n >= 0 && (size_t)n < PATH_MAX - used ? 0 : pl_fail(-ENAMETOOLONG, "run directory: path of %s", name);
}

int registry_lock(int *fd)
{
	char path[PATH_MAX];
	int r = registry_path("lock", NULL, path);
	if (r < 0)
		return r;
	autofd int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	while (flock(lock, LOCK_EX) != 0)
		if (errno != EINTR)
			return pl_fail(-errno, "lock %s: %s", path, strerror(errno));
	*fd = fd_steal(&lock);
	return 0;
}

int registry_lock_entry(const char *name, bool wait, int *fd)
{
	char path[PATH_MAX];
	int r = registry_path(name, NULL, path);
	if (r < 0)
		return r;
	autofd int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	while (flock(dir, LOCK_EX | (wait ? 0 : LOCK_NB)) != 0) {
		if (errno == EWOULDBLOCK)
			return -EAGAIN;
		if (errno != EINTR)
			return pl_fail(-errno, "lock %s: %s", path, strerror(errno));
	}
	struct stat st;
	if (fstat(dir, &st) != 0 || st.st_nlink == 0) /* removed while we waited */
		return pl_fail(-ENOENT, "%s is gone", path);
	*fd = fd_steal(&dir);
	return 0;
}

int registry_make(const char *name, int *fd)
{
	char path[PATH_MAX];
	int r = registry_path(name, NULL, path);
	if (r < 0)
		return r;
	if (mkdir(path, 0700) != 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	return registry_lock_entry(name, true, fd);
}

int registry_remove(const char *name)
{
	static const char *const files[] = {REGISTRY_STATE, REGISTRY_STATE ".new", REGISTRY_PID, REGISTRY_KEEPER,
					    REGISTRY_CONTROL, REGISTRY_CONTROL CONTROL_FULL_SUFFIX};
	char path[PATH_MAX];
	int r = 0;
	for (size_t i = 0; r == 0 && i < sizeof(files) / sizeof(files[0]); i++) {
		r = registry_path(name, files[i], path);
		if (r == 0)
			unlink(path);
	}
	if (r == 0)
		r = registry_path(name, NULL, path);
	if (r == 0 && rmdir(path) != 0 && errno != ENOENT)
		r = pl_fail(-errno, "%s: %s", path, strerror(errno));
	return r;
}

/* Lost power takes /run with it: a rename is enough, nothing is synced. */
int registry_save(const struct pl_device *device)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	int r = registry_path(device->name, REGISTRY_STATE, path);
	if (r == 0)
		r = registry_path(device->name, REGISTRY_STATE ".new", temporary);
	if (r < 0)
		return r;
	autofree char *text = registry_encode(device);
	if (!text)
		return pl_fail(-ENOMEM, "no memory for the state of %s", device->name);
	autofd int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	size_t bytes = strlen(text);
	if (fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes && rename(temporary, path) == 0)
		return 0;
	r = pl_fail(errno ? -errno : -ENOSPC, "%s: %s", path, strerror(errno));
	unlink(temporary);
	return r;
}

/* The whole file with a 0 behind; free() it. */
static int read_text(const char *path, char **out)
{
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > STATE_MAX_BYTES)
		return pl_fail(-EUCLEAN, "%s is not a state file", path);
	autofree char *text = calloc(1, (size_t)st.st_size + 1);
	if (!text)
		return pl_fail(-ENOMEM, "no memory for %s", path);
	ssize_t n = read(fd, text, (size_t)st.st_size);
	if (n < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	*out = mem_steal(&text);
	return 0;
}

void registry_look(struct pl_device *device)
{
	char path[PATH_MAX];
	struct keeper_state state;
	device->kept = registry_path(device->name, REGISTRY_KEEPER, path) == 0 &&
		       keeper_ask(path, KEEPER_STATE, &state) == 0;
	device->starting = device->kept && state.phase == KEEPER_STARTS;
	device->waiting = device->kept && state.phase == KEEPER_WAITS;
	device->mortal = device->kept && state.mortal;
	snprintf(device->why, sizeof(device->why), "%s", device->kept ? state.text : "");
	if (device->kept) {
		device->server_pid = state.server_pid;
		device->server_start = process_start_ticks(state.server_pid);
	}
	device->alive = device->kept || process_is(device->server_pid, device->server_start);
}

DEFINE_AUTO(struct pl_device *, device, pl_device_free, NULL)

int registry_load(const char *name, struct pl_device **out)
{
	char path[PATH_MAX];
	autofree char *text = NULL;
	int r = registry_path(name, REGISTRY_STATE, path);
	if (r == 0)
		r = read_text(path, &text);
	if (r < 0)
		return r;
	__attribute__((cleanup(device_autop))) struct pl_device *device = calloc(1, sizeof(*device));
	r = device ? registry_decode(text, device) : -ENOMEM;
	if (r < 0)
		return pl_fail(r, "%s: %s", path, r == -ENOMEM ? "no memory" : "it is not a state file");
	registry_look(device);
	*out = device_steal(&device);
	return 0;
}

void pl_device_free(struct pl_device *device)
{
	if (!device)
		return;
	for (size_t i = 0; i < device->image_count; i++)
		free(device->images[i]);
	free(device->images);
	free(device->component);
	free(device->bundle);
	free(device);
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(char ***names, size_t *count, const char *name)
{
	char **more = realloc(*names, (*count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	*names = more;
	more[*count] = strdup(name);
	return more[*count] ? ((*count)++, 0) : -ENOMEM;
}

int registry_names(char ***out, size_t *count)
{
	char path[PATH_MAX];
	int r = pl_run_dir(path, sizeof(path));
	if (r < 0)
		return r;
	DIR *dir = opendir(path);
	if (!dir)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	char **names = NULL;
	size_t n = 0;
	struct dirent *entry;
	while (r == 0 && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && strncmp(entry->d_name, "ploop", 5) == 0)
			r = add_name(&names, &n, entry->d_name);
	closedir(dir);
	if (r < 0) {
		registry_names_free(names, n);
		return pl_fail(r, "no memory for the names of %zu devices", n);
	}
	if (n)
		qsort(names, n, sizeof(*names), by_name);
	*out = names;
	*count = n;
	return 0;
}

void registry_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}
