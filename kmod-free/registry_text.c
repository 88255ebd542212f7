/* The text of a state file: a line "key value" per field; "\" and newline in a value are "\\" and "\n". */
#include "kmod-free/registry.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum field_kind { FIELD_ARRAY, FIELD_STRING, FIELD_U64, FIELD_BOOL };

struct field {
	const char *key;
	enum field_kind kind;
	size_t offset, size; /* FIELD_ARRAY: its bytes */
};

#define FIELD(kind, name) {#name, kind, offsetof(struct pl_device, name), sizeof(((struct pl_device *)0)->name)}
static const struct field fields[] = {
	FIELD(FIELD_ARRAY, name),      FIELD(FIELD_ARRAY, node),        FIELD(FIELD_ARRAY, partition),
	FIELD(FIELD_ARRAY, transport), FIELD(FIELD_STRING, component),  FIELD(FIELD_STRING, bundle),
	FIELD(FIELD_BOOL, readonly),   FIELD(FIELD_U64, dev),           FIELD(FIELD_U64, partition_dev),
	FIELD(FIELD_U64, server_pid),  FIELD(FIELD_U64, server_start),  FIELD(FIELD_U64, backing),
	FIELD(FIELD_ARRAY, front),     FIELD(FIELD_U64, raw_dev),
};
#define IMAGE_KEY "image"

static void put_text(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s ", key);
	for (const char *p = value; *p; p++) {
		if (*p == '\n')
			fputs("\\n", out);
		else if (*p == '\\')
			fputs("\\\\", out);
		else
			fputc(*p, out);
	}
	fputc('\n', out);
}

static void put_field(FILE *out, const struct field *f, const struct pl_device *device)
{
	const void *at = (const char *)device + f->offset;
	switch (f->kind) {
	case FIELD_ARRAY:
		put_text(out, f->key, at);
		break;
	case FIELD_STRING:
		put_text(out, f->key, *(char *const *)at);
		break;
	case FIELD_U64:
		fprintf(out, "%s %" PRIu64 "\n", f->key, *(const uint64_t *)at);
		break;
	case FIELD_BOOL:
		fprintf(out, "%s %d\n", f->key, *(const bool *)at);
		break;
	}
}

char *registry_encode(const struct pl_device *device)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);
	if (!out)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		put_field(out, &fields[i], device);
	for (size_t i = 0; i < device->image_count; i++)
		put_text(out, IMAGE_KEY, device->images[i]);
	bool failed = ferror(out);
	if (fclose(out) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

static void unescape(char *value)
{
	char *to = value;
	for (char *from = value; *from; from++) {
		if (*from == '\\' && from[1])
			*to++ = *++from == 'n' ? '\n' : *from;
		else
			*to++ = *from;
	}
	*to = '\0';
}

static int take_string(char **to, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

static int take_field(const struct field *f, const char *value, struct pl_device *device)
{
	void *at = (char *)device + f->offset;
	switch (f->kind) {
	case FIELD_ARRAY:
		if (strlen(value) >= f->size)
			return -EUCLEAN;
		memcpy(at, value, strlen(value) + 1);
		return 0;
	case FIELD_STRING:
		return take_string(at, value);
	case FIELD_U64:
		*(uint64_t *)at = strtoull(value, NULL, 10);
		return 0;
	case FIELD_BOOL:
		*(bool *)at = strcmp(value, "1") == 0;
		return 0;
	}
	return -EUCLEAN;
}

static int take_image(const char *value, struct pl_device *device)
{
	if (device->image_count == PL_MAX_CHAIN)
		return -EUCLEAN;
	char **images = realloc(device->images, (device->image_count + 1) * sizeof(*images));
	if (!images)
		return -ENOMEM;
	device->images = images;
	images[device->image_count] = strdup(value);
	return images[device->image_count] ? (device->image_count++, 0) : -ENOMEM;
}

static int take_line(char *line, struct pl_device *device)
{
	char *value = strchr(line, ' ');
	if (!value)
		return -EUCLEAN;
	*value++ = '\0';
	unescape(value);
	if (strcmp(line, IMAGE_KEY) == 0)
		return take_image(value, device);
	for (size_t i = 0; i < ARRAY_LEN(fields); i++)
		if (strcmp(fields[i].key, line) == 0)
			return take_field(&fields[i], value, device);
	return 0; /* of a later version */
}

int registry_decode(char *text, struct pl_device *device)
{
	for (char *line, *rest = text; (line = strsep(&rest, "\n"));) {
		int r = *line ? take_line(line, device) : 0;
		if (r < 0)
			return r;
	}
	return device->component && device->bundle && device->name[0] && device->image_count ? 0 : -EUCLEAN;
}
