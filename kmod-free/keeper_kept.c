#include "kmod-free/keeper_kept.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
