/* ploop list: the running disks. */
#include "cli/command.h"
#include "cli/console.h"
#include "cli/output.h"
#include "ploop-serve.h"

#include "base/cleanup.h"

struct list_args {
	bool all, files, json;
};

static const struct cli_option options[] = {
	CLI_FLAG('a', "all", struct list_args, all, "print mount points too"),
	CLI_FLAG('f', "files", struct list_args, files, "print all images of a disk, not only the base"),
	CLI_JSON(struct list_args, json),
	CLI_END,
};

struct device_row {
	const char *name, *base, *component, *component_tab, *mount_point, *mount_tab;
	const char *node, *partition, *bundle, *top, *transport, *why;
	const char *waits;
	uint64_t server_pid;
	bool readonly, alive, kept, starting, waiting;
};

static const struct out_column columns[] = {
	OUT_TEXT("name", "", 0, "\t", struct device_row, name),
	OUT_TEXT("base", "", 0, "", struct device_row, base),
	OUT_TEXT(NULL, "", 0, "", struct device_row, component_tab),
	OUT_TEXT("component", "", 0, "", struct device_row, component),
	OUT_TEXT(NULL, "", 0, "", struct device_row, mount_tab),
	OUT_TEXT("mount_point", "", 0, "\n", struct device_row, mount_point),
	OUT_TEXT("device", NULL, 0, NULL, struct device_row, node),
	OUT_TEXT("partition", NULL, 0, NULL, struct device_row, partition),
	OUT_TEXT("bundle", NULL, 0, NULL, struct device_row, bundle),
	OUT_TEXT("top", NULL, 0, NULL, struct device_row, top),
	OUT_TEXT("transport", NULL, 0, NULL, struct device_row, transport),
	OUT_U64("server_pid", NULL, 0, NULL, struct device_row, server_pid),
	OUT_BOOL("readonly", NULL, 0, NULL, struct device_row, readonly),
	OUT_BOOL("alive", NULL, 0, NULL, struct device_row, alive),
	OUT_TEXT("waits", NULL, 0, NULL, struct device_row, waits),
	OUT_BOOL("kept", NULL, 0, NULL, struct device_row, kept),
	OUT_BOOL("starting", NULL, 0, NULL, struct device_row, starting),
	OUT_BOOL("waiting", NULL, 0, NULL, struct device_row, waiting),
	OUT_TEXT("why", NULL, 0, NULL, struct device_row, why),
	OUT_END,
};

struct image_row {
	const char *path;
};

static const struct out_column image_columns[] = {
	OUT_TEXT(NULL, "\t\t", 0, "\n", struct image_row, path),
	OUT_END,
};

static int print_device(const struct list_args *a, const struct pl_device *d, struct out *out)
{
	autofree char **points = NULL;
	char waits[5000];
	int r = a->all || a->json ? pl_device_mount_points(d, &points) : 0;
	if (r < 0)
		return r;
	pl_device_waits(d, waits, sizeof(waits));
	const char *mount_point = points && points[0] ? points[0] : "";
	struct device_row row = {
		.name = d->name,
		.base = d->images[0],
		.component = d->component,
		.component_tab = d->component[0] ? "\t" : "",
		.mount_point = mount_point,
		.mount_tab = mount_point[0] ? "\t" : "",
		.node = d->node,
		.partition = d->partition,
		.bundle = d->bundle,
		.top = d->images[d->image_count - 1],
		.transport = d->transport,
		.server_pid = d->server_pid,
		.readonly = d->readonly,
		.alive = d->alive,
		.waits = waits,
		.kept = d->kept,
		.starting = d->starting,
		.waiting = d->waiting,
		.why = d->why,
	};
	out_row(out, columns, &row);
	if (waits[0] && !a->json)
		console_warn("%s: %s", d->name, waits); /* not in the lines that others parse */
	for (size_t i = 1; i < d->image_count && a->files && !a->json; i++)
		out_row(out, image_columns, &(struct image_row){d->images[i]});
	return 0;
}

static void warn_lost(void *arg, const char *sentence)
{
	console_warn("%s", sentence);
}

static int run(void *p, int argc, char **argv)
{
	struct pl_device **devices;
	size_t count;
	int r = pl_device_list(&devices, &count);
	if (r < 0)
		return cli_exit_code(r, CLI_AT_DEVICE);
	struct out out;
	out_begin(&out, ((struct list_args *)p)->json);
	out_list_begin(&out, "devices");
	for (size_t i = 0; i < count && r == 0; i++)
		r = print_device(p, devices[i], &out);
	out_list_end(&out);
	pl_device_list_free(devices, count);
	if (r == 0)
		r = pl_device_lost(warn_lost, NULL);
	int ended = out_end(&out);
	return cli_exit_code(r < 0 ? r : ended, CLI_AT_DEVICE);
}

const struct cli_command cmd_list = {
	.name = "list",
	.summary = "List the running disks",
	.synopsis = {"[-a] [-f] [--json]"},
	.options = options,
	.examples = {
		{"ploop list", "Name and base image of each running disk"},
		{"ploop list --json", "Everything that is known about them"},
	},
	.args_bytes = sizeof(struct list_args),
	.stock = true,
	.parsed_output = true,
	.run = run,
};
