/* Locks between processes: ours, QEMU's and libploop's, in both directions. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ploop.h"
#include "ploop/lock.h"
#include "tests/support/other_process.h"

static char path[512], second_name[600];

static void setup(void)
{
	const char *dir = getenv("TMPDIR");
	snprintf(path, sizeof(path), "%s/lock-%d", dir ? dir : "/tmp", (int)getpid());
	snprintf(second_name, sizeof(second_name), "%s-link", path);
	struct pl_create_options o = {.size = sizeof(o), .size_sectors = 2048};
	cr_assert(eq(int, pl_image_create(path, &o), 0), "%s", pl_error());
}

static void teardown(void)
{
	unlink(path);
	unlink(second_name);
}

TestSuite(ploop_lock, .init = setup, .fini = teardown, .timeout = 60);

static int open_image(enum lock_mode mode)
{
	int fd = open(path, (mode == LOCK_WRITER ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	cr_assert(ge(int, fd, 0));
	return fd;
}

static int try_lock(int fd, enum lock_mode mode)
{
	return lock_image(fd, mode, 0, path);
}

Test(ploop_lock, one_writer)
{
	autofd int a = open_image(LOCK_WRITER);
	autofd int b = open_image(LOCK_WRITER);
	autofd int c = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), 0));
	cr_expect(eq(int, try_lock(b, LOCK_WRITER), -EBUSY));
	cr_expect(eq(int, try_lock(c, LOCK_READER), -EBUSY));
	cr_expect(ne(ptr, (void *)strstr(pl_error(), path), NULL), "%s", pl_error());
}

Test(ploop_lock, many_readers_and_then_no_writer)
{
	autofd int a = open_image(LOCK_READER);
	autofd int b = open_image(LOCK_READER);
	autofd int c = open_image(LOCK_WRITER);
	cr_expect(eq(int, try_lock(a, LOCK_READER), 0));
	cr_expect(eq(int, try_lock(b, LOCK_READER), 0));
	cr_expect(eq(int, try_lock(c, LOCK_WRITER), -EBUSY));
}

Test(ploop_lock, owner_is_told_of_others)
{
	autofd int a = open_image(LOCK_READER);
	autofd int b = open_image(LOCK_READER);
	autofd int same = dup(a);
	cr_expect(eq(int, try_lock(a, LOCK_READER), 0));
	cr_expect(not(lock_has_others(a)));
	cr_expect(not(lock_has_others(same)));
	cr_expect(eq(int, try_lock(b, LOCK_READER), 0));
	cr_expect(lock_has_others(a));
	lock_drop(b);
	cr_expect(not(lock_has_others(a)));
}

Test(ploop_lock, what_was_refused_leaves_no_lock)
{
	autofd int a = open_image(LOCK_READER);
	autofd int b = open_image(LOCK_WRITER);
	cr_expect(eq(int, try_lock(a, LOCK_READER), 0));
	cr_expect(eq(int, try_lock(b, LOCK_WRITER), -EBUSY));
	autofd int c = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(c, LOCK_READER), 0));
}

static void hold_as_writer(void *arg)
{
	int fd = open_image(LOCK_WRITER);
	if (try_lock(fd, LOCK_WRITER) < 0)
		_exit(1);
}

Test(ploop_lock, D10_waits_for_an_owner_on_its_way_out)
{
	struct other_process owner = other_process_start(hold_as_writer, NULL);
	autofd int fd = open_image(LOCK_WRITER);
	cr_expect(eq(int, lock_image(fd, LOCK_WRITER, 50, path), -EBUSY));
	other_process_kill_later(&owner, 300);
	cr_expect(eq(int, lock_image(fd, LOCK_WRITER, 10000, path), 0), "%s", pl_error());
	other_process_reap(&owner);
}

/* ---- libploop: read locks on 200–204, and a look whether a write lock would be possible there */

static void hold_as_libploop(void *arg)
{
	int fd = open(path, O_RDONLY);
	struct flock l = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 5};
	if (fcntl(fd, F_SETLK, &l) < 0)
		_exit(1);
}

static bool libploop_may(void)
{
	autofd int fd = open(path, O_RDONLY);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 5};
	cr_assert(eq(int, fcntl(fd, F_GETLK, &l), 0));
	return l.l_type == F_UNLCK;
}

Test(ploop_lock, libploop_keeps_us_out)
{
	struct other_process libploop = other_process_start(hold_as_libploop, NULL);
	autofd int a = open_image(LOCK_WRITER);
	autofd int b = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), -EBUSY));
	cr_expect(eq(int, try_lock(b, LOCK_READER), -EBUSY));
	other_process_kill_later(&libploop, 0);
	other_process_reap(&libploop);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), 0));
}

Test(ploop_lock, we_keep_libploop_out)
{
	cr_expect(libploop_may());
	int fd = open_image(LOCK_WRITER);
	cr_expect(eq(int, try_lock(fd, LOCK_WRITER), 0));
	cr_expect(not(libploop_may()));
	close(fd);
	fd = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(fd, LOCK_READER), 0));
	cr_expect(not(libploop_may()));
	close(fd);
}

Test(ploop_lock, shared_base_is_read_beside_libploop)
{
	cr_assert(eq(int, link(path, second_name), 0));
	autofd int fd = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(fd, LOCK_READER), 0));
	cr_expect(libploop_may());

	struct other_process libploop = other_process_start(hold_as_libploop, NULL);
	autofd int another = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(another, LOCK_READER), 0), "%s", pl_error());
	autofd int writer = open_image(LOCK_WRITER);
	cr_expect(eq(int, try_lock(writer, LOCK_WRITER), -EBUSY));
	other_process_kill_later(&libploop, 0);
	other_process_reap(&libploop);
}

/* ---- QEMU */

static int qemu_io(const char *mode, const char *command)
{
	char line[2048];
	if (access("/usr/bin/qemu-io", X_OK) < 0)
		cr_skip("no qemu-io");
	snprintf(line, sizeof(line), "qemu-io %s -f parallels -c '%s' '%s' >/dev/null 2>&1", mode, command, path);
	int status = system(line);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(ploop_lock, we_keep_qemu_out)
{
	cr_assert(eq(int, qemu_io("", "write 0 64k"), 0));
	int fd = open_image(LOCK_WRITER);
	cr_expect(eq(int, try_lock(fd, LOCK_WRITER), 0));
	cr_expect(ne(int, qemu_io("", "write 0 64k"), 0));
	cr_expect(ne(int, qemu_io("-r", "read 0 64k"), 0));
	close(fd);
	fd = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(fd, LOCK_READER), 0));
	cr_expect(ne(int, qemu_io("", "write 0 64k"), 0));
	cr_expect(eq(int, qemu_io("-r", "read 0 64k"), 0));
	close(fd);
	cr_expect(eq(int, qemu_io("", "write 0 64k"), 0));
}

/* A qemu-io that opens the image, says "ready" and then waits for its input to end. */
static FILE *start_qemu(const char *mode)
{
	char line[2048];
	if (access("/usr/bin/qemu-io", X_OK) < 0)
		cr_skip("no qemu-io");
	snprintf(line, sizeof(line), "qemu-io %s -f parallels '%s' >'%s.log' 2>&1", mode, path, path);
	FILE *qemu = popen(line, "w");
	cr_assert(ne(ptr, qemu, NULL));
	fputs("length\n", qemu);
	fflush(qemu);
	char log[600];
	snprintf(log, sizeof(log), "%s.log", path);
	for (int i = 0; i < 4000; i++) {
		char text[64] = "";
		autofd int fd = open(log, O_RDONLY);
		if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
			break;
		usleep(10000);
	}
	unlink(log);
	return qemu;
}

Test(ploop_lock, qemu_that_writes_keeps_us_out)
{
	FILE *qemu = start_qemu("");
	autofd int a = open_image(LOCK_WRITER);
	autofd int b = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), -EBUSY));
	cr_expect(eq(int, try_lock(b, LOCK_READER), -EBUSY));
	pclose(qemu);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), 0), "%s", pl_error());
}

Test(ploop_lock, qemu_that_reads_lets_us_read)
{
	FILE *qemu = start_qemu("-r");
	autofd int a = open_image(LOCK_WRITER);
	autofd int b = open_image(LOCK_READER);
	cr_expect(eq(int, try_lock(a, LOCK_WRITER), -EBUSY));
	cr_expect(eq(int, try_lock(b, LOCK_READER), 0), "%s", pl_error());
	pclose(qemu);
}
