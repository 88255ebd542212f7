#include "kmod-free/kmodule.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "ploop.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>

extern char **environ;

static const char *const programs[] = {"/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe"};

static const char *find_modprobe(void)
{
	for (size_t i = 0; i < ARRAY_LEN(programs); i++)
		if (access(programs[i], X_OK) == 0)
			return programs[i];
	return NULL;
}

static int spawn(const char *program, const char *name, int errors_fd, pid_t *pid)
{
	const char *const argv[] = {"modprobe", name, NULL};
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return -r;
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&actions, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, errors_fd, STDERR_FILENO);
	r = posix_spawn(pid, program, &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return -r;
}

/* The first line of what it says, to the end of its output. */
static void read_errors(int fd, char *line, size_t line_bytes)
{
	size_t used = 0;
	ssize_t n;
	char rest[256];
	while ((n = used + 1 < line_bytes ? read(fd, line + used, line_bytes - 1 - used)
					  : read(fd, rest, sizeof(rest))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && used + 1 < line_bytes)
			used += (size_t)n;
	}
	line[used] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

int kmodule_load(const char *name)
{
	const char *program = find_modprobe();
	if (!program)
		return pl_fail(-ENOENT, "the kernel has no %s, and there is no modprobe to load it", name);
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) != 0)
		return pl_fail(-errno, "pipe: %s", strerror(errno));
	autofd int ours = ends[0];
	autofd int theirs = ends[1];
	pid_t pid;
	int r = spawn(program, name, theirs, &pid);
	if (r < 0)
		return pl_fail(r, "start %s: %s", program, strerror(-r));
	close(fd_steal(&theirs));
	char said[256];
	read_errors(ours, said, sizeof(said));
	return child_wait(pid) == 0 ? 0 : pl_fail(-ENOENT, "the kernel has no %s: %s", name,
						  said[0] ? said : "modprobe failed");
}
