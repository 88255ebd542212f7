/* ploop umount --all: for a host that goes down. A disk may lie on a file system that is on another disk, so those that
 * are busy come again as long as others go. */
#include "cli/umount_disk.h"

#include "cli/console.h"
#include "cli/interrupt.h"

#include <errno.h>

#define QUICK_MS 1000

/* @tell: why one stays. *@left: how many do. Returns 0 or the exit code of the last that stays. */
static int pass(const struct umount_args *a, uint64_t timeout_ms, bool tell, size_t *left)
{
	struct pl_device **devices;
	size_t count;
	int code = 0;
	int r = pl_device_list(&devices, &count);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_DEVICE);
	*left = 0;
	for (size_t i = count; i-- > 0 && !interrupt_seen();) {
		r = umount_disk(devices[i], a, timeout_ms);
		if (r == 0)
			continue;
		code = r;
		++*left;
		if (tell)
			console_warn("%s stays: %s", devices[i]->node, pl_error());
	}
	pl_device_list_free(devices, count);
	return code;
}

int umount_all(const struct umount_args *a, uint64_t timeout_ms)
{
	size_t left = SIZE_MAX, before;
	int r;
	do {
		before = left;
		r = pass(a, QUICK_MS, false, &left);
	} while (r != 0 && left < before && !interrupt_seen());
	if (r != 0)
		r = pass(a, timeout_ms, true, &left);
	if (interrupt_seen())
		return cli_exit_code(interrupt_check(), CLI_AT_UMOUNT);
	if (r != 0)
		pl_fail(-EBUSY, "not all disks are unmounted: %zu stay", left);
	return r;
}
