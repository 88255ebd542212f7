/* The FUSE export of a real image: a child serves it, the test opens the files. Needs /dev/fuse; skipped without. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DISK_BYTES  (64 * MIB)
#define PART_OFFSET MIB
#define PART_BYTES  (8 * MIB)

static char folder[64], image[96], mount_point[96];
static pid_t server;

/* ------------------------------------------------------------------ the server */

static struct pl_loop *loop;

static void stop_loop(void *arg)
{
	pl_loop_stop(loop);
}

static int serve(bool readonly, enum pl_backend backend, int ready_fd)
{
	struct pl_loop_options loop_options = {.size = sizeof(loop_options), .backend = backend};
	struct pl_image_ref ref = {.path = image, .dir_fd = -1};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &ref, .count = 1};
	struct pl_open_options open_options = {.size = sizeof(open_options), .flags = readonly ? PL_OPEN_READONLY : 0};
	struct fuse_export_options options = {
		.size = sizeof(options),
		.mount_point = mount_point,
		.part_offset_bytes = PART_OFFSET,
		.part_length_bytes = PART_BYTES,
		.unmounted = stop_loop,
	};
	struct pl_disk *disk;
	struct fuse_export *export;
	if (pl_loop_new(&loop_options, &loop) < 0 || pl_disk_open(loop, &chain, &open_options, &disk) < 0 ||
	    fuse_export_start(loop, disk, &options, &export) < 0) {
		fprintf(stderr, "server: %s\n", pl_error());
		return 1;
	}
	if (write(ready_fd, "", 1) != 1 || pl_loop_run(loop) < 0)
		return 1;
	fuse_export_stop(export);
	int r = pl_disk_close(disk);
	pl_loop_free(loop);
	return r < 0;
}

static void start_server_on(enum pl_backend backend, bool readonly)
{
	int ends[2];
	char byte;
	cr_assert(zero(int, pipe(ends)));
	server = fork();
	if (server == 0) {
		close(ends[0]);
		_exit(serve(readonly, backend, ends[1]));
	}
	close(ends[1]);
	cr_assert(eq(int, (int)read(ends[0], &byte, 1), 1), "the server did not start");
	close(ends[0]);
}

static void start_server(bool readonly)
{
	start_server_on(PL_BACKEND_AUTO, readonly);
}

/* It must close the disk and end well. */
static void end_server(void)
{
	int status;
	cr_assert(zero(int, umount2(mount_point, UMOUNT_NOFOLLOW)), "%s", strerror(errno));
	cr_assert(eq(int, waitpid(server, &status, 0), server));
	cr_assert(zero(int, status));
	struct pl_image_ref ref = {.path = image, .dir_fd = -1};
	struct pl_image_info info;
	cr_assert(zero(int, pl_image_info(&ref, &info)));
	cr_assert(zero(u32, info.in_use));
}

static void setup(void)
{
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
		cr_skip("needs root and /dev/fuse");
	snprintf(folder, sizeof(folder), "/tmp/ploop-fuse.XXXXXX");
	cr_assert(ne(ptr, mkdtemp(folder), NULL));
	snprintf(image, sizeof(image), "%s/disk.hds", folder);
	snprintf(mount_point, sizeof(mount_point), "%s/mnt", folder);
	cr_assert(zero(int, mkdir(mount_point, 0700)));
	struct pl_create_options create = {.size = sizeof(create), .size_sectors = DISK_BYTES / SECTOR_BYTES};
	cr_assert(zero(int, pl_image_create(image, &create)), "%s", pl_error());
}

static void teardown(void)
{
	umount2(mount_point, MNT_DETACH);
	rmdir(mount_point);
	unlink(image);
	rmdir(folder);
}

static int open_file(const char *name, int flags)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", mount_point, name);
	return open(path, flags | O_CLOEXEC);
}

TestSuite(fuse_export, .init = setup, .fini = teardown, .timeout = 60);

/* ------------------------------------------------------------------ promises */

Test(fuse_export, files_have_the_sizes_of_disk_and_partition)
{
	start_server(false);
	struct stat st;
	autofd int disk = open_file("disk", O_RDONLY);
	autofd int part = open_file("part1", O_RDONLY);
	cr_assert(zero(int, fstat(disk, &st)));
	cr_assert(eq(u64, (uint64_t)st.st_size, DISK_BYTES));
	cr_assert(zero(int, fstat(part, &st)));
	cr_assert(eq(u64, (uint64_t)st.st_size, PART_BYTES));
	cr_assert(lt(int, open_file("other", O_RDONLY), 0));
	cr_assert(zero(int, ftruncate(open_file("disk", O_RDWR), DISK_BYTES)));
	cr_assert(eq(int, ftruncate(open_file("disk", O_RDWR), MIB), -1));
	kill(server, SIGKILL);
}

static void write_remount_read(enum pl_backend backend)
{
	static uint8_t wrote[MIB], got[MIB];
	for (size_t i = 0; i < sizeof(wrote); i++)
		wrote[i] = (uint8_t)(i * 31 + i / 4096);
	start_server_on(backend, false);
	int part = open_file("part1", O_RDWR);
	cr_assert(eq(sz, (size_t)pwrite(part, wrote, sizeof(wrote), 2 * MIB), sizeof(wrote)));
	cr_assert(zero(int, fsync(part)));
	close(part);
	end_server();
	start_server_on(backend, true);
	int disk = open_file("disk", O_RDONLY);
	cr_assert(eq(sz, (size_t)pread(disk, got, sizeof(got), PART_OFFSET + 2 * MIB), sizeof(got)));
	cr_assert(zero(int, memcmp(wrote, got, sizeof(got))));
	close(disk);
	end_server();
}

Test(fuse_export, written_bytes_read_back_after_a_remount)
{
	write_remount_read(PL_BACKEND_AUTO);
}

Test(fuse_export, works_without_io_uring)
{
	write_remount_read(PL_BACKEND_PLAIN);
}

Test(fuse_export, reads_end_at_the_end_of_the_file)
{
	uint8_t got[4096];
	start_server(false);
	int part = open_file("part1", O_RDONLY);
	cr_assert(eq(int, (int)pread(part, got, sizeof(got), PART_BYTES - 100), 100));
	cr_assert(eq(int, (int)pread(part, got, sizeof(got), PART_BYTES), 0));
	close(part);
	end_server();
}

/* The neighbours of an odd range keep their bytes, at every alignment of both its ends. */
Test(fuse_export, unaligned_writes_change_their_bytes_only)
{
	static const struct {
		uint32_t offset, length;
	} writes[] = {{0, 1}, {1, 1}, {511, 2}, {512, 100}, {700, 4000}, {1023, 1}, {4095, 4098}, {3, 66000}};
	static uint8_t model[128 * KIB], got[128 * KIB];
	start_server(false);
	int disk = open_file("disk", O_RDWR);
	memset(model, 0x5a, sizeof(model));
	cr_assert(eq(sz, (size_t)pwrite(disk, model, sizeof(model), 0), sizeof(model)));
	for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
		memset(model + writes[i].offset, (int)i + 1, writes[i].length);
		cr_assert(eq(u32, (uint32_t)pwrite(disk, model + writes[i].offset, writes[i].length, writes[i].offset),
			     writes[i].length));
		cr_assert(eq(sz, (size_t)pread(disk, got, sizeof(got), 0), sizeof(got)));
		cr_assert(zero(int, memcmp(model, got, sizeof(got))), "write %zu", i);
	}
	cr_assert(eq(int, (int)pread(disk, got, 3000, 777), 3000));
	cr_assert(zero(int, memcmp(model + 777, got, 3000)));
	close(disk);
	end_server();
}

/* Many processes write single bytes into the same sectors: none is lost. */
Test(fuse_export, concurrent_unaligned_writes_keep_each_others_bytes)
{
	enum { WRITERS = 4, BYTES = 1024 };
	start_server(false);
	for (int w = 0; w < WRITERS; w++) {
		if (fork() != 0)
			continue;
		int disk = open_file("disk", O_WRONLY);
		uint8_t byte = (uint8_t)(w + 1);
		for (int i = w; i < BYTES; i += WRITERS)
			if (pwrite(disk, &byte, 1, i) != 1)
				_exit(1);
		_exit(0);
	}
	for (int w = 0; w < WRITERS; w++) {
		int status;
		cr_assert(gt(int, wait(&status), 0));
		cr_assert(zero(int, status));
	}
	uint8_t got[BYTES];
	int disk = open_file("disk", O_RDONLY);
	cr_assert(eq(int, (int)pread(disk, got, sizeof(got), 0), BYTES));
	for (int i = 0; i < BYTES; i++)
		cr_assert(eq(int, got[i], i % WRITERS + 1), "byte %d", i);
	close(disk);
	end_server();
}

Test(fuse_export, punched_and_zeroed_ranges_read_zero)
{
	static uint8_t data[4 * MIB], got[4 * MIB];
	start_server(false);
	int disk = open_file("disk", O_RDWR);
	memset(data, 0xee, sizeof(data));
	cr_assert(eq(sz, (size_t)pwrite(disk, data, sizeof(data), 0), sizeof(data)));
	cr_assert(zero(int, fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 512, 3 * MIB)));
	cr_assert(zero(int, fallocate(disk, FALLOC_FL_ZERO_RANGE, 3 * MIB + 4096, 8192)));
	memset(data + 512, 0, 3 * MIB);
	memset(data + 3 * MIB + 4096, 0, 8192);
	cr_assert(eq(sz, (size_t)pread(disk, got, sizeof(got), 0), sizeof(got)));
	cr_assert(zero(int, memcmp(data, got, sizeof(got))));
	cr_assert(eq(int, fallocate(disk, 0, 0, MIB), -1)); /* nothing to promise there */
	cr_assert(eq(int, errno, EOPNOTSUPP));
	close(disk);
	end_server();
}

Test(fuse_export, readonly_disks_refuse_writes)
{
	start_server(true);
	cr_assert(eq(int, open_file("disk", O_RDWR), -1));
	cr_assert(eq(int, errno, EROFS));
	end_server();
}

Test(fuse_export, nothing_reaches_past_the_partition)
{
	uint8_t sector[SECTOR_BYTES] = {1};
	start_server(false);
	int part = open_file("part1", O_RDWR);
	cr_assert(eq(int, (int)pwrite(part, sector, sizeof(sector), PART_BYTES), -1));
	cr_assert(eq(int, errno, EFBIG));
	cr_assert(eq(int, fallocate(part, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PART_BYTES - 512, 1024), -1));
	close(part);
	end_server();
}

Test(fuse_export, a_partition_outside_the_disk_is_refused)
{
	struct pl_image_ref ref = {.path = image, .dir_fd = -1};
	struct pl_chain_spec chain = {.size = sizeof(chain), .images = &ref, .count = 1};
	struct pl_open_options open_options = {.size = sizeof(open_options)};
	struct pl_disk *disk;
	struct fuse_export *export;
	cr_assert(zero(int, pl_loop_new(NULL, &loop)));
	cr_assert(zero(int, pl_disk_open(loop, &chain, &open_options, &disk)));
	struct fuse_export_options options = {
		.size = sizeof(options),
		.mount_point = mount_point,
		.part_offset_bytes = DISK_BYTES - MIB,
		.part_length_bytes = MIB + 512,
	};
	cr_assert(eq(int, fuse_export_start(loop, disk, &options, &export), -EINVAL));
	cr_assert(zero(int, pl_disk_close(disk)));
	pl_loop_free(loop);
}
