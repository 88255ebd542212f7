/* Opening an image file: what may be reached beneath a folder, what may be opened at all. The rules hold twice: with
 * openat2(), and one component at a time where the kernel or a seccomp profile does not have it. */
#include "ploop.h"

#include "base/cleanup.h"
#include "base/units.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

static char scratch[4096]; /* holds d/, the folder; "outside" is beside it */

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(scratch, sizeof(scratch), "%s/ploop-image.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(scratch) != NULL);
	cr_assert(eq(int, chdir(scratch), 0));
	cr_assert(eq(int, mkdir("d", 0755), 0));
	cr_assert(eq(int, mkdir("d/sub", 0755), 0));
	cr_assert(eq(int, close(creat("d/image", 0600)), 0));
	cr_assert(eq(int, close(creat("d/sub/image", 0600)), 0));
	cr_assert(eq(int, close(creat("outside", 0600)), 0));
	cr_assert(eq(int, symlink("image", "d/link"), 0));
	cr_assert(eq(int, symlink("sub", "d/sublink"), 0));
	cr_assert(eq(int, symlink("../outside", "d/outlink"), 0));
	cr_assert(eq(int, mkfifo("d/pipe", 0600), 0));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void teardown(void)
{
	nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(ploop_image_fd, .init = setup, .fini = teardown, .timeout = 20);

/* From now on openat2() answers @err in this process. */
static void forbid_openat2(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_LEN(code), code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		cr_skip("seccomp filters are not available: %s", strerror(errno));
	cr_assert(eq(long, syscall(SYS_openat2, -1, "", NULL, 0), -1));
	cr_assert(eq(int, errno, err));
}

static int open_below(const char *name, int flags)
{
	autofd int dir = open("d", O_PATH | O_DIRECTORY);
	struct pl_image_ref ref = {.path = name, .name = name, .dir_fd = dir};
	pl_error_clear();
	return pl_image_open_fd(&ref, flags);
}

static int open_named(const char *path, int flags)
{
	struct pl_image_ref ref = {.path = path, .dir_fd = -1};
	pl_error_clear();
	return pl_image_open_fd(&ref, flags);
}

static void expect_same_file(int fd, const char *path)
{
	struct stat a, b;
	cr_assert(ge(int, fd, 0), "%s: %s", path, pl_error());
	cr_assert(eq(int, fstat(fd, &a), 0));
	cr_assert(eq(int, stat(path, &b), 0));
	cr_expect(eq(u64, a.st_ino, b.st_ino), "%s", path);
	cr_expect(eq(int, fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC), "%s", path);
	cr_expect(eq(int, fcntl(fd, F_GETFL) & O_NONBLOCK, 0), "%s", path);
	close(fd);
}

/* The rules beneath a folder, in whichever way they are kept. */
static void expect_rules(void)
{
	static const struct {
		const char *name;
		int err;
		const char *sentence;
	} refused[] = {
		{"link", -ELOOP, "open link: the path goes through a symbolic link"},
		{"sublink/image", -ELOOP, "open sublink/image: the path goes through a symbolic link"},
		{"outlink", -ELOOP, "open outlink: the path goes through a symbolic link"},
		{"../outside", -EXDEV, "open ../outside: the path leaves the folder of the disk"},
		{"sub/../../outside", -EXDEV, "open sub/../../outside: the path leaves the folder of the disk"},
		{"/etc/passwd", -EXDEV, "open /etc/passwd: the path leaves the folder of the disk"},
		{"pipe", -EMEDIUMTYPE, "open pipe: it is a pipe, not a regular file"},
		{"sub", -EISDIR, "open sub: it is a directory, not a regular file"},
		{"missing", -ENOENT, "open missing: No such file or directory"},
		{"missing/image", -ENOENT, "open missing/image: No such file or directory"},
		{"image/image", -ENOTDIR, "open image/image: Not a directory"},
	};
	expect_same_file(open_below("image", O_RDWR), "d/image");
	expect_same_file(open_below("sub/image", O_RDONLY), "d/sub/image");
	expect_same_file(open_below("./sub//image", O_RDONLY), "d/sub/image");
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		cr_expect(eq(int, open_below(refused[i].name, O_RDWR), refused[i].err), "%s", refused[i].name);
		cr_expect(eq(str, (char *)pl_error(), (char *)refused[i].sentence));
	}
}

Test(ploop_image_fd, D9_folder_is_not_left)
{
	expect_rules();
}

static void expect_rules_by_components(int err)
{
	forbid_openat2(err);
	expect_rules();
}

Test(ploop_image_fd, D9_folder_is_not_left_without_openat2)
{
	expect_rules_by_components(ENOSYS);
}

Test(ploop_image_fd, D9_folder_is_not_left_where_openat2_is_forbidden)
{
	expect_rules_by_components(EPERM);
}

Test(ploop_image_fd, path_named_by_the_operator_is_followed)
{
	expect_same_file(open_named("d/link", O_RDWR), "d/image");
	expect_same_file(open_named("d/outlink", O_RDONLY), "outside");
	expect_same_file(open_named("d/../outside", O_RDONLY), "outside");
}

Test(ploop_image_fd, what_is_no_image_is_refused_at_once)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	autofd int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(eq(int, bind(listener, (struct sockaddr *)&address, sizeof(address)), 0));
	cr_expect(eq(int, open_named("d/pipe", O_RDONLY), -EMEDIUMTYPE));
	cr_expect(eq(int, open_named("d/pipe", O_RDWR), -EMEDIUMTYPE));
	cr_expect(eq(int, open_named("/dev/zero", O_RDONLY), -EMEDIUMTYPE));
	cr_expect(eq(str, (char *)pl_error(), "open /dev/zero: it is a character device, not a regular file"));
	cr_expect(eq(int, open_named("d", O_RDONLY), -EISDIR));
	cr_expect(eq(int, open_named("socket", O_RDONLY), -EMEDIUMTYPE));
	cr_expect(eq(int, open_named("", O_RDONLY), -ENOENT));
}

/* A device that does not exist, so that nothing can act on it: by its type it is let through to the open. */
Test(ploop_image_fd, block_device_is_opened_only_when_named)
{
	if (mknod("d/device", S_IFBLK | 0600, 0))
		cr_skip("no permission to make a device node: %s", strerror(errno));
	cr_expect(eq(int, open_below("device", O_RDONLY), -EMEDIUMTYPE));
	cr_expect(eq(str, (char *)pl_error(), "open device: it is a block device, not a regular file"));
	int r = open_named("d/device", O_RDONLY);
	cr_expect(lt(int, r, 0));
	cr_expect(ne(int, r, -EMEDIUMTYPE), "%s", pl_error());
}
