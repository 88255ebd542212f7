/* ploop check: one image as it is told, or every image of a disk, base first, as a mount would check them. */
#include "cli/attached.h"
#include "cli/command.h"
#include "cli/console.h"
#include "cli/finish_disk.h"
#include "cli/output.h"
#include "cli/resolve.h"

#include <stdio.h>

struct check_args {
	bool force, hard_force, check, ro, silent, drop_in_use, raw, repair_sparse, defrag, json;
	uint64_t cluster_sectors;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_FLAG('f', "force", struct check_args, force,
		 "scan even when cleanly closed, and repair what loses no data"),
	CLI_FLAG('F', "hard-force", struct check_args, hard_force,
		 "as --force, and drop table entries whose data is lost"),
	CLI_FLAG('c', "check", struct check_args, check, "look for clusters that are used twice"),
	CLI_FLAG('r', "ro", struct check_args, ro, "change nothing"),
	CLI_FLAG('s', "silent", struct check_args, silent, "print errors only"),
	CLI_FLAG('d', "drop-inuse", struct check_args, drop_in_use, "clear the in-use marker when the content is fine"),
	CLI_FLAG('R', "raw", struct check_args, raw, "the image is raw: there is nothing to verify"),
	CLI_NUMBER('b', "blocksize", "SECTORS", struct check_args, cluster_sectors, "cluster size of a raw image"),
	CLI_FLAG('S', "repair-sparse", struct check_args, repair_sparse,
		 "give back the space of clusters that nothing uses (implies -c)"),
	CLI_FLAG('D', "defrag", struct check_args, defrag, "accepted and ignored"),
	CLI_UUID('u', "uuid", struct check_args, uuid, "check the chain up to this snapshot (with a descriptor)"),
	CLI_OUTSIDE(struct check_args, outside),
	CLI_JSON(struct check_args, json),
	CLI_END,
};

struct finding_row {
	const char *image, *id, *text, *verdict;
	bool is_error;
};

static const struct out_column finding_columns[] = {
	OUT_TEXT("image", NULL, 0, NULL, struct finding_row, image),
	OUT_TEXT("id", NULL, 0, NULL, struct finding_row, id),
	OUT_TEXT("text", NULL, 0, NULL, struct finding_row, text),
	OUT_TEXT("verdict", NULL, 0, NULL, struct finding_row, verdict),
	OUT_BOOL("error", NULL, 0, NULL, struct finding_row, is_error),
	OUT_END,
};

struct result_row {
	uint32_t exit_code;
	const char *error;
};

static const struct out_column result_columns[] = {
	OUT_U32("exit_code", NULL, 0, NULL, struct result_row, exit_code),
	OUT_TEXT("error", NULL, 0, NULL, struct result_row, error),
	OUT_END,
};

/* One run over one image. */
struct check_run {
	const struct check_args *args;
	const char *image;
	struct out *out;
	bool told_error;
};

static const char *verdict_word(enum pl_verdict verdict)
{
	static const char *const words[] = {
		[PL_VERDICT_FIXED] = "Fixed",
		[PL_VERDICT_IGNORED] = "Ignored",
		[PL_VERDICT_SKIPPED] = "Skipped",
		[PL_VERDICT_FATAL] = "FATAL",
	};
	return words[verdict];
}

static void print_finding(const struct check_args *args, const struct pl_finding *finding)
{
	const char *word = verdict_word(finding->verdict);
	bool is_error = finding->is_error || finding->verdict == PL_VERDICT_FATAL;
	if (args->silent && !is_error)
		return;
	console_progress_end();
	FILE *to = is_error ? stderr : stdout;
	fprintf(to, word ? "%s... \n%s\n" : "%s\n", finding->text, word);
	fflush(to);
}

static void on_finding(void *arg, const struct pl_finding *finding)
{
	struct check_run *run = arg;
	run->told_error |= finding->is_error || finding->verdict == PL_VERDICT_FATAL;
	if (!run->args->json) {
		print_finding(run->args, finding);
		return;
	}
	struct finding_row row = {
		.image = run->image,
		.id = finding->id,
		.text = finding->text,
		.verdict = verdict_word(finding->verdict),
		.is_error = finding->is_error,
	};
	out_row(run->out, finding_columns, &row);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	console_progress("Checking", done, total);
}

static uint32_t flags_of(const struct check_args *a)
{
	return (a->force ? PL_CHECK_FORCE : 0) | (a->hard_force ? PL_CHECK_FORCE | PL_CHECK_HARD_FORCE : 0) |
	       (a->check ? PL_CHECK_DUPLICATES : 0) | (a->ro ? PL_CHECK_READONLY : 0) |
	       (a->drop_in_use ? PL_CHECK_DROP_IN_USE : 0) | (a->repair_sparse ? PL_CHECK_REPAIR_SPARSE : 0);
}

/* Exit code of one image. The sentence stays only when no finding has said it. */
static int check_image(const struct check_args *args, const struct pl_image_ref *image, uint32_t flags,
		       uint32_t cluster_sectors, struct out *out)
{
	struct check_run run = {.args = args, .image = image->path, .out = out};
	struct pl_check_options o = {
		.size = sizeof(o),
		.flags = flags,
		.cluster_sectors = cluster_sectors,
		.on_finding = on_finding,
		.on_progress = on_progress,
		.arg = &run,
	};
	int code = 0;
	int r = pl_image_check(image, &o, &code);
	if (run.told_error)
		pl_error_clear();
	return code ? code : cli_exit_code(r, CLI_AT_OPEN);
}

static int check_chain(const struct check_args *args, const struct pl_chain_spec *chain, struct out *out)
{
	if (args->cluster_sectors)
		console_warn("-b is ignored: the descriptor says the cluster size");
	uint32_t flags = (flags_of(args) | PL_CHECK_DUPLICATES) & ~PL_CHECK_DROP_IN_USE;
	for (size_t i = 0; i < chain->count; i++) {
		bool readonly = args->ro || i + 1 < chain->count;
		uint32_t mode = readonly ? PL_CHECK_READONLY : PL_CHECK_DROP_IN_USE;
		int code = check_image(args, &chain->images[i], flags | mode, chain->cluster_sectors, out);
		if (code == EXIT_PLOOPINUSE && readonly && !args->ro) { /* a crash left its marker: that goes */
			mode = PL_CHECK_DROP_IN_USE;
			code = check_image(args, &chain->images[i], flags | mode, chain->cluster_sectors, out);
		}
		if (code != 0) {
			console_warn("%s : irrecoverable errors (%s)", chain->images[i].path, readonly ? "ro" : "rw");
			return code;
		}
	}
	return 0;
}

static int check_one_file(const struct check_args *args, const char *path, struct out *out)
{
	if (args->uuid.text[0])
		return cli_misuse("-u needs a descriptor");
	if (args->raw && args->cluster_sectors == 0)
		return cli_misuse("a raw image needs -b, the cluster size in sectors");
	if (args->cluster_sectors > UINT32_MAX)
		return cli_misuse("cluster size %llu is too large", (unsigned long long)args->cluster_sectors);
	struct pl_image_ref image = {
		.path = path,
		.dir_fd = -1,
		.format = args->raw ? PL_FORMAT_RAW : PL_FORMAT_PLOOP,
	};
	return check_image(args, &image, flags_of(args), args->raw ? (uint32_t)args->cluster_sectors : 0, out);
}

/* Its top has clusters that are partly written: what is below it has the rest, so that only a disk can be finished. */
static int finish_top(const struct check_args *args, const struct pl_chain_spec *chain, struct out *out)
{
	struct check_run run = {.args = args, .image = chain->images[chain->count - 1].path, .out = out};
	int r = finish_stopped(chain);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_OPEN);
	on_finding(&run, &(struct pl_finding){"unfinished-clusters", "The image had clusters that were partly written",
					      PL_VERDICT_FIXED, false});
	return 0;
}

/* Only who may change the disk locks it. */
static int open_disk(const struct check_args *args, char **argv, struct disk *disk)
{
	struct disk_options how = {.outside = &args->outside, .uuid = &args->uuid};
	int r = disk_resolve(1, argv, &how, disk);
	how.for_writing = r == 0 && !args->ro && !args->uuid.text[0] && chain_is_unfinished(&disk->chain);
	if (!how.for_writing)
		return r;
	disk_close(disk);
	return disk_resolve(1, argv, &how, disk);
}

static int check_words(const struct check_args *args, char **argv, struct out *out)
{
	if (!disk_word_is_descriptor(argv[0]))
		return check_one_file(args, argv[0], out);
	int r = attached_refuse(argv[0]);
	if (r != 0)
		return r;
	struct disk disk;
	r = open_disk(args, argv, &disk);
	if (r != 0)
		return r;
	if (disk.lock_fd && chain_is_unfinished(&disk.chain))
		r = finish_top(args, &disk.chain, out);
	if (r == 0)
		r = check_chain(args, &disk.chain, out);
	disk_close(&disk);
	return r;
}

static int run(void *p, int argc, char **argv)
{
	struct check_args *args = p;
	struct out out;
	out_begin(&out, args->json);
	out_list_begin(&out, "findings");
	int code = check_words(args, argv, &out);
	out_list_end(&out);
	struct result_row row = {(uint32_t)code, code ? pl_error() : NULL};
	if (code != CLI_MISUSE)
		out_row(&out, result_columns, &row);
	int r = out_end(&out);
	return code ? code : r;
}

const struct cli_command cmd_check = {
	.name = "check",
	.alias = "fsck",
	.summary = "Check, and repair, the images of a disk",
	.synopsis = {"[-u UUID] [options] DD", "[options] DELTA"},
	.options = options,
	.examples = {
		{"ploop check /vz/test/DiskDescriptor.xml", "Check a disk as a mount does"},
		{"ploop check -f -c -r root.hds", "Look at everything in one image and change nothing"},
	},
	.args_bytes = sizeof(struct check_args),
	.min_words = 1,
	.max_words = 1,
	.stock = true,
	.run = run,
};
