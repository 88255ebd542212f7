/* See lock.h for the bytes and who else uses them. */
#include "ploop/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/units.h"
#include "ploop.h"

#define BYTE_OURS 400
#define BYTE_USES 100     /* + permission */
#define BYTE_UNSHARED 200 /* + permission */
#define PERM_READ 0
#define PERM_WRITE 1
#define PERM_RESIZE 3

#define RETRY_NS (10 * NS_PER_MS)

static struct flock byte_lock(short type, off_t byte)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
}

static int take(int fd, short type, off_t byte)
{
	struct flock l = byte_lock(type, byte);
	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
}

static void drop_all(int fd)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	fcntl(fd, F_OFD_SETLK, &l);
}

/* Does somebody else hold any lock on @byte? */
static int must_be_free(int fd, off_t byte)
{
	struct flock l = byte_lock(F_WRLCK, byte);
	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		return -errno;
	return l.l_type == F_UNLCK ? 0 : -EBUSY;
}

static int lock_once(int fd, enum lock_mode mode, bool is_shared_file, const char **why)
{
	static const off_t writer_takes[] = {
		BYTE_USES + PERM_READ,       BYTE_USES + PERM_WRITE,      BYTE_USES + PERM_RESIZE,
		BYTE_UNSHARED + PERM_WRITE,  BYTE_UNSHARED + PERM_RESIZE,
	};
	static const off_t reader_takes[] = {
		BYTE_USES + PERM_READ,
		BYTE_UNSHARED + PERM_WRITE,
		BYTE_UNSHARED + PERM_RESIZE,
	};
	static const off_t writer_tests[] = {
		BYTE_UNSHARED + PERM_READ, BYTE_UNSHARED + PERM_WRITE, BYTE_UNSHARED + PERM_RESIZE,
		BYTE_USES + PERM_WRITE,    BYTE_USES + PERM_RESIZE,
	};
	static const off_t reader_tests[] = {
		BYTE_USES + PERM_WRITE,
		BYTE_USES + PERM_RESIZE,
		BYTE_UNSHARED + PERM_READ, /* not of a shared file: libploop works on another bundle of it */
	};
	bool writer = mode == LOCK_WRITER;
	const off_t *takes = writer ? writer_takes : reader_takes;
	size_t take_count = writer ? ARRAY_LEN(writer_takes) : is_shared_file ? 1 : ARRAY_LEN(reader_takes);
	const off_t *tests = writer ? writer_tests : reader_tests;
	size_t test_count = writer ? ARRAY_LEN(writer_tests) : ARRAY_LEN(reader_tests) - is_shared_file;

	*why = writer ? "another ploop process has it open" : "another ploop process writes it";
	int r = take(fd, writer ? F_WRLCK : F_RDLCK, BYTE_OURS);
	*why = "QEMU or libploop has it open";
	for (size_t i = 0; r == 0 && i < take_count; i++)
		r = take(fd, F_RDLCK, takes[i]);
	for (size_t i = 0; r == 0 && i < test_count; i++)
		r = must_be_free(fd, tests[i]);
	if (r < 0)
		drop_all(fd);
	return r;
}

int lock_image(int fd, enum lock_mode mode, uint32_t wait_ms, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", path, strerror(errno));

	const char *why = NULL;
	uint64_t give_up_ns = pl_now_ns() + wait_ms * NS_PER_MS;
	int r;
	while ((r = lock_once(fd, mode, st.st_nlink > 1, &why)) == -EBUSY && pl_now_ns() < give_up_ns)
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	if (r == -EBUSY)
		return pl_fail(r, "%s is in use: %s", path, why);
	if (r < 0)
		return pl_fail(r, "%s: cannot lock: %s", path, strerror(-r));
	return 0;
}
