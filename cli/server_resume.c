/* ploop server resume: what a keeper runs when a server has died. Finds the images as the descriptor names them now,
 * and becomes the next server. People have no use for it. */
#include "cli/server.h"

#include "ploop-serve.h"

#include <unistd.h>

struct resume_args {
	bool read_only;
	struct cli_uuid uuid;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_FLAG('r', "read-only", struct resume_args, read_only, "the disk was open for reading"),
	CLI_UUID('u', "uuid", struct resume_args, uuid, "it was this snapshot"),
	CLI_OUTSIDE(struct resume_args, outside),
	CLI_END,
};

static void add(struct resume_words *w, const char *word)
{
	w->words[w->count++] = word;
}

void resume_words_of(const struct disk *disk, const struct disk_options *how, struct resume_words *w)
{
	w->count = 0;
	ssize_t n = readlink("/proc/self/exe", w->program, sizeof(w->program) - 1);
	if (disk->kind != DISK_BUNDLE || n <= 0)
		return;
	w->program[n] = '\0';
	add(w, w->program);
	add(w, "server");
	add(w, "resume");
	if (!how->for_writing)
		add(w, "-r");
	if (how->uuid && how->uuid->text[0]) {
		add(w, "-u");
		add(w, how->uuid->text);
	}
	for (size_t i = 0; how->outside && i < how->outside->count; i++) {
		add(w, "--outside");
		add(w, how->outside->items[i]);
	}
	add(w, pl_bundle_path(disk->bundle));
}

static int run(void *p, int argc, char **argv)
{
	const struct resume_args *a = p;
	struct disk disk;
	struct disk_options how = {.outside = &a->outside, .uuid = &a->uuid, .for_writing = !a->read_only};
	int r = disk_resolve(1, argv, &how, &disk);
	if (r == 0) {
		r = pl_serve_exec_again(argv + 1, (size_t)argc - 1, &disk.chain, disk.lock_fd);
		disk_close(&disk);
	}
	pl_serve_cannot(pl_error());
	return r;
}

const struct cli_command server_resume = {
	.name = "resume",
	.summary = "What a keeper runs to replace a server that died",
	.synopsis = {"[options] DD -- WORDS"},
	.options = options,
	.args_bytes = sizeof(struct resume_args),
	.min_words = 2,
	.max_words = -1,
	.parsed_output = true,
	.run = run,
};
