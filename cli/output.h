/* Output rows: text and JSON from one table of columns.
 *
 *	static const struct out_column columns[] = {
 *		OUT_U64("size", "size:\t\t", 0, "\n", struct row, size_sectors),
 *		OUT_TEXT("file", NULL, 0, NULL, struct row, file),       (JSON only)
 *		OUT_END,
 *	};
 *
 *	struct out out;
 *	out_begin(&out, args->json);
 *	out_row(&out, columns, &row);                one object, or
 *	out_list_begin(&out, "images"); out_row(…); … out_list_end(&out);
 *	return out_end(&out);
 */
#ifndef PLOOP_CLI_OUTPUT_H
#define PLOOP_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum out_kind { OUT_KIND_TEXT, OUT_KIND_U64, OUT_KIND_U32, OUT_KIND_BOOL, OUT_KIND_LATENCY };

struct out_column {
	const char *key;    /* in JSON; NULL: text only */
	const char *before; /* in text; NULL: JSON only */
	int width;          /* in text: right-aligned, negative: left-aligned, 0: as long as it is */
	const char *after;
	enum out_kind kind;
	size_t offset; /* of the field in the row */
};

#define OUT_COLUMN_(key, before, width, after, type, field, kind, want)                                                \
	{key,                                                                                                          \
	 before,                                                                                                       \
	 width,                                                                                                        \
	 after,                                                                                                        \
	 kind,                                                                                                         \
	 offsetof(type, field) +                                                                                       \
		 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((type *)0)->field), want) ? 1 : -1])}
#define OUT_TEXT(key, before, width, after, type, field)                                                               \
	OUT_COLUMN_(key, before, width, after, type, field, OUT_KIND_TEXT, const char *)
#define OUT_U64(key, before, width, after, type, field)                                                                \
	OUT_COLUMN_(key, before, width, after, type, field, OUT_KIND_U64, uint64_t)
#define OUT_U32(key, before, width, after, type, field)                                                                \
	OUT_COLUMN_(key, before, width, after, type, field, OUT_KIND_U32, uint32_t)
#define OUT_BOOL(key, before, width, after, type, field)                                                               \
	OUT_COLUMN_(key, before, width, after, type, field, OUT_KIND_BOOL, bool)
/* A list of numbers, JSON only. */
#define OUT_LATENCY(key, type, field) {key, NULL, 0, NULL, OUT_KIND_LATENCY, offsetof(type, field)}
#define OUT_END {NULL, NULL, 0, NULL, OUT_KIND_TEXT, 0}

struct json_object;

/* In JSON the whole output is one object; rows outside a list are merged into it. */
struct out {
	bool json;
	struct json_object *root, *list;
};

void out_begin(struct out *out, bool json);
void out_row(struct out *out, const struct out_column *columns, const void *row);
void out_list_begin(struct out *out, const char *key);
void out_list_end(struct out *out);
/* A heading or the like: nothing in JSON. */
void out_text(struct out *out, const char *text);
/* Print the JSON and release it. 0, or -ENOMEM/-EIO with a sentence. */
int out_end(struct out *out);

#endif
