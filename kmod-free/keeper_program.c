#include "kmod-free/keeper_program.h"

#include "kmod-free/keeper_rejoin.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX_BYTES (2u << 20)

/* ------------------------------------------------------------------ a server */

/* The words end with a 0 each. NULL: there are none. */
static char **read_words(int fd)
{
	struct stat st;
	if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > WORDS_MAX_BYTES)
		return NULL;
	size_t bytes = (size_t)st.st_size;
	char *text = calloc(1, bytes + 1);
	if (!text || pread(fd, text, bytes, 0) != st.st_size)
		return NULL;
	size_t count = 0;
	for (size_t i = 0; i < bytes; i++)
		count += text[i] == '\0';
	char **words = calloc(count + 1, sizeof(*words));
	for (size_t i = 0; words && i < count; i++) {
		words[i] = text;
		text += strlen(text) + 1;
	}
	return count ? words : NULL;
}

/* One that left has given its connection to the next. */
static void rejoin_kernel(struct kept_fds *all)
{
	int message = kept_find(all, KEEPER_FD_REJOIN);
	int fd = message >= 0 && kept_find(all, KEEPER_FD_KERNEL) < 0 ? keeper_rejoin(message) : -1;
	if (fd >= 0)
		kept_put(all, KEEPER_FD_KERNEL, fd, true);
}

_Noreturn void keeper_become_server(const struct kept_fds *kept, int line)
{
	struct keeper_message m = {.word = KEEPER_WHY};
	struct kept_fds all = *kept;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	rejoin_kernel(&all);
	char **words = read_words(kept_find(kept, KEEPER_FD_WORDS));
	if (words && kept_put(&all, KEEPER_FD_LINE, line, false) && kept_pass(&all) == 0)
		execv(words[0], words);
	snprintf(m.text, sizeof(m.text), "%.300s: %s", words ? words[0] : "the words of the server", strerror(errno));
	(void)!send(line, &m, sizeof(m), MSG_NOSIGNAL);
	_exit(127);
}

/* ------------------------------------------------------------------ our own */

static char program[PATH_MAX]; /* "": not known */

void keeper_program_note(void)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program));
	program[n > 0 && n < (ssize_t)sizeof(program) ? n : 0] = '\0';
}

bool keeper_program_is_replaced(void)
{
	struct stat ours, there;
	return stat("/proc/self/exe", &ours) == 0 && stat(program, &there) == 0 &&
	       (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino);
}

/* The "@": see daemon_mark(). */
void keeper_program_become(const struct kept_fds *all, const char *path)
{
	char *argv[] = {(char *)"@ploop-keeper", (char *)path, NULL};
	int r = kept_pass(all);
	if (r < 0) {
		errno = -r;
		return;
	}
	execv(program, argv);
	int err = errno;
	kept_pass_not(all);
	errno = err;
}
