#include "kmod-free/nbdk.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/keeper.h"
#include "kmod-free/nbdk_netlink.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

static int make_pair(int *kernels, int *ours)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return pl_fail(-errno, "socket pair: %s", strerror(errno));
	*kernels = ends[0];
	*ours = ends[1];
	return 0;
}

int nbdk_start(struct pl_server *server, const struct pl_disk *disk, const char *backend)
{
	autofd int kernels = -1;
	autofd int ours = -1;
	struct pl_disk_info info;
	struct nbdk_device device = {.backend = backend, .block_bytes = SECTOR_BYTES};
	uint64_t index;
	if (nbdk_find(backend, &index) == 0)
		return pl_fail(-EBUSY, "nbd%llu has the name %s already", (unsigned long long)index, backend);
	int r = make_pair(&kernels, &ours);
	if (r == 0)
		r = pl_server_take_kernel(server, fd_steal(&ours), &device.flags);
	if (r < 0)
		return r;
	pl_disk_get_info(disk, &info);
	device.size_bytes = info.size_bytes;
	device.socket_fd = kernels;
	return nbdk_connect(&device, &index);
}

int nbdk_resume(const char *backend, int *fd)
{
	autofd int kernels = -1;
	autofd int ours = -1;
	uint64_t index;
	int r = nbdk_find(backend, &index);
	if (r < 0)
		return r;
	r = make_pair(&kernels, &ours);
	if (r == 0)
		r = nbdk_reconnect(backend, index, kernels);
	if (r == 0)
		*fd = fd_steal(&ours);
	return r;
}

int nbdk_rejoin_message(const char *backend, int *fd)
{
	uint64_t index;
	int r = nbdk_find(backend, &index);
	if (r < 0)
		return r;
	autofd int file = memfd_create("ploop-rejoin", MFD_CLOEXEC);
	if (file < 0)
		return pl_fail(-errno, "memory for a message: %s", strerror(errno));
	r = nbdk_write_reconnect(backend, index, KEEPER_REJOIN_FD, file);
	if (r == 0)
		*fd = fd_steal(&file);
	return r;
}
