/* Text is printed as it comes; JSON is collected and printed at the end. */
#include "cli/output.h"

#include "base/units.h"
#include "ploop.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

void out_begin(struct out *out, bool json)
{
	*out = (struct out){.json = json, .root = json ? json_object_new_object() : NULL};
}

static uint64_t number_of(const struct out_column *column, const void *field)
{
	return column->kind == OUT_KIND_U64 ? *(const uint64_t *)field : *(const uint32_t *)field;
}

static const char *text_of(const struct out_column *column, const void *field, char number[24])
{
	if (column->kind == OUT_KIND_BOOL)
		return *(const bool *)field ? "yes" : "no";
	if (column->kind == OUT_KIND_TEXT)
		return *(const char *const *)field ? *(const char *const *)field : "";
	snprintf(number, 24, "%" PRIu64, number_of(column, field));
	return number;
}

static struct json_object *latency_of(const uint64_t *buckets)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < PL_LATENCY_BUCKETS; i++)
		json_object_array_add(list, json_object_new_uint64(buckets[i]));
	return list;
}

static struct json_object *json_of(const struct out_column *column, const void *field)
{
	if (column->kind == OUT_KIND_BOOL)
		return json_object_new_boolean(*(const bool *)field);
	if (column->kind == OUT_KIND_LATENCY)
		return latency_of(field);
	if (column->kind != OUT_KIND_TEXT)
		return json_object_new_uint64(number_of(column, field));
	const char *text = *(const char *const *)field;
	return text ? json_object_new_string(text) : NULL;
}

static void print_columns(const struct out_column *columns, const void *row)
{
	for (const struct out_column *c = columns; c->key || c->before; c++) {
		char number[24];
		if (c->before)
			printf("%s%*s%s", c->before, c->width, text_of(c, (const char *)row + c->offset, number),
			       c->after);
	}
}

static void collect_columns(struct json_object *object, const struct out_column *columns, const void *row)
{
	for (const struct out_column *c = columns; c->key || c->before; c++)
		if (c->key)
			json_object_object_add(object, c->key, json_of(c, (const char *)row + c->offset));
}

void out_row(struct out *out, const struct out_column *columns, const void *row)
{
	if (!out->json) {
		print_columns(columns, row);
		return;
	}
	if (!out->list) {
		collect_columns(out->root, columns, row);
		return;
	}
	struct json_object *item = json_object_new_object();
	collect_columns(item, columns, row);
	json_object_array_add(out->list, item);
}

void out_list_begin(struct out *out, const char *key)
{
	if (!out->json)
		return;
	out->list = json_object_new_array();
	json_object_object_add(out->root, key, out->list);
}

void out_list_end(struct out *out)
{
	out->list = NULL;
}

void out_text(struct out *out, const char *text)
{
	if (!out->json)
		fputs(text, stdout);
}

int out_end(struct out *out)
{
	if (!out->json)
		return 0;
	int style = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE;
	const char *text = json_object_to_json_string_ext(out->root, style);
	int r = text ? 0 : pl_fail(-ENOMEM, "no memory for the JSON text");
	if (text && puts(text) == EOF)
		r = pl_fail(-EIO, "standard output: %s", strerror(errno));
	json_object_put(out->root);
	out->root = NULL;
	return r;
}
