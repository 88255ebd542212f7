#include "cli/live.h"

#include "cli/resolve.h"
#include "ploop-serve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

int live_find(const struct pl_bundle *bundle, struct pl_live **out)
{
	struct pl_live *live = NULL;
	int r = pl_live_connect(bundle, &live);
	if (r == -ENOENT) {
		pl_error_clear();
		r = 0;
	}
	if (r == 0)
		*out = live;
	return r;
}

int live_disk_open(const char *word, const struct cli_list *outside, struct live_disk *out)
{
	struct live_disk disk = {0};
	int r = disk_open_bundle(word, outside, &disk.bundle);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_DESCRIPTOR);
	r = live_find(disk.bundle, &disk.live);
	if (r < 0) {
		live_disk_close(&disk);
		return cli_exit_code(r, CLI_AT_DEVICE);
	}
	*out = disk;
	return 0;
}

void live_disk_close(struct live_disk *disk)
{
	pl_live_close(disk->live);
	pl_bundle_close(disk->bundle);
	*disk = (struct live_disk){0};
}

int live_exit_code(const struct live_disk *disk, const char *guid, int err, enum cli_step step)
{
	if (err != -ENOENT)
		return cli_exit_code(err, step);
	autofree char *why = strdup(pl_error());
	struct pl_chain_spec chain;
	bool is_there = pl_bundle_chain(disk->bundle, guid, &chain) == 0;
	pl_fail(err, "%s", why ? why : "");
	return cli_exit_code(err, is_there ? CLI_AT_OPEN : step);
}
