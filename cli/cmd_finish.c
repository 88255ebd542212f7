/* ploop finish: fill what first writes left out, so that the image is a plain one again. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/finish_disk.h"
#include "cli/live.h"
#include "cli/resolve.h"
#include "ploop-serve.h"

#include <errno.h>

struct finish_args {
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_OUTSIDE(struct finish_args, outside),
	CLI_END,
};

static int say(int r, const char *word, bool was_unfinished)
{
	if (r == 0)
		console_say(was_unfinished ? "%s is finished" : "%s has nothing unfinished", word);
	return r;
}

static int running(struct pl_live *live, const char *word)
{
	struct pl_disk_info info;
	int r = live->ops->info(live, &info);
	if (r == 0 && info.partial_clusters > 0)
		r = finish_running(live);
	return say(r, word, r == 0 && info.partial_clusters > 0);
}

static int stopped(const struct finish_args *a, int argc, char **argv)
{
	struct disk disk;
	struct disk_options how = {.outside = &a->outside, .for_writing = true};
	int r = disk_resolve(argc, argv, &how, &disk);
	if (r != 0)
		return r;
	bool unfinished = chain_is_unfinished(&disk.chain);
	r = say(unfinished ? finish_stopped(&disk.chain) : 0, argv[argc - 1], unfinished);
	disk_close(&disk);
	return r;
}

static int bundle(const struct finish_args *a, char *word)
{
	struct live_disk disk;
	int r = live_disk_open(word, &a->outside, &disk);
	if (r != 0)
		return r;
	bool is_live = disk.live != NULL;
	r = is_live ? running(disk.live, word) : 0;
	live_disk_close(&disk);
	return is_live ? r : stopped(a, 1, &word);
}

static int device(const struct finish_args *a, const char *word)
{
	struct pl_device *d;
	int r = pl_device_find(word, NULL, &d);
	if (r < 0)
		return r;
	if (d->bundle[0])
		r = bundle(a, d->bundle);
	else
		r = pl_fail(-EOPNOTSUPP, "%s has no descriptor: it is finished when it is unmounted", d->node);
	pl_device_free(d);
	return r;
}

static int run(void *p, int argc, char **argv)
{
	const struct finish_args *a = p;
	if (argc == 1 && disk_word_is_descriptor(argv[0]))
		return bundle(a, argv[0]);
	if (argc == 1 && disk_word_is_device(argv[0]))
		return device(a, argv[0]);
	return stopped(a, argc, argv);
}

const struct cli_command cmd_finish = {
	.name = "finish",
	.summary = "Fill the clusters of a disk that are only partly written, also while it runs",
	.synopsis = {"[--outside FILE] DD", "BASE [… TOP]", "DEVICE"},
	.options = options,
	.examples = {
		{"ploop finish /vz/test", "After an umount that did not wait: stock tools read the image again"},
		{"ploop finish /dev/mapper/ploop10000", "Now, while it is mounted"},
		{"ploop finish base.hds copy-of-top.hds", "Without a descriptor, base first"},
	},
	.args_bytes = sizeof(struct finish_args),
	.min_words = 1,
	.max_words = -1,
	.run = run,
};
