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

void lock_drop(int fd)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
	fcntl(fd, F_OFD_SETLK, &l);
}

void lock_lower(int fd)
{
	take(fd, F_RDLCK, BYTE_OURS);
	take(fd, F_UNLCK, BYTE_USES + PERM_WRITE);
	take(fd, F_UNLCK, BYTE_USES + PERM_RESIZE);
}

/* Does somebody else hold any lock on @byte? */
static int must_be_free(int fd, off_t byte)
{
	struct flock l = byte_lock(F_WRLCK, byte);
	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		return -errno;
	return l.l_type == F_UNLCK ? 0 : -EBUSY;
}

bool lock_has_others(int fd)
{
	return must_be_free(fd, BYTE_OURS) == -EBUSY || must_be_free(fd, BYTE_USES + PERM_READ) == -EBUSY;
}

struct protocol {
	short ours;      /* lock type on BYTE_OURS */
	const char *why; /* that one cannot be had */
	off_t takes[6];  /* shared; 0 ends the list */
	off_t tests[6];  /* nobody may have these */
};

static const struct protocol writer = {
	.ours = F_WRLCK,
	.why = "another ploop process has it open",
	.takes = {BYTE_USES + PERM_READ, BYTE_USES + PERM_WRITE, BYTE_USES + PERM_RESIZE, BYTE_UNSHARED + PERM_WRITE,
		  BYTE_UNSHARED + PERM_RESIZE},
	.tests = {BYTE_UNSHARED + PERM_READ, BYTE_UNSHARED + PERM_WRITE, BYTE_UNSHARED + PERM_RESIZE,
		  BYTE_USES + PERM_WRITE, BYTE_USES + PERM_RESIZE},
};
static const struct protocol reader = {
	.ours = F_RDLCK,
	.why = "another ploop process writes it",
	.takes = {BYTE_USES + PERM_READ, BYTE_UNSHARED + PERM_WRITE, BYTE_UNSHARED + PERM_RESIZE},
	.tests = {BYTE_UNSHARED + PERM_READ, BYTE_USES + PERM_WRITE, BYTE_USES + PERM_RESIZE},
};
static const struct protocol reader_of_shared_file = {
	.ours = F_RDLCK,
	.why = "another ploop process writes it",
	.takes = {BYTE_USES + PERM_READ},
	.tests = {BYTE_USES + PERM_WRITE, BYTE_USES + PERM_RESIZE}, /* libploop may work on another bundle of it */
};

static int lock_once(int fd, const struct protocol *p, const char **why)
{
	*why = p->why;
	int r = take(fd, p->ours, BYTE_OURS);
	if (r == 0)
		*why = "QEMU or libploop has it open";
	for (size_t i = 0; r == 0 && p->takes[i]; i++)
		r = take(fd, F_RDLCK, p->takes[i]);
	for (size_t i = 0; r == 0 && p->tests[i]; i++)
		r = must_be_free(fd, p->tests[i]);
	if (r < 0)
		lock_drop(fd);
	return r;
}

int lock_image(int fd, enum lock_mode mode, uint32_t wait_ms, const char *path)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return pl_fail(-errno, "%s: cannot stat: %s", path, strerror(errno));

	const struct protocol *p = mode == LOCK_WRITER ? &writer : st.st_nlink > 1 ? &reader_of_shared_file : &reader;
	const char *why = NULL;
	uint64_t give_up_ns = pl_now_ns() + wait_ms * NS_PER_MS;
	int r;
	while ((r = lock_once(fd, p, &why)) == -EBUSY && pl_now_ns() < give_up_ns)
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	if (r == -EBUSY)
		return pl_fail(r, "%s is in use: %s", path, why);
	if (r < 0)
		return pl_fail(r, "%s: cannot lock: %s", path, strerror(-r));
	return 0;
}
