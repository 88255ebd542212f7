/* Any bytes as a descriptor: what is accepted is a tree, and what we write of it is read back and written the same.
 * Seeds: tests/fuzz/corpus/fuzz_descriptor. */
#include "layout/descriptor.h"

#include "base/invariant.h"

#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every node reaches the root, in no more steps than there are nodes. */
static void check_tree(const struct lay_desc *d)
{
	invariant(lay_desc_find(d, &d->top));
	for (size_t i = 0; i < d->count && i < 64; i++) {
		size_t steps = 0;
		for (const struct lay_desc_node *n = &d->nodes[i]; n; n = lay_desc_find(d, &n->parent)) {
			invariant(++steps <= d->count);
			invariant(lay_desc_find(d, &n->parent) || lay_guid_eq(&n->parent, &lay_guid_none));
		}
	}
}

static char *write_again(const char *xml, size_t n)
{
	struct lay_desc_why why;
	autodesc struct lay_desc d = {0};
	char *again = NULL;
	size_t again_n;
	invariant(!lay_desc_parse(xml, n, &d, &why));
	invariant(!lay_desc_write(&d, &again, &again_n));
	invariant(again_n == strlen(again));
	return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lay_desc_why why = {""};
	autodesc struct lay_desc d = {0};
	if (lay_desc_parse(data, size, &d, &why)) {
		invariant(why.text[0]);
		return 0;
	}
	check_tree(&d);
	autofree char *first = NULL;
	size_t n;
	invariant(!lay_desc_write(&d, &first, &n));
	autofree char *second = write_again(first, n);
	invariant(!strcmp(first, second));

	bool settled = !lay_desc_settle_top(&d, &why);
	invariant(!settled || d.volume || lay_guid_eq(&d.top, &lay_guid_top));
	check_tree(&d);
	return 0;
}
