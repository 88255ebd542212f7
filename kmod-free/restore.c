/* Disks over nbd that the registry has lost because somebody wiped the run directory: the kernel knows their names and
 * images (nbdk_name.h), /proc their servers, so their entries are made anew.
 *
 * A keeper and a holder whose socket went with the run directory cannot be reached: the server that watches them makes
 * others when they are killed, and those listen again. Only the control socket of the disk comes back no sooner than
 * the next server. */
#include "kmod-free/device.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "kmod-free/devnode.h"
#include "kmod-free/front.h"
#include "kmod-free/last_name.h"
#include "kmod-free/nbdk_netlink.h"
#include "kmod-free/process.h"
#include "kmod-free/registry.h"
#include "kmod-free/sysfs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER_WAIT_NS (2 * NS_PER_S) /* for one that is being started again */

DEFINE_AUTO(struct pl_device *, device, pl_device_free, NULL)
#define autodevice __attribute__((cleanup(device_autop)))

/* ------------------------------------------------------------------ what is known of it */

static int take_chain(struct pl_device *d)
{
	struct pl_bundle *bundle;
	struct pl_chain_spec chain;
	int r = pl_bundle_open(d->bundle, NULL, &bundle);
	if (r < 0)
		return r;
	r = pl_bundle_chain(bundle, NULL, &chain);
	if (r == 0)
		r = device_copy_images(d, &chain);
	pl_bundle_close(bundle);
	return r;
}

/* A descriptor that cannot be read stands for its images: the disk can still be unmounted. */
static int find_images(struct pl_device *d)
{
	if (d->image_count || take_chain(d) == 0)
		return 0;
	struct pl_image_ref instead = {.path = d->bundle, .dir_fd = -1};
	return device_copy_images(d, &(struct pl_chain_spec){.size = sizeof(struct pl_chain_spec), .images = &instead,
							     .count = 1});
}

static int find_block_device(struct pl_device *d, uint64_t index)
{
	char ro[8] = "";
	d->backing = index;
	snprintf(d->transport, sizeof(d->transport), "%s", transport_nbd.name);
	snprintf(d->node, sizeof(d->node), DEVNODE_DIR "/%s", d->name);
	snprintf(d->partition, sizeof(d->partition), DEVNODE_DIR "/%sp1", d->name);
	int r = sysfs_read_dev(&d->raw_dev, "/sys/block/nbd%llu/dev", (unsigned long long)index);
	if (r < 0)
		return r;
	sysfs_read_line(ro, sizeof(ro), "/sys/block/nbd%llu/ro", (unsigned long long)index);
	d->readonly = ro[0] == '1';
	front_recognise(d);
	if (!d->partition_dev)
		d->partition[0] = '\0';
	return 0;
}

/* ------------------------------------------------------------------ its processes */

static uint64_t find_unreachable(const char *program, const char *socket)
{
	const char *const words[] = {socket, NULL};
	return access(socket, F_OK) == 0 ? 0 : process_find(program, words);
}

static uint64_t unreachable_keeper(const struct pl_device *d)
{
	char path[PATH_MAX];
	return registry_path(d->name, REGISTRY_KEEPER, path) == 0 ? find_unreachable("ploop-keeper", path) : 0;
}

static void find_server(struct pl_device *d, const char *nbd_name)
{
	const char *const words[] = {"--nbd-device", nbd_name, NULL};
	struct wait wait = WAIT_UNTIL(pl_now_ns() + SERVER_WAIT_NS);
	while (!(d->server_pid = process_find("ploop-server", words)) && unreachable_keeper(d))
		if (!wait_a_moment(&wait, pl_now_ns()))
			break;
	d->server_start = process_start_ticks(d->server_pid);
	d->alive = d->server_start != 0;
}

static void end_unreachable_holder(const struct pl_device *d)
{
	char path[PATH_MAX], name[64];
	struct stat st;
	if (stat(d->images[d->image_count - 1], &st) != 0)
		return;
	snprintf(name, sizeof(name), "hold-%llx-%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	uint64_t pid = registry_path(name, NULL, path) == 0 ? find_unreachable("ploop-holder", path) : 0;
	if (pid)
		kill((pid_t)pid, SIGKILL);
}

/* Without a server nobody makes another holder: it keeps what it has. */
static void end_unreachable(const struct pl_device *d)
{
	uint64_t keeper = unreachable_keeper(d);
	if (keeper)
		kill((pid_t)keeper, SIGKILL);
	if (d->alive)
		end_unreachable_holder(d);
}

/* ------------------------------------------------------------------ its entry */

static int make_entry(struct pl_device *d)
{
	autofd int entry = -1;
	int r = registry_make(d->name, &entry);
	if (r == -EEXIST)
		r = registry_lock_entry(d->name, true, &entry);
	if (r == 0)
		r = registry_save(d);
	if (r == 0)
		last_name_note(d);
	return r;
}

static void restore(uint64_t index, const char *nbd_name)
{
	autodevice struct pl_device *d = calloc(1, sizeof(*d));
	int r = d ? nbdk_name_decode(nbd_name, d) : -ENOMEM;
	if (r == -ENODATA)
		return;
	if (r == 0)
		r = find_block_device(d, index);
	if (r == 0)
		r = find_images(d);
	if (r == 0) {
		find_server(d, nbd_name);
		r = make_entry(d);
	}
	if (r < 0) {
		pl_log(PL_LOG_WARN, "device", "nbd%llu is a disk that is in no list: %s", (unsigned long long)index,
		       pl_error());
		return;
	}
	end_unreachable(d);
	pl_log(PL_LOG_WARN, "device", "%s runs, but its entry in the run directory was gone: it is there again%s%s",
	       d->name,
	       d->alive ? "; before the next snapshot: ploop server upgrade " : ", but its server is dead: unmount it",
	       d->alive ? d->node : "");
}

/* ------------------------------------------------------------------ which */

/* An entry is made before its device is, and goes after it. */
static bool is_lost(const char *nbd_name)
{
	char name[32], path[PATH_MAX], word[32];
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(nbd_name, " "), nbd_name);
	return device_name_of(word, name) && registry_path(name, REGISTRY_STATE, path) == 0 && access(path, F_OK) != 0;
}

static bool look(void *arg, uint64_t index, const char *nbd_name)
{
	return *(bool *)arg = is_lost(nbd_name);
}

static bool restore_lost(void *arg, uint64_t index, const char *nbd_name)
{
	if (is_lost(nbd_name))
		restore(index, nbd_name);
	return false;
}

void device_restore(void)
{
	autofd int all = -1;
	bool any = false;
	if (geteuid() == 0)
		nbdk_each(look, &any);
	if (any && registry_lock(&all) == 0)
		nbdk_each(restore_lost, NULL);
	pl_error_clear();
}
