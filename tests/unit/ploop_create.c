#include "ploop.h"

#include "base/byteorder.h"
#include "base/cleanup.h"
#include "layout/ext.h"
#include "tests/images/damage.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[4096], path[4200];

static void scratch(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(dir, sizeof(dir), "%s/ploop-create-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(path, sizeof(path), "%s/image", dir);
}

static void remove_scratch(void)
{
	unlink(path);
	cr_assert(zero(int, rmdir(dir)), "something was left behind");
}

TestSuite(ploop_create, .init = scratch, .fini = remove_scratch);

static int create(struct pl_create_options o)
{
	o.size = sizeof(o);
	return pl_image_create(path, &o);
}

static struct stat stat_of(void)
{
	struct stat st;
	cr_assert(zero(int, stat(path, &st)));
	return st;
}

static struct pl_image_info info(enum pl_format format)
{
	struct pl_image_info i;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1, .format = format};
	cr_assert(zero(int, pl_image_info(&ref, &i)), "%s", pl_error());
	return i;
}

static void expect_refusal(struct pl_create_options o, int want, const char *word)
{
	cr_assert(eq(int, create(o), want), "%s", pl_error());
	cr_assert(ne(ptr, strstr(pl_error(), word), NULL), "%s", pl_error());
	cr_assert(ne(ptr, strstr(pl_error(), path), NULL), "the sentence names the file: %s", pl_error());
	cr_assert(lt(int, access(path, F_OK), 0), "nothing is left");
}

Test(ploop_create, expanded_is_header_clusters_only)
{
	cr_assert(zero(int, create((struct pl_create_options){.size_sectors = 10 * GIB / SECTOR_BYTES})));
	struct stat st = stat_of();
	cr_assert(eq(u64, (uint64_t)st.st_size, MIB));
	cr_assert(eq(u32, st.st_mode & 07777, 0600));

	struct pl_image_info i = info(PL_FORMAT_PLOOP);
	cr_assert(eq(u32, i.version, 2));
	cr_assert(eq(u32, i.cluster_sectors, 2048));
	cr_assert(eq(u64, i.size_sectors, 20971520));
	cr_assert(eq(u32, i.bat_entries, 10240));
	cr_assert(eq(u32, i.first_block_sectors, 2048));
	cr_assert(eq(u32, i.heads, 16));
	cr_assert(eq(u32, i.cylinders, 40960));
	cr_assert(zero(u32, i.in_use));
	cr_assert(eq(u32, i.flags, 1), "Empty");
	cr_assert(zero(u64, i.ext_sectors));
	cr_assert(eq(u64, i.file_bytes, MIB));
}

Test(ploop_create, sizes_are_rounded_up_to_a_cluster)
{
	cr_assert(zero(int, create((struct pl_create_options){.size_sectors = 2049})));
	cr_assert(eq(u64, info(PL_FORMAT_PLOOP).size_sectors, 4096));
	unlink(path);
	cr_assert(
		zero(int, create((struct pl_create_options){.size_sectors = 1, .mode = PL_MODE_RAW, .sparse = true})));
	cr_assert(eq(u64, info(PL_FORMAT_RAW).size_sectors, 2048));
}

Test(ploop_create, the_last_partial_cluster_of_v1_is_rounded_down)
{
	cr_assert(zero(int, create((struct pl_create_options){.size_sectors = UINT32_MAX, .version = 1})));
	cr_assert(eq(u64, info(PL_FORMAT_PLOOP).size_sectors, UINT32_MAX / 2048 * UINT64_C(2048)));
}

Test(ploop_create, preallocated_has_every_cluster_in_order)
{
	for (uint32_t version = 1; version <= 2; version++) {
		cr_assert(zero(int, create((struct pl_create_options){.size_sectors = 64 * 9000,
								      .cluster_sectors = 64,
								      .version = version,
								      .mode = PL_MODE_PREALLOCATED})));
		struct stat st = stat_of();
		cr_assert(eq(u64, (uint64_t)st.st_size, (2 + 9000) * 64 * SECTOR_BYTES));
		cr_assert(ge(u64, (uint64_t)st.st_blocks, 9000 * 64), "the space is taken");
		uint8_t bat[9001 * 4];
		autofd int fd = open(path, O_RDONLY);
		cr_assert(eq(sz, pread(fd, bat, sizeof(bat), 64), sizeof(bat)));
		for (uint32_t g = 0; g < 9000; g++)
			cr_assert(eq(u32, load_le32(bat + g * 4), version == 1 ? (2 + g) * 64 : 2 + g));
		cr_assert(zero(u32, load_le32(bat + 9000 * 4)), "slots behind the last stay 0");
		int code;
		struct pl_image_ref ref = {.path = path, .dir_fd = -1};
		struct pl_check_options o = {.size = sizeof(o), .flags = PL_CHECK_FORCE | PL_CHECK_DUPLICATES};
		cr_assert(zero(int, pl_image_check(&ref, &o, &code)));
		unlink(path);
	}
}

Test(ploop_create, raw_is_zeros_or_a_hole)
{
	cr_assert(zero(int, create((struct pl_create_options){.size_sectors = 8192, .mode = PL_MODE_RAW})));
	struct stat st = stat_of();
	cr_assert(eq(u64, (uint64_t)st.st_size, 4 * MIB));
	cr_assert(ge(u64, (uint64_t)st.st_blocks, 8192));
	unlink(path);
	cr_assert(zero(int,
		       create((struct pl_create_options){.size_sectors = 8192, .mode = PL_MODE_RAW, .sparse = true})));
	st = stat_of();
	cr_assert(eq(u64, (uint64_t)st.st_size, 4 * MIB));
	cr_assert(lt(u64, (uint64_t)st.st_blocks, 16));
}

Test(ploop_create, an_existing_file_is_never_touched)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0644);
	cr_assert(eq(sz, write(fd, "mine", 4), 4));
	close(fd);
	cr_assert(eq(int, create((struct pl_create_options){.size_sectors = 2048}), -EEXIST));
	cr_assert(eq(u64, (uint64_t)stat_of().st_size, 4));
	unlink(path);

	cr_assert(zero(int, symlink("elsewhere", path)));
	cr_assert(eq(int, create((struct pl_create_options){.size_sectors = 2048}), -EEXIST));
}

Test(ploop_create, what_cannot_be_is_refused_with_numbers)
{
	expect_refusal((struct pl_create_options){.size_sectors = 0}, -EINVAL, "size of 0");
	expect_refusal((struct pl_create_options){.size_sectors = 2048, .cluster_sectors = 63}, -EINVAL,
		       "cluster size 63");
	expect_refusal((struct pl_create_options){.size_sectors = 2048, .cluster_sectors = 32}, -EINVAL,
		       "cluster size 32");
	expect_refusal((struct pl_create_options){.size_sectors = 2048, .version = 3}, -EINVAL, "version 3");
	expect_refusal((struct pl_create_options){.size_sectors = UINT64_C(1) << 32, .version = 1}, -EINVAL,
		       "4294967296");
	expect_refusal((struct pl_create_options){.size_sectors = UINT64_MAX}, -EINVAL, "18446744073709551615");
	expect_refusal((struct pl_create_options){.size_sectors = UINT32_MAX - 2047,
						  .version = 1,
						  .mode = PL_MODE_PREALLOCATED},
		       -EINVAL, "over the limit");
}

Test(ploop_create, a_failure_leaves_no_file)
{
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit limit = {MIB, MIB};
	cr_assert(zero(int, setrlimit(RLIMIT_FSIZE, &limit)));
	for (enum pl_image_mode mode = PL_MODE_PREALLOCATED; mode <= PL_MODE_RAW; mode++)
		expect_refusal((struct pl_create_options){.size_sectors = 20480, .mode = mode}, -EFBIG, "bytes");
}

/* A file system of 1 MiB that is mounted nowhere: it is reached through the descriptor and goes with it. So nothing
 * depends on how the folders of this machine are mounted, and a test that dies leaves no mount. */
static int small_file_system(void)
{
	autofd int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "1M", 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -1;
	return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

static bool tell(const char *file, const char *text)
{
	autofd int fd = open(file, O_WRONLY);
	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool map_to_self(const char *file, unsigned id)
{
	char line[32];
	snprintf(line, sizeof(line), "%u %u 1", id, id);
	return tell(file, line);
}

/* The same for who is not root, made by a child that may, in namespaces of its own; they share their descriptors, and
 * the exit code is the number of one. Not by unshare(): Criterion runs a thread beside the test. */
static int small_file_system_from_child(void)
{
	unsigned uid = getuid(), gid = getgid();
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWNS | CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(tell("/proc/self/setgroups", "deny") && map_to_self("/proc/self/uid_map", uid) &&
				      map_to_self("/proc/self/gid_map", gid)
			      ? small_file_system()
			      : -1);
	int status;
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) == 255)
		return -1;
	return WEXITSTATUS(status);
}

Test(ploop_create, a_full_file_system_is_told_with_numbers)
{
	autofd int own = small_file_system();
	autofd int from_child = own < 0 ? small_file_system_from_child() : -1;
	if (own < 0 && from_child < 0)
		cr_skip("no tmpfs");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/image", own < 0 ? from_child : own);
	for (enum pl_image_mode mode = PL_MODE_PREALLOCATED; mode <= PL_MODE_RAW; mode++) {
		expect_refusal((struct pl_create_options){.size_sectors = 20480, .mode = mode}, -ENOSPC,
			       mode == PL_MODE_RAW ? "needs 10485760 bytes" : "needs 11534336 bytes");
		cr_assert(ne(ptr, strstr(pl_error(), "has 1048576"), NULL), "%s", pl_error());
	}
}

Test(ploop_create, a_folder_that_is_not_there_is_named)
{
	struct pl_create_options o = {.size = sizeof(o), .size_sectors = 2048};
	char nowhere[4300];
	snprintf(nowhere, sizeof(nowhere), "%s/nowhere/image", dir);
	cr_assert(eq(int, pl_image_create(nowhere, &o), -ENOENT));
	cr_assert(ne(ptr, strstr(pl_error(), nowhere), NULL), "%s", pl_error());
}

Test(ploop_create, info_refuses_what_is_no_image)
{
	struct pl_image_info i;
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	cr_assert(eq(int, pl_image_info(&ref, &i), -ENOENT));
	for (enum lay_finding_id id = LAY_OK + 1; id < LAY_FINDING_COUNT; id++) {
		damages[id - 1].make(path);
		int r = pl_image_info(&ref, &i);
		cr_assert(eq(int, r != 0, id <= LAY_F_BAT_SHORT), "%s", damages[id - 1].name);
	}
}

/* ---- golden digests: the bytes of new images, in every version, cluster size and mode */

static void digest_of_file(char hex[33])
{
	struct stat st = stat_of();
	autofree uint8_t *bytes = malloc((size_t)st.st_size);
	autofd int fd = open(path, O_RDONLY);
	cr_assert(eq(sz, read(fd, bytes, (size_t)st.st_size), (size_t)st.st_size));
	uint8_t md5[LAY_MD5_BYTES];
	cr_assert(lay_md5(bytes, (size_t)st.st_size, md5));
	for (int i = 0; i < LAY_MD5_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", md5[i]);
}

/* The digests come from a model of its own, not from this code. */
Test(ploop_create, new_images_have_the_golden_bytes)
{
	const char *src = getenv("SRC");
	char name[4200];
	snprintf(name, sizeof(name), "%s/tests/images/golden.md5", src ? src : ".");
	FILE *golden = fopen(name, "r");
	cr_assert(ne(ptr, golden, NULL), "open %s: run from the top of the source", name);
	uint32_t version, cluster, mode, rows = 0;
	uint64_t size;
	char want[33], got[33];
	while (fscanf(golden, "%u %u %u %lu %32s", &version, &cluster, &mode, &size, want) == 5) {
		cr_assert(zero(
			int,
			create((struct pl_create_options){
				.size_sectors = size, .cluster_sectors = cluster, .version = version, .mode = mode})));
		digest_of_file(got);
		cr_assert(eq(str, got, want), "version %u cluster %u mode %u size %lu", version, cluster, mode, size);
		unlink(path);
		rows++;
	}
	fclose(golden);
	cr_assert(eq(u32, rows, 2 * (12 + 8)));
}
