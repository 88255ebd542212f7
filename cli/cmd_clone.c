/* ploop clone: a disk that begins with the state of another, sharing its images or copying them; and templates. */
#include "cli/attached.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/freeze.h"
#include "cli/live.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/resolve.h"

#include <errno.h>

struct clone_args {
	bool linked, full, seal, keep_identity, freeze, json;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_FLAG(0, "linked", struct clone_args, linked,
		 "share the images of the source as hard links: instant, in the same file system"),
	CLI_FLAG(0, "full", struct clone_args, full, "copy the images"),
	CLI_FLAG(0, "seal", struct clone_args, seal,
		 "make a template of a stopped disk: nobody can write it any more"),
	CLI_UUID('u', "uuid", struct clone_args, uuid, "begin with this snapshot instead of the present state"),
	CLI_FLAG('k', "keep-identity", struct clone_args, keep_identity,
		 "keep the GUIDs of the partition table and the UUID of the file system"),
	CLI_FLAG(0, "freeze", struct clone_args, freeze,
		 "freeze the mounted file system of a running disk while its state is taken"),
	CLI_OUTSIDE(struct clone_args, outside),
	CLI_JSON(struct clone_args, json),
	CLI_END,
};

struct clone_row {
	const char *guid, *identity;
	bool made_snapshot;
};

static const struct out_column columns[] = {
	OUT_TEXT("guid", NULL, 0, NULL, struct clone_row, guid),
	OUT_BOOL("made_snapshot", NULL, 0, NULL, struct clone_row, made_snapshot),
	OUT_TEXT("identity", NULL, 0, NULL, struct clone_row, identity),
	OUT_END,
};

static int check_words(const struct clone_args *a, int argc)
{
	if (a->linked + a->full + a->seal != 1)
		return cli_misuse("what kind of clone: --linked or --full (or --seal, for a template)");
	if (a->seal && (a->uuid.text[0] || a->keep_identity || a->freeze || a->json))
		return cli_misuse("--seal takes no other option");
	if (argc != (a->seal ? 1 : 2))
		return cli_misuse(a->seal ? "--seal takes one disk" : "the folder of the clone is missing");
	return 0;
}

static int seal(const struct live_disk *disk, const char *word)
{
	int r = attached_refuse(word);
	if (r == 0)
		r = cli_exit_code(pl_bundle_seal(disk->bundle), CLI_AT_WRITE);
	if (r == 0)
		console_say("%s is a template now: clones can be made of it, and it cannot be written",
			    pl_bundle_path(disk->bundle));
	return r;
}

static int report(const struct clone_args *a, const struct pl_clone_result *result, const char *target)
{
	if (a->json) {
		struct clone_row row = {result->guid, result->identity, result->made_snapshot};
		struct out out;
		out_begin(&out, true);
		out_row(&out, columns, &row);
		return out_end(&out);
	}
	if (result->made_snapshot)
		console_say("The disk has the new snapshot %s, on which the clone stands", result->guid);
	if (result->identity[0])
		console_say("Identity: %s", result->identity);
	console_say("ploop clone %s has been successfully created", target);
	return 0;
}

static int clone(const struct clone_args *a, const struct live_disk *disk, const char *target, struct freeze *freeze)
{
	struct pl_progress progress = progress_begin("Copying");
	const char *guid = a->uuid.text[0] ? a->uuid.text : NULL;
	struct pl_clone_options how = {
		.size = sizeof(how),
		.guid = guid,
		.full = a->full,
		.keep_identity = a->keep_identity,
		.progress = &progress,
		.freeze = freeze ? freeze_set : NULL,
		.freeze_arg = freeze,
	};
	struct pl_clone_result result;
	int r = pl_clone(disk->bundle, disk->live, target, &how, &result);
	console_progress_end();
	if (r == 0)
		r = report(a, &result, target);
	return cli_exit_code(r, CLI_AT_CREATE);
}

static int clone_frozen(const struct clone_args *a, const struct live_disk *disk, const char *target)
{
	if (!a->freeze || !disk->live)
		return clone(a, disk, target, NULL);
	struct freeze freeze;
	int r = freeze_begin(disk->bundle, &freeze);
	if (r < 0)
		return r == -ENOENT ? EXIT_DEV_NOT_MOUNTED : cli_exit_code(r, CLI_AT_DEVICE);
	r = clone(a, disk, target, &freeze);
	freeze_end(&freeze);
	return r;
}

/* The exit code for a snapshot that is not there, before anything is made. */
static int check_snapshot(const struct clone_args *a, const struct live_disk *disk)
{
	struct pl_chain_spec chain;
	int r = a->uuid.text[0] ? pl_bundle_chain(disk->bundle, a->uuid.text, &chain) : 0;
	return cli_exit_code(r, CLI_AT_SNAPSHOT);
}

static int run(void *p, int argc, char **argv)
{
	const struct clone_args *a = p;
	struct live_disk disk;
	int r = check_words(a, argc);
	if (r != 0)
		return r;
	if (!disk_word_is_descriptor(argv[0]))
		return cli_misuse("%s is neither a descriptor nor the folder of a disk", argv[0]);
	r = live_disk_open(argv[0], &a->outside, &disk);
	if (r != 0)
		return r;
	r = check_snapshot(a, &disk);
	if (r == 0)
		r = a->seal ? seal(&disk, argv[0]) : clone_frozen(a, &disk, argv[1]);
	live_disk_close(&disk);
	return r;
}

const struct cli_command cmd_clone = {
	.name = "clone",
	.summary = "Make a disk that begins with the state of another",
	.synopsis = {
		"--linked [options] DD DIR",
		"--full [options] DD DIR",
		"--seal DD",
	},
	.options = options,
	.examples = {
		{"ploop clone --seal /vz/template", "Nobody writes this disk any more"},
		{"ploop clone --linked /vz/template /vz/ct1", "A container disk, in milliseconds"},
		{"ploop clone --full -u {UUID} /vz/ct1 /backup/ct1", "A copy of an older state, on its own"},
	},
	.args_bytes = sizeof(struct clone_args),
	.min_words = 1,
	.max_words = 2,
	.stock = true,
	.run = run,
};
