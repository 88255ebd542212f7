/* What we create and repair, QEMU's parallels driver accepts, and the other way round. */
#include "ploop.h"

#include "layout/header.h"
#include "tests/images/damage.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[4200];

static void scratch(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(path, sizeof(path), "%s/ploop-qemu-%d", tmp ? tmp : "/tmp", (int)getpid());
	if (system("command -v qemu-img qemu-io >/dev/null"))
		cr_skip("no qemu-img");
}

static void remove_scratch(void)
{
	unlink(path);
}

TestSuite(ploop_qemu, .init = scratch, .fini = remove_scratch, .timeout = 120);

/* Exit status of a shell command; $IMG is the image, output goes to out. */
static char out[4096];

static int run(const char *command)
{
	setenv("IMG", path, 1);
	FILE *p = popen(command, "r");
	cr_assert(ne(ptr, p, NULL));
	out[fread(out, 1, sizeof(out) - 1, p)] = '\0';
	return WEXITSTATUS(pclose(p));
}

static void expect(const char *command, const char *words)
{
	int status = run(command);
	cr_assert(zero(int, status), "%s: %s", command, out);
	cr_assert(ne(ptr, strstr(out, words), NULL), "%s: %s", command, out);
}

static void expect_sound(void)
{
	int code;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	struct pl_check_options o = {.size = sizeof(o), .flags = PL_CHECK_FORCE | PL_CHECK_DUPLICATES};
	cr_assert(zero(int, pl_image_check(&ref, &o, &code)), "%s", pl_error());
}

struct kind {
	uint32_t version, cluster;
	enum pl_image_mode mode;
};

ParameterizedTestParameters(ploop_qemu, accepts_what_we_create)
{
	static struct kind rows[] = {
		{1, 64, PL_MODE_EXPANDED},	 {2, 64, PL_MODE_EXPANDED},	{1, 2048, PL_MODE_EXPANDED},
		{2, 2048, PL_MODE_EXPANDED},	 {2, 131072, PL_MODE_EXPANDED}, {1, 2048, PL_MODE_PREALLOCATED},
		{2, 2048, PL_MODE_PREALLOCATED},
	};
	return cr_make_param_array(struct kind, rows, ARRAY_LEN(rows));
}
ParameterizedTest(struct kind *k, ploop_qemu, accepts_what_we_create)
{
	struct pl_create_options o = {.size = sizeof(o),
				      .size_sectors = 131072,
				      .version = k->version,
				      .cluster_sectors = k->cluster,
				      .mode = k->mode};
	cr_assert(zero(int, pl_image_create(path, &o)), "%s", pl_error());
	expect("qemu-img check -f parallels $IMG 2>&1", "No errors were found");
	expect("qemu-img info -f parallels $IMG 2>&1", "virtual size: 64 MiB (67108864 bytes)");
	expect("qemu-io -f parallels -c 'read -P 0 0 64M' -c 'write -P 7 1M 3M' -c 'read -P 7 1M 3M' $IMG 2>&1",
	       "wrote");
	expect_sound();
}

ParameterizedTestParameters(ploop_qemu, creates_what_we_accept)
{
	static uint32_t cluster_bytes[] = {32 * KIB, 64 * KIB, MIB, 64 * MIB};
	return cr_make_param_array(uint32_t, cluster_bytes, ARRAY_LEN(cluster_bytes));
}
ParameterizedTest(uint32_t *cluster_bytes, ploop_qemu, creates_what_we_accept)
{
	char command[256];
	/* not a multiple of any cluster */
	snprintf(command, sizeof(command), "qemu-img create -f parallels -o cluster_size=%u $IMG 10485761 2>&1",
		 *cluster_bytes);
	expect(command, "Formatting");
	expect_sound();
	expect("qemu-io -f parallels -c 'write -P 9 10M 512' -c 'write -P 3 0 3M' $IMG 2>&1", "wrote");
	expect_sound();
	struct pl_image_info info;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	cr_assert(zero(int, pl_image_info(&ref, &info)));
	cr_assert(eq(u64, info.size_sectors, 20481));
}

Test(ploop_qemu, refuses_by_name_what_only_qemu_reads)
{
	int code;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	struct pl_check_options o = {.size = sizeof(o), .flags = PL_CHECK_FORCE};
	expect("qemu-img create -f parallels -o cluster_size=98304 $IMG 64M 2>&1", "Formatting");
	cr_assert(eq(int, pl_image_check(&ref, &o, &code), -EOPNOTSUPP));
	cr_assert(ne(ptr, strstr(pl_error(), "only QEMU reads it"), NULL), "%s", pl_error());
}

Test(ploop_qemu, opens_our_dirty_bitmap)
{
	damage_none_with_bitmap(path);
	expect("qemu-io -r -f parallels -c 'read -P 2 64k 32k' $IMG 2>&1", "read 32768/32768");
}

Test(ploop_qemu, opens_an_image_whose_broken_extension_was_taken_out)
{
	for (enum lay_finding_id id = LAY_F_EXT_OFFSET; id < LAY_FINDING_COUNT; id++) {
		if (id == LAY_F_EXT_NECESSARY)
			continue;
		damages[id - 1].make(path);
		/* QEMU does not look where an L1 entry points */
		cr_assert(
			eq(int, run("qemu-io -r -f parallels -c quit $IMG 2>&1") == 0, id == LAY_F_EXT_BITMAP_CLUSTER),
			"%s is broken for QEMU too: %s", damages[id - 1].name, out);
		expect_sound();
		expect("qemu-io -r -f parallels -c 'read -P 2 64k 32k' $IMG 2>&1", "read 32768/32768");
	}
}
