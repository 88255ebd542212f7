/* The state files of running disks: what is written is read back, what is damaged is refused. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "kmod-free/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *images[] = {"/vz/a b/root.hds", "/vz/line\nfeed\\n/top"};
static const struct pl_device sample = {
	.name = "ploop10000",
	.node = "/dev/mapper/ploop10000",
	.partition = "/dev/mapper/ploop10000p1",
	.transport = "fuse",
	.component = "",
	.bundle = "/vz/trailing space /DiskDescriptor.xml",
	.images = images,
	.image_count = 2,
	.readonly = true,
	.dev = 0x700,
	.partition_dev = 0x10300,
	.server_pid = 4194304,
	.server_start = UINT64_MAX,
	.backing = 7,
};

static int decode(const char *text, struct pl_device **out)
{
	char *copy = strdup(text);
	*out = calloc(1, sizeof(**out));
	int r = registry_decode(copy, *out);
	free(copy);
	return r;
}

Test(registry_text, every_field_comes_back)
{
	char *text = registry_encode(&sample);
	struct pl_device *d;
	cr_assert(zero(int, decode(text, &d)));
	cr_assert(eq(str, d->name, "ploop10000"));
	cr_assert(eq(str, d->partition, (char *)sample.partition));
	cr_assert(eq(str, d->component, ""));
	cr_assert(eq(str, d->bundle, sample.bundle));
	cr_assert(eq(sz, d->image_count, 2));
	cr_assert(eq(str, d->images[0], images[0]));
	cr_assert(eq(str, d->images[1], images[1]));
	cr_assert(eq(int, d->readonly, true));
	cr_assert(eq(u64, d->partition_dev, sample.partition_dev));
	cr_assert(eq(u64, d->server_start, sample.server_start));
	pl_device_free(d);
	free(text);
}

Test(registry_text, lines_of_later_versions_are_skipped)
{
	struct pl_device *d;
	cr_assert(zero(int, decode("name p\ncolour blue\nbundle \ncomponent c\nimage /i\n", &d)));
	cr_assert(eq(str, d->component, "c"));
	pl_device_free(d);
}

Test(registry_text, every_cut_of_a_state_file_is_read_or_refused)
{
	char *text = registry_encode(&sample);
	for (size_t n = strlen(text); n-- > 0;) {
		struct pl_device *d;
		text[n] = '\0';
		int r = decode(text, &d);
		cr_assert(eq(int, r == 0 || r == -EUCLEAN, 1), "cut at %zu: %d", n, r);
		pl_device_free(d);
	}
	free(text);
}

Test(registry_text, values_longer_than_their_field_are_refused)
{
	struct pl_device *d;
	cr_assert(eq(int, decode("name ploop1234567890123456789012345678901234567890\n", &d), -EUCLEAN));
	pl_device_free(d);
	cr_assert(eq(int, decode("nospace\n", &d), -EUCLEAN));
	pl_device_free(d);
}

Test(registry_text, more_images_than_a_chain_can_have_are_refused)
{
	char text[8 * (PL_MAX_CHAIN + 2)];
	size_t used = 0;
	for (int i = 0; i <= PL_MAX_CHAIN; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "image /\n");
	struct pl_device *d;
	cr_assert(eq(int, decode(text, &d), -EUCLEAN));
	pl_device_free(d);
}
