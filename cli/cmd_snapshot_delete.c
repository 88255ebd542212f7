/* ploop snapshot-delete: remove a snapshot; what it alone has goes, what others need is merged. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/live.h"
#include "cli/progress.h"

struct delete_args {
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_UUID('u', "uuid", struct delete_args, uuid, "the snapshot to remove"),
	CLI_OUTSIDE(struct delete_args, outside),
	CLI_END,
};

static void say_end(const char *guid, enum pl_snapshot_end end)
{
	switch (end) {
	case PL_SNAPSHOT_REMOVED:
		console_say("ploop snapshot %s has been successfully deleted", guid);
		return;
	case PL_SNAPSHOT_MERGED:
		console_say("ploop snapshot merged");
		return;
	case PL_SNAPSHOT_DEFERRED:
		console_warn("Snapshot %s has several children: it goes when one or none is left", guid);
	}
}

static int delete_snapshot(const struct live_disk *disk, const char *guid)
{
	struct pl_progress progress = progress_begin("Merging");
	enum pl_snapshot_end end;
	int r = pl_snapshot_delete(disk->bundle, disk->live, guid, &progress, &end);
	if (r < 0)
		return live_exit_code(disk, guid, r, CLI_AT_MERGE);
	say_end(guid, end);
	return 0;
}

static int run(void *p, int argc, char **argv)
{
	const struct delete_args *a = p;
	struct live_disk disk;
	int r = a->uuid.text[0] ? 0 : cli_misuse("which snapshot? -u UUID");
	if (r == 0)
		r = live_disk_open(argv[0], &a->outside, &disk);
	if (r != 0)
		return r;
	r = delete_snapshot(&disk, a->uuid.text);
	live_disk_close(&disk);
	return r;
}

const struct cli_command cmd_snapshot_delete = {
	.name = "snapshot-delete",
	.summary = "Remove a snapshot of a disk, also while it runs",
	.synopsis = {"-u UUID DD"},
	.options = options,
	.examples = {{"ploop snapshot-delete -u {UUID} /vz/test", "The state of that moment is forgotten"}},
	.args_bytes = sizeof(struct delete_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
