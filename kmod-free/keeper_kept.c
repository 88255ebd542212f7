#include "kmod-free/keeper_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE_BYTES (KEEPER_NAME_BYTES + 12) /* of the environment: "name=number," */

static struct kept_fd *find(const struct kept_fds *k, const char *name)
{
	for (size_t i = 0; i < k->count; i++)
		if (strcmp(k->at[i].name, name) == 0)
			return (struct kept_fd *)&k->at[i];
	return NULL;
}

int kept_find(const struct kept_fds *k, const char *name)
{
	const struct kept_fd *kept = find(k, name);
	return kept ? kept->fd : -1;
}

bool kept_put(struct kept_fds *k, const char *name, int fd, bool once)
{
	struct kept_fd *kept = find(k, name);
	if (fd < 0 || (!kept && k->count == KEEPER_FDS_MAX)) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (kept)
		close(kept->fd);
	else
		kept = &k->at[k->count++];
	snprintf(kept->name, sizeof(kept->name), "%s", name);
	kept->fd = fd;
	kept->once = once;
	return true;
}

int kept_take(struct kept_fds *k, const char *name)
{
	struct kept_fd *kept = find(k, name);
	if (!kept)
		return -1;
	int fd = kept->fd;
	*kept = k->at[--k->count];
	return fd;
}

void kept_forget_given(struct kept_fds *k)
{
	size_t count = 0;
	for (size_t i = 0; i < k->count; i++) {
		if (k->at[i].once)
			close(k->at[i].fd);
		else
			k->at[count++] = k->at[i];
	}
	k->count = count;
}

void kept_close(struct kept_fds *k)
{
	for (size_t i = 0; i < k->count; i++)
		close(k->at[i].fd);
	k->count = 0;
}

/* ------------------------------------------------------------------ from one program to the next */

static int close_on_exec(const struct kept_fds *k, int flag)
{
	for (size_t i = 0; i < k->count; i++)
		if (fcntl(k->at[i].fd, F_SETFD, flag) < 0)
			return -errno;
	return 0;
}

int kept_pass(const struct kept_fds *k)
{
	char text[KEEPER_FDS_MAX * ONE_BYTES] = "";
	size_t used = 0;
	for (size_t i = 0; i < k->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s=%d", i ? "," : "", k->at[i].name,
					 k->at[i].fd);
	int r = close_on_exec(k, 0);
	if (r == 0 && setenv(KEEPER_ENV, text, 1) < 0)
		r = -errno;
	if (r < 0)
		kept_pass_not(k);
	return r;
}

void kept_pass_not(const struct kept_fds *k)
{
	close_on_exec(k, FD_CLOEXEC);
	unsetenv(KEEPER_ENV);
}

bool kept_inherit(struct kept_fds *k)
{
	const char *at = getenv(KEEPER_ENV);
	if (!at)
		return false;
	while (*at) {
		char name[KEEPER_NAME_BYTES];
		size_t bytes = strcspn(at, "=");
		char *end = (char *)at + bytes;
		snprintf(name, sizeof(name), "%.*s", (int)bytes, at);
		int fd = *end ? (int)strtol(end + 1, &end, 10) : -1;
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0)
			kept_put(k, name, fd, false);
		at = end + strspn(end, ",");
	}
	unsetenv(KEEPER_ENV);
	return true;
}
