/* The samples of tests/bundles, and a parse of which only the answer matters. */
#ifndef TEST_BUNDLE_SAMPLE_H
#define TEST_BUNDLE_SAMPLE_H

#include "layout/descriptor.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

/* The text of tests/bundles/NAME.xml, malloc'ed. To be called in the source tree, or with SRC set. */
static inline char *read_sample(const char *name, size_t *bytes)
{
	const char *src = getenv("SRC");
	char path[4096];
	snprintf(path, sizeof(path), "%s/tests/bundles/%s.xml", src ? src : ".", name);
	FILE *f = fopen(path, "r");
	cr_assert(f != NULL, "%s: %s", path, strerror(errno));
	char *text = calloc(1, 65536);
	*bytes = fread(text, 1, 65535, f);
	fclose(f);
	return text;
}

static inline int parse_text(const char *xml, size_t n, struct lay_desc_why *why)
{
	struct lay_desc d;
	int r = lay_desc_parse(xml, n, &d, why);
	if (!r)
		lay_desc_fini(&d);
	return r;
}

#endif
