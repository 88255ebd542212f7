/* The name that an nbd device carries: what is written is read back, what others wrote is refused. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "kmod-free/nbdk_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pl_device *decode(const char *name, int expected)
{
	struct pl_device *d = calloc(1, sizeof(*d));
	cr_assert(eq(int, nbdk_name_decode(name, d), expected), "%s", name);
	return d;
}

static void expect_back(struct pl_device *d)
{
	char name[NBDK_NAME_BYTES];
	nbdk_name_encode(d, name);
	struct pl_device *back = decode(name, 0);
	cr_assert(eq(str, back->name, d->name));
	cr_assert(eq(str, back->component, d->component));
	cr_assert(eq(str, back->bundle, d->bundle));
	cr_assert(eq(sz, back->image_count, d->bundle[0] ? 0 : 1));
	if (!d->bundle[0])
		cr_assert(eq(str, back->images[0], d->images[d->image_count - 1]));
	pl_device_free(back);
}

Test(nbdk_name, a_bundle_and_a_list_of_images_come_back)
{
	char *images[] = {"/vz/base", "/vz/a top"};
	struct pl_device bundle = {.name = "ploop1000", .component = "", .bundle = "/vz/a b/DiskDescriptor.xml"};
	struct pl_device list = {.name = "ploop5", .component = "my backup", .bundle = "", .images = images,
				 .image_count = 2};
	expect_back(&bundle);
	expect_back(&list);
}

Test(nbdk_name, what_would_not_fit_leaves_the_first_word)
{
	char name[NBDK_NAME_BYTES], path[2 * NBDK_NAME_BYTES] = "/";
	struct pl_device d = {.name = "ploop1000", .component = "", .bundle = path};
	memset(path + 1, 'x', sizeof(path) - 2);
	nbdk_name_encode(&d, name);
	cr_assert(eq(str, name, "ploop1000"));
	d.bundle = "/line\nfeed/DiskDescriptor.xml";
	nbdk_name_encode(&d, name);
	cr_assert(eq(str, name, "ploop1000"));
}

Test(nbdk_name, names_of_others_are_not_taken)
{
	static const char *const others[] = {
		"", " ", "\t", "ploop1000", "ploop1000 ", "ploop1000 \t", "ploop1000 \trelative", "ploop \t/vz",
		"ploop1000p1 \t/vz", "/dev/ploop1000 \t/vz", "nbd-server of somebody\t/x",
		"ploop10000000000000000000000000000000000000000000 \t/vz",
	};
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		pl_device_free(decode(others[i], -ENODATA));
}
