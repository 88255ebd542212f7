/* Transport "nbd": the kernel's own NBD client is connected to the server. Needs the module nbd and nothing else, keeps
 * many requests in flight over one socket, and what it writes is sent once from the page it lies in.
 *
 * The device outlives its server: the keeper starts another, which reconnects it (nbdk_netlink.h says how requests go
 * on). When nobody starts one, they wait until the disk is unmounted.
 *
 * The logical block size is 512, as ploop's sector; the kernel takes it for the physical one too. Discard, FUA, flush
 * and, from kernel 6.10 on, write zeroes are what the server says it can do. */
#include "base/cleanup.h"
#include "base/wait.h"
#include "kmod-free/blkpart.h"
#include "kmod-free/nbdk_netlink.h"
#include "kmod-free/sysfs.h"
#include "kmod-free/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SETTLE_NS (5 * NS_PER_S) /* for those who look at a new device unasked, such as blkid */

static int nbd_prepare(const struct pl_device *device, struct transport_plan *plan, struct pl_serve_options *serve)
{
	nbdk_name_encode(device, plan->nbd_name);
	serve->nbd_device = plan->nbd_name;
	return 0;
}

/* When a device is opened for the first time the kernel looks for partitions in it: not in ours. */
static int forget_partitions(uint64_t dev)
{
	autofd int fd = sysfs_open_block(dev, O_RDONLY);
	return fd < 0 ? fd : blkpart_remove_all(dev, pl_now_ns() + SETTLE_NS);
}

static int nbd_attach(struct pl_device *device)
{
	int r = nbdk_find(device->name, &device->backing);
	if (r < 0)
		return pl_fail(r, "the server has connected no nbd device");
	r = sysfs_read_dev(&device->raw_dev, "/sys/block/nbd%llu/dev", (unsigned long long)device->backing);
	return r == 0 ? forget_partitions(device->raw_dev) : r;
}

/* Closing it makes the kernel forget a connection that has ended. -EBUSY: mounted, mapped or held by others. */
static int open_alone(uint64_t dev)
{
	autofd int fd = sysfs_open_block(dev, O_RDONLY | O_EXCL);
	return fd < 0 ? fd : 0;
}

static int nbd_detach(const struct pl_device *device, uint64_t deadline_ns)
{
	struct wait wait = WAIT_UNTIL(deadline_ns);
	uint64_t index, dev;
	while (nbdk_find(device->name, &index) == 0) {
		int r = sysfs_read_dev(&dev, "/sys/block/nbd%llu/dev", (unsigned long long)index);
		if (r == 0)
			r = open_alone(dev);
		if (r == 0)
			r = nbdk_disconnect(device->name);
		if (r < 0 && r != -EBUSY)
			return r;
		if (nbdk_find(device->name, &index) == 0 && !wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-EBUSY, "nbd%llu is still open", (unsigned long long)index);
	}
	return 0;
}

static int nbd_abandon(const struct pl_device *device)
{
	return nbdk_disconnect(device->name);
}

const struct transport transport_nbd = {
	.name = "nbd",
	.probe = nbdk_probe,
	.prepare = nbd_prepare,
	.attach = nbd_attach,
	.abandon = nbd_abandon,
	.detach = nbd_detach,
};
