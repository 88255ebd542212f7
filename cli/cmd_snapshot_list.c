/* ploop snapshot-list: the tree of a disk's snapshots, one line each. Works on a disk in use: it only looks. */
#include "cli/command.h"
#include "cli/output.h"
#include "cli/resolve.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct list_args {
	bool no_header, snapshots_only, json;
	const char *fields;
	struct cli_uuid uuid, id;
	struct cli_list outside;
};

static const struct cli_option options[] = {
	CLI_FLAG('H', "no-header", struct list_args, no_header, "leave out the first line"),
	CLI_TEXT('o', "output", "FIELDS", struct list_args, fields,
		 "these columns, with commas: parent_uuid, current, uuid, fname"),
	CLI_UUID('u', "uuid", struct list_args, uuid, "only this snapshot and those it stands on"),
	CLI_UUID(0, "id", struct list_args, id, "the same"),
	CLI_FLAG('s', "snapshot", struct list_args, snapshots_only,
		 "leave out the present state and mark the snapshot it stands on"),
	CLI_OUTSIDE(struct list_args, outside),
	CLI_JSON(struct list_args, json),
	CLI_END,
};

struct snapshot_row {
	const char *parent_uuid, *mark, *uuid, *fname;
	bool current, temporary;
};

/* In the order they are printed by default. */
static const struct field {
	const char *name, *heading;
	int width;
	size_t offset; /* of its text in the row */
} fields[] = {
	{"parent_uuid", "PARENT_UUID", -38, offsetof(struct snapshot_row, parent_uuid)},
	{"current", "C", -1, offsetof(struct snapshot_row, mark)},
	{"uuid", "UUID", -38, offsetof(struct snapshot_row, uuid)},
	{"fname", "FNAME", -32, offsetof(struct snapshot_row, fname)},
};

static const struct out_column json_columns[] = {
	OUT_TEXT("parent_uuid", NULL, 0, NULL, struct snapshot_row, parent_uuid),
	OUT_BOOL("current", NULL, 0, NULL, struct snapshot_row, current),
	OUT_TEXT("uuid", NULL, 0, NULL, struct snapshot_row, uuid),
	OUT_TEXT("fname", NULL, 0, NULL, struct snapshot_row, fname),
	OUT_BOOL("temporary", NULL, 0, NULL, struct snapshot_row, temporary),
	OUT_END,
};

/* ------------------------------------------------------------------ columns */

#define MAX_COLUMNS 16

struct table {
	size_t count;
	struct out_column columns[MAX_COLUMNS + 1];
	const char *headings[MAX_COLUMNS];
};

static int add_column(struct table *t, const char *name, size_t bytes)
{
	if (t->count == MAX_COLUMNS)
		return pl_fail(-EINVAL, "more than %d columns", MAX_COLUMNS);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const struct field *f = &fields[i];
		if (strlen(f->name) != bytes || strncasecmp(f->name, name, bytes) != 0)
			continue;
		t->headings[t->count] = f->heading;
		t->columns[t->count++] =
			(struct out_column){NULL, "", f->width, " ", OUT_KIND_TEXT, f->offset};
		return 0;
	}
	return pl_fail(-EINVAL, "Unknown field: %.*s; there are parent_uuid, current, uuid and fname", (int)bytes,
		       name);
}

static int choose_columns(const char *wanted, struct table *t)
{
	int r = 0;
	for (const char *at = wanted; r == 0;) {
		size_t bytes = strcspn(at, ",");
		r = add_column(t, at, bytes);
		at += bytes;
		if (*at++ == '\0')
			break;
	}
	return r;
}

static void print_header(const struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		printf("%*s ", t->columns[i].width, t->headings[i]);
	printf("\n");
}

/* The last column of a row is as long as its text, that of the header is not. */
static void end_rows_at_last_column(struct table *t)
{
	t->columns[t->count - 1].width = 0;
	t->columns[t->count - 1].after = "\n";
}

/* ------------------------------------------------------------------ rows */

struct tree {
	struct pl_snapshot *nodes;
	size_t count;
	const char *current; /* the one to mark; NULL: none */
	const struct list_args *args;
};

static const struct pl_snapshot *find_node(const struct tree *t, const char *guid)
{
	for (size_t i = 0; i < t->count; i++)
		if (strcasecmp(t->nodes[i].guid, guid) == 0)
			return &t->nodes[i];
	return NULL;
}

static const struct pl_snapshot *top_of(const struct tree *t)
{
	for (size_t i = 0; i < t->count; i++)
		if (t->nodes[i].is_top)
			return &t->nodes[i];
	return NULL;
}

static void print_node(const struct tree *t, const struct pl_snapshot *s, const struct out_column *columns,
		       struct out *out)
{
	if (t->args->snapshots_only && s->is_top)
		return;
	bool current = t->current && strcasecmp(s->guid, t->current) == 0;
	struct snapshot_row row = {
		.parent_uuid = s->parent_guid,
		.mark = current ? "*" : "",
		.uuid = s->guid,
		.fname = s->path,
		.current = current,
		.temporary = s->is_temporary,
	};
	out_row(out, columns, &row);
}

/* From @guid down to the base; the engine has checked that the tree has no cycle. */
static void print_chain(const struct tree *t, const char *guid, const struct out_column *columns, struct out *out)
{
	for (const struct pl_snapshot *s = find_node(t, guid); s; s = find_node(t, s->parent_guid))
		print_node(t, s, columns, out);
}

static int print_tree(struct tree *t, struct table *table)
{
	const struct list_args *a = t->args;
	const char *guid = a->uuid.text[0] ? a->uuid.text : a->id.text[0] ? a->id.text : NULL;
	const struct out_column *columns = a->json ? json_columns : table->columns;
	const struct pl_snapshot *top = top_of(t);
	t->current = !top ? NULL : a->snapshots_only ? top->parent_guid : top->guid;
	if (guid && !find_node(t, guid))
		return pl_fail(-ENOENT, "there is no snapshot %s", guid);
	if (!a->no_header && !a->json)
		print_header(table);
	end_rows_at_last_column(table);

	struct out out;
	out_begin(&out, a->json);
	out_list_begin(&out, "snapshots");
	if (guid)
		print_chain(t, guid, columns, &out);
	for (size_t i = 0; i < t->count && !guid; i++)
		print_node(t, &t->nodes[i], columns, &out);
	out_list_end(&out);
	return out_end(&out);
}

static int run(void *p, int argc, char **argv)
{
	struct tree tree = {.args = p};
	struct table table = {0};
	struct pl_bundle *bundle;
	int r = choose_columns(tree.args->fields ? tree.args->fields : "parent_uuid,current,uuid,fname", &table);
	if (r == 0)
		r = disk_open_bundle(argv[0], &tree.args->outside, &bundle);
	if (r < 0)
		return r;
	r = pl_snapshot_list(bundle, &tree.nodes, &tree.count);
	if (r == 0)
		r = print_tree(&tree, &table);
	free(tree.nodes);
	pl_bundle_close(bundle);
	return r;
}

const struct cli_command cmd_snapshot_list = {
	.name = "snapshot-list",
	.summary = "List the snapshots of a disk",
	.synopsis = {"[-H] [-o FIELDS] [-u UUID] [-s] [--json] DD"},
	.options = options,
	.examples = {
		{"ploop snapshot-list /vz/test", "Each snapshot with its parent and its image"},
		{"ploop snapshot-list -H -s -o current,uuid /vz/test", "Their ids, and which one the disk stands on"},
	},
	.args_bytes = sizeof(struct list_args),
	.min_words = 1,
	.max_words = 1,
	.failure_code = 1,
	.parsed_output = true,
	.run = run,
};
