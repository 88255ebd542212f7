/* Where the control socket of a bundle's server is: named after the folder, whatever paths lead there. */
#include "control_path.h"
#include "ploop-serve.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static void forget(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 && errno == ECONNREFUSED)
		unlink(address.sun_path);
}

void control_path_forget(const char *descriptor)
{
	char path[PATH_MAX];
	if (pl_control_path(descriptor, path, sizeof(path)) == 0)
		forget(path);
}

#define STEM   "ctl-"
#define READER "-r"

const char *pl_control_reader(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *end = strstr(name ? name : path, READER);
	return end ? end + strlen(READER) : "";
}

int pl_control_path(const char *descriptor, char *out, size_t out_bytes)
{
	char folder[PATH_MAX], run[PATH_MAX];
	struct stat st;
	const char *slash = strrchr(descriptor, '/');
	size_t n = slash ? (size_t)(slash - descriptor) + 1 : 0;
	if (n + 2 > sizeof(folder))
		return pl_fail(-ENAMETOOLONG, "%s: the path is too long", descriptor);
	snprintf(folder, sizeof(folder), "%.*s.", (int)n, descriptor);
	if (stat(folder, &st) != 0)
		return pl_fail(-errno, "%s: %s", folder, strerror(errno));
	int r = pl_run_dir(run, sizeof(run));
	if (r < 0)
		return r;
	int bytes = snprintf(out, out_bytes, "%s/" STEM "%llx-%llu", run, (unsigned long long)st.st_dev,
			     (unsigned long long)st.st_ino);
	if (bytes < 0 || (size_t)bytes >= out_bytes)
		return pl_fail(-ENAMETOOLONG, "%s: too long for a control socket's name", run);
	return 0;
}

int pl_control_path_reader(const char *in_folder, char *out, size_t out_bytes)
{
	autofree char **there = NULL;
	int r = pl_control_list(in_folder, &there);
	for (size_t i = 0; r == 0 && there[i]; i++)
		if (pl_control_reader(there[i])[0])
			forget(there[i]);
	if (r == 0)
		r = pl_control_path(in_folder, out, out_bytes);
	size_t used = r == 0 ? strlen(out) : 0;
	if (r == 0 && (size_t)snprintf(out + used, out_bytes - used, READER "%d", getpid()) >= out_bytes - used)
		r = pl_fail(-ENAMETOOLONG, "%s: too long for a control socket's name", out);
	return r;
}

static int is_control(const struct dirent *entry)
{
	return strncmp(entry->d_name, STEM, strlen(STEM)) == 0 && !strchr(entry->d_name, '.');
}

/* Pointers and texts in one allocation. */
static char **paths_of(const char *run, struct dirent *const *entries, size_t count)
{
	size_t bytes = (count + 1) * sizeof(char *);
	for (size_t i = 0; i < count; i++)
		bytes += strlen(run) + 1 + strlen(entries[i]->d_name) + 1;
	char **paths = calloc(1, bytes);
	char *at = paths ? (char *)(paths + count + 1) : NULL;
	for (size_t i = 0; at && i < count; i++) {
		paths[i] = at;
		at += snprintf(at, bytes - (size_t)(at - (char *)paths), "%s/%s", run, entries[i]->d_name) + 1;
	}
	return paths;
}

/* Those that begin with @path, and nothing or a reader's end follows; order and end stay. */
static void keep_those_of(char **paths, const char *path)
{
	size_t bytes = strlen(path), kept = 0;
	for (size_t i = 0; paths[i]; i++)
		if (strncmp(paths[i], path, bytes) == 0 &&
		    (!paths[i][bytes] || strncmp(paths[i] + bytes, READER, strlen(READER)) == 0))
			paths[kept++] = paths[i];
	paths[kept] = NULL;
}

int pl_control_list(const char *descriptor, char ***out)
{
	char run[PATH_MAX], path[PATH_MAX] = "";
	struct dirent **entries;
	int r = pl_run_dir(run, sizeof(run));
	if (r == 0 && descriptor)
		r = pl_control_path(descriptor, path, sizeof(path));
	if (r < 0)
		return r;
	int count = scandir(run, &entries, is_control, alphasort);
	if (count < 0)
		return pl_fail(-errno, "%s: %s", run, strerror(errno));
	*out = paths_of(run, entries, (size_t)count);
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	if (*out && descriptor)
		keep_those_of(*out, path);
	return *out ? 0 : pl_fail(-ENOMEM, "no memory for the servers of %s", run);
}
