#include "kmod-free/process.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "ploop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

uint64_t process_start_ticks(uint64_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* pid (name) state and 18 numbers before it; the name may contain anything. */
	const char *p = strrchr(text, ')');
	char state;
	uint64_t start = 0;
	if (!p || sscanf(p + 1,
			 " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64, &state,
			 &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

bool process_is(uint64_t pid, uint64_t start)
{
	return pid != 0 && start != 0 && process_start_ticks(pid) == start;
}

int process_signal(uint64_t pid, uint64_t start, int signal)
{
	if (!process_is(pid, start) || kill((pid_t)pid, signal) != 0)
		return pl_fail(-ESRCH, "process %" PRIu64 " has ended", pid);
	return 0;
}

int process_wait_end(uint64_t pid, uint64_t start, uint64_t deadline_ns)
{
	struct wait wait = WAIT_UNTIL(deadline_ns);
	while (process_is(pid, start))
		if (!wait_a_moment(&wait, pl_now_ns()))
			return pl_fail(-ETIMEDOUT, "process %" PRIu64 " still runs", pid);
	return 0;
}

static bool ends_in(const char *text, const char *tail)
{
	size_t n = strlen(text), m = strlen(tail);
	return n >= m && strcmp(text + n - m, tail) == 0;
}

static bool has_words(FILE *in, const char *program, const char *const *words)
{
	autofree char *word = NULL;
	size_t bytes = 0, matched = 0;
	if (getdelim(&word, &bytes, '\0', in) <= 0 || word[0] != '@' || !ends_in(word, program))
		return false;
	while (words[matched] && getdelim(&word, &bytes, '\0', in) > 0)
		matched = strcmp(word, words[matched]) == 0 ? matched + 1 : 0;
	return !words[matched];
}

uint64_t process_find(const char *program, const char *const *words)
{
	uint64_t found = 0, pid;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	while (proc && (entry = readdir(proc))) {
		char path[64];
		if (sscanf(entry->d_name, "%" SCNu64, &pid) != 1)
			continue;
		snprintf(path, sizeof(path), "/proc/%" PRIu64 "/cmdline", pid);
		FILE *in = fopen(path, "re");
		if (in && has_words(in, program, words) && process_start_ticks(pid) >= process_start_ticks(found))
			found = pid;
		if (in)
			fclose(in);
	}
	if (proc)
		closedir(proc);
	return found;
}
