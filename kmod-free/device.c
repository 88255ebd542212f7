/* A disk becomes a block device and stops being one. Step -> what a crash of ours leaves -> who removes it:
 *
 *	entry in the registry     a folder                            the next mount (device_clean_stale)
 *	server                    + a server that nobody uses         umount; it serves on
 *	block device              + nbd device; loop, FUSE mount      umount; once the server is dead, the next mount
 *	names                     + /dev/mapper/ploopN, ploopNp1      the same
 *
 * Whoever attaches or detaches holds the lock of the entry; the lock over all entries is held while one is made, so
 * that of two mounts of one disk the second is refused. */
#include "kmod-free/device.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/control_path.h"
#include "kmod-free/devnode.h"
#include "kmod-free/front.h"
#include "kmod-free/last_name.h"
#include "kmod-free/process.h"
#include "kmod-free/registry.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define FIRST_NUMBER   1000u
#define LAST_NUMBER    99999u
#define UNDO_NS        (10 * NS_PER_S)
#define CLOSE_LEAST_NS (60 * NS_PER_S) /* closing a disk may have work left, however short the caller's patience */

DEFINE_AUTO(struct pl_device *, device, pl_device_free, NULL)
#define autodevice __attribute__((cleanup(device_autop)))

/* ------------------------------------------------------------------ who is it */

int device_copy_images(struct pl_device *d, const struct pl_chain_spec *chain)
{
	d->images = calloc(chain->count, sizeof(*d->images));
	if (!d->images)
		return pl_fail(-ENOMEM, "no memory for %zu images", chain->count);
	for (size_t i = 0; i < chain->count; i++) {
		d->images[i] = realpath(chain->images[i].path, NULL);
		if (!d->images[i])
			return pl_fail(-errno, "%s: %s", chain->images[i].path, strerror(errno));
		d->image_count++;
	}
	return 0;
}

static int new_device(const struct pl_attach_options *o, const struct transport *transport, const struct front *front,
		      struct pl_device **out)
{
	autodevice struct pl_device *d = calloc(1, sizeof(*d));
	if (!d || !(d->component = strdup(o->component ? o->component : "")) ||
	    !(d->bundle = strdup(o->bundle ? o->bundle : "")))
		return pl_fail(-ENOMEM, "no memory for a device");
	d->readonly = o->serve->readonly;
	snprintf(d->transport, sizeof(d->transport), "%s", transport->name);
	snprintf(d->front, sizeof(d->front), "%s", front->name);
	int r = device_copy_images(d, &o->serve->chain);
	if (r < 0)
		return r;
	*out = device_steal(&d);
	return 0;
}

static bool is_same_disk(const struct pl_device *a, const struct pl_device *b)
{
	if (strcmp(a->component, b->component) != 0)
		return false;
	return (a->bundle[0] && strcmp(a->bundle, b->bundle) == 0) ||
	       strcmp(a->images[a->image_count - 1], b->images[b->image_count - 1]) == 0;
}

/* Also those that are being made or removed just now. */
static int refuse_attached(const struct pl_device *d)
{
	char **names;
	size_t count;
	int r = registry_names(&names, &count);
	for (size_t i = 0; r == 0 && i < count; i++) {
		autodevice struct pl_device *other = NULL;
		if (registry_load(names[i], &other) == 0 && is_same_disk(d, other))
			r = pl_fail(-EBUSY, "%s is already mounted, its device is " DEVNODE_DIR "/%s%s",
				    d->bundle[0] ? d->bundle : d->images[d->image_count - 1], other->name,
				    other->alive || !other->dev ? "" : ", whose server died: unmount it first");
	}
	if (r == 0 || r == -EBUSY)
		registry_names_free(names, count);
	return r;
}

/* ------------------------------------------------------------------ what is its name */

static int take_name(struct pl_device *d, const struct front *front, const char *name, int *lock)
{
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->node, sizeof(d->node), DEVNODE_DIR "/%s", name);
	if (!front->is_free(name))
		return pl_fail(-EBUSY, "%s belongs to somebody else", d->node);
	int r = registry_make(name, lock);
	return r == -EEXIST ? pl_fail(-EBUSY, "%s is taken", d->node) : r;
}

/* The name the disk had last, else the first that is free: the same commands make the same names. */
static int choose_name(struct pl_device *d, const struct front *front, const char *wanted, int *lock)
{
	char name[sizeof(d->name)];
	if (wanted && !device_name_of(wanted, name))
		return pl_fail(-EINVAL, "device %s: want a name like ploop10 or " DEVNODE_DIR "/ploop10", wanted);
	if (wanted)
		return take_name(d, front, name, lock);
	int r = last_name_find(d, name) ? take_name(d, front, name, lock) : -EBUSY;
	for (unsigned n = FIRST_NUMBER; r == -EBUSY && n <= LAST_NUMBER; n++) {
		snprintf(name, sizeof(name), "ploop%u", n);
		r = take_name(d, front, name, lock);
	}
	return r;
}

/* ------------------------------------------------------------------ attach */

static int bring_up(struct pl_device *d, const struct pl_attach_options *o, const struct transport *transport,
		    const struct front *front)
{
	char keeper[PATH_MAX], control[PATH_MAX];
	struct transport_plan plan;
	struct pl_serve_options serve = *o->serve;
	int r = registry_path(d->name, REGISTRY_KEEPER, keeper);
	serve.keeper = keeper;
	if (r == 0 && !serve.control) {
		r = registry_path(d->name, REGISTRY_CONTROL, control);
		serve.control = control;
		serve.no_changes = true;
	}
	if (r == 0)
		r = transport->prepare(d, &plan, &serve);
	if (r == 0)
		r = device_start_server(d, &serve);
	if (r == 0)
		r = registry_save(d);
	if (r == 0)
		r = transport->attach(d);
	if (r == 0)
		r = front->make(d);
	return r == 0 ? registry_save(d) : r;
}

int device_take_down(const struct pl_device *d, uint64_t deadline_ns)
{
	const struct transport *transport;
	const struct front *front;
	int r = transport_find(d->transport, &transport);
	if (r == 0)
		r = front_find(d->front, &front);
	if (r == 0 && !d->alive)
		r = transport_abandon(d);
	if (r == 0)
		r = front->remove(d, deadline_ns);
	if (r == 0)
		r = transport->detach(d, deadline_ns);
	if (r < 0)
		return r;
	devnode_remove(d->node, d->dev);
	if (!d->alive && d->bundle[0])
		control_path_forget(d->bundle);
	if (d->alive)
		r = device_await_server(d, MAX(deadline_ns, pl_now_ns() + CLOSE_LEAST_NS));
	return r == 0 ? registry_remove(d->name) : r;
}

/* Undo, and keep the sentence of what went wrong. */
static int give_up(const struct pl_device *d, int err)
{
	autofree char *why = strdup(pl_error());
	if (device_take_down(d, pl_now_ns() + UNDO_NS) < 0)
		pl_log(PL_LOG_WARN, "device", "%s could not be undone: %s", d->name, pl_error());
	return why ? pl_fail(err, "%s", why) : err;
}

int pl_device_attach(const struct pl_attach_options *o, struct pl_device **out)
{
	const struct transport *transport;
	autodevice struct pl_device *d = NULL;
	autofd int all = -1;
	autofd int entry = -1;
	int r = transport_choose(o->transport, &transport);
	if (r < 0)
		return r;
	const struct front *front = front_choose();
	device_restore();
	r = new_device(o, transport, front, &d);
	if (r == 0)
		r = registry_lock(&all);
	if (r < 0)
		return r;
	device_clean_stale();
	r = refuse_attached(d);
	if (r == 0)
		r = choose_name(d, front, o->device, &entry);
	if (r == 0)
		r = registry_save(d);
	if (r == 0)
		last_name_note(d);
	if (r < 0) {
		if (entry >= 0)
			registry_remove(d->name);
		return r;
	}
	close(fd_steal(&all));
	r = bring_up(d, o, transport, front);
	if (r < 0)
		return give_up(d, r);
	registry_look(d);
	*out = device_steal(&d);
	return 0;
}

int pl_device_add_partition(struct pl_device *d, uint64_t offset_bytes, uint64_t length_bytes)
{
	const struct front *front;
	autofd int entry = -1;
	int r = registry_lock_entry(d->name, true, &entry);
	if (r == 0)
		r = front_find(d->front, &front);
	if (r < 0)
		return r;
	snprintf(d->partition, sizeof(d->partition), DEVNODE_DIR "/%sp1", d->name);
	r = front->add_partition(d, offset_bytes, length_bytes);
	return r == 0 ? registry_save(d) : r;
}

/* ------------------------------------------------------------------ detach */

int pl_device_leave(struct pl_device *d)
{
	d->leave = true;
	return d->alive ? process_signal(d->server_pid, d->server_start, SIGUSR2) : 0;
}

int pl_device_detach(struct pl_device *d, uint32_t timeout_ms)
{
	autofd int entry = -1;
	int r = registry_lock_entry(d->name, true, &entry);
	if (r == -ENOENT) /* its server is dead, and a mount of another disk has cleaned up meanwhile */
		return d->alive ? r : device_ensure_clean(d);
	if (r < 0)
		return r;
	r = device_take_down(d, pl_now_ns() + timeout_ms * NS_PER_MS);
	if (r == -EBUSY) {
		char holders[512];
		pl_device_holders(d, NULL, holders, sizeof(holders));
		return pl_fail(-EBUSY, "%s is in use by %s", d->node, holders);
	}
	return r < 0 ? r : device_ensure_clean(d);
}
