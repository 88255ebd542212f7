/* Does anybody but the running disk have an image? Its server shares the reader's lock with them, so that trying the
 * lock tells nothing; the kernel's list of locks does. A lock of our own on a byte that nobody uses tells which lines
 * there are this file's, whatever device number they show. */
#include "snapshot/op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define BYTE_OF_ALL  400 /* every owner locks it: lock.h */
#define BYTE_OF_OURS 499

/* "1: OFDLCK  ADVISORY  READ -1 fe:00:1234 400 400" */
struct lock_line {
	char file[64];
	unsigned long long first;
};

static bool next_line(FILE *f, struct lock_line *out)
{
	char line[256];
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s OFDLCK %*s %*s %*s %63s %llu", out->file, &out->first) == 2)
			return true;
	return false;
}

static bool has_inode(const char *file, ino_t ino)
{
	const char *colon = strrchr(file, ':');
	return colon && strtoull(colon + 1, NULL, 10) == ino;
}

static int count(FILE *f, ino_t ino)
{
	char file[64] = "";
	struct lock_line l;
	int n = 0;
	while (!*file && next_line(f, &l))
		if (l.first == BYTE_OF_OURS && has_inode(l.file, ino)) /* others may look at other files now */
			memcpy(file, l.file, sizeof(file));
	rewind(f);
	while (*file && next_line(f, &l))
		n += l.first == BYTE_OF_ALL && !strcmp(l.file, file);
	return n;
}

int snap_check_read_once(const struct pl_image_ref *image)
{
	struct flock probe = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = BYTE_OF_OURS, .l_len = 1};
	autofd int fd = pl_image_open_fd(image, O_RDONLY);
	if (fd < 0)
		return fd;
	struct stat st;
	FILE *f = fopen("/proc/locks", "re");
	if (!f)
		return 0; /* nobody can tell */
	int n = fstat(fd, &st) || fcntl(fd, F_OFD_SETLK, &probe) ? 0 : count(f, st.st_ino);
	fclose(f);
	return n > 1 ? pl_fail(-EBUSY, "%s is in use: others read it besides the running disk", image->path) : 0;
}
