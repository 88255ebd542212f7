#include "cli/stat_disks.h"

#include "cli/served.h"

#include "base/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int add(struct stat_disks *disks, const char *socket, struct pl_live *live)
{
	struct stat_disk *grown = realloc(disks->at, (disks->count + 1) * sizeof(*grown));
	if (!grown) {
		pl_live_close(live);
		return pl_fail(-ENOMEM, "no memory for %zu disks", disks->count + 1);
	}
	disks->at = grown;
	memset(&grown[disks->count], 0, sizeof(*grown));
	snprintf(grown[disks->count].socket, sizeof(grown->socket), "%s", socket);
	grown[disks->count++].live = live;
	return 0;
}

/* Sockets that nobody listens at any more are no disks. */
static int open_listed(struct stat_disks *disks, char **paths)
{
	int r = 0;
	for (size_t i = 0; r == 0 && paths[i]; i++) {
		struct pl_live *live;
		r = pl_live_connect_at(paths[i], &live);
		if (r == 0)
			r = add(disks, paths[i], live);
		else if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int open_all(struct stat_disks *disks)
{
	autofree char **paths = NULL;
	int r = pl_control_list(NULL, &paths);
	return r < 0 ? r : open_listed(disks, paths);
}

static int open_device(struct stat_disks *disks, const struct pl_device *device)
{
	struct pl_live *live;
	char socket[128];
	int r = pl_device_control(device, socket, sizeof(socket));
	if (r == 0)
		r = pl_live_connect_at(socket, &live);
	return r == 0 ? add(disks, socket, live) : r;
}

/* Those that no other of its bundle answers for. */
static int open_devices(struct stat_disks *disks)
{
	struct pl_device **devices;
	size_t count;
	int r = pl_device_list(&devices, &count);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < count; i++) {
		if (!devices[i]->readonly && devices[i]->bundle[0])
			continue;
		r = open_device(disks, devices[i]);
		r = r == -ENOENT ? 0 : r;
	}
	pl_device_list_free(devices, count);
	return r;
}

/* A running device is asked itself; else the word tells a bundle, whose servers are looked for. */
static int open_named(struct stat_disks *disks, const char *word)
{
	struct pl_device *device;
	size_t before = disks->count;
	int r = pl_device_find(word, NULL, &device);
	if (r == 0) {
		r = open_device(disks, device);
		pl_device_free(device);
	} else {
		autofree char **paths = NULL;
		r = served_sockets(word, &paths);
		if (r == 0)
			r = open_listed(disks, paths);
	}
	if (r == -ENOENT || (r == 0 && disks->count == before))
		r = pl_fail(-ENOENT, "%s: no server has it open", word);
	return r;
}

static int open_words(struct stat_disks *disks, int count, char **words)
{
	int r = 0;
	for (int i = 0; r == 0 && i < count; i++)
		r = open_named(disks, words[i]);
	return r;
}

/* The registry knows the names of block devices, servers do not. */
static void name_disk(struct stat_disks *disks, const struct pl_device *device)
{
	char socket[128];
	if (pl_device_control(device, socket, sizeof(socket)) < 0)
		return;
	for (size_t i = 0; i < disks->count; i++)
		if (strcmp(disks->at[i].socket, socket) == 0)
			snprintf(disks->at[i].device, sizeof(disks->at[i].device), "%s", device->name);
}

static void find_names(struct stat_disks *disks)
{
	struct pl_device **devices;
	size_t count;
	if (pl_device_list(&devices, &count) == 0) {
		for (size_t i = 0; i < count; i++)
			name_disk(disks, devices[i]);
		pl_device_list_free(devices, count);
	}
	pl_error_clear();
}

int stat_disks_ask(struct stat_disks *disks)
{
	for (size_t i = 0; i < disks->count; i++) {
		struct stat_disk *d = &disks->at[i];
		if (!d->live)
			continue;
		d->before = d->now;
		int r = pl_live_get_stat(d->live, &d->now);
		if (r == -ECONNRESET || r == -EPIPE) {
			pl_live_close(d->live);
			d->live = NULL;
		} else if (r < 0) {
			return r;
		}
	}
	return 0;
}

int stat_disks_open(struct stat_disks *disks, int count, char **words)
{
	*disks = (struct stat_disks){0};
	int r = count ? open_words(disks, count, words) : open_all(disks);
	if (r == 0 && count == 0)
		r = open_devices(disks);
	if (r == 0)
		r = stat_disks_ask(disks);
	if (r < 0)
		stat_disks_close(disks);
	else
		find_names(disks);
	return r;
}

void stat_disks_close(struct stat_disks *disks)
{
	for (size_t i = 0; i < disks->count; i++)
		pl_live_close(disks->at[i].live);
	free(disks->at);
	*disks = (struct stat_disks){0};
}
