/* One child at a time; both its outputs end in one pipe, of which the last line is remembered. */
#include "cli/program.h"

#include "cli/interrupt.h"
#include "ploop.h"
#include "base/cleanup.h"
#include "base/units.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

extern char **environ;

static const char *const directories[] = {"/sbin", "/bin", "/usr/sbin", "/usr/bin", "/usr/local/sbin"};

int program_find(const char *name, char path[PROGRAM_PATH_BYTES])
{
	for (size_t i = 0; i < ARRAY_LEN(directories) && !strchr(name, '/'); i++) {
		int n = snprintf(path, PROGRAM_PATH_BYTES, "%s/%s", directories[i], name);
		if (n < PROGRAM_PATH_BYTES && access(path, X_OK) == 0)
			return 0;
	}
	if (strchr(name, '/') && access(name, X_OK) == 0 && strlen(name) < PROGRAM_PATH_BYTES) {
		snprintf(path, PROGRAM_PATH_BYTES, "%s", name);
		return 0;
	}
	return pl_fail(-ENOENT, "the program %s is not installed", name);
}

static int spawn(const char *path, const char *const *argv, int output, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	int r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return pl_fail(-r, "start %s: %s", path, strerror(r));
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (output >= 0) {
		posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
	}
	r = posix_spawn(pid, path, &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r == 0 ? 0 : pl_fail(-r, "start %s: %s", path, strerror(r));
}

/* Read @fd to its end; @last gets the last line that is not empty and not behind a usage text. */
static void read_last_line(int fd, char *last, size_t last_bytes)
{
	FILE *in = fdopen(fd, "r");
	if (!in)
		return;
	char line[512];
	bool usage = false;
	while (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\r\n")] = '\0';
		usage |= strncasecmp(line, "usage:", 6) == 0;
		if (line[0] && !usage)
			snprintf(last, last_bytes, "%s", line);
	}
	fclose(in);
}

static int wait_for(pid_t pid, const char *name, const char *last_line)
{
	int status;
	if (interrupt_seen())
		kill(pid, SIGTERM);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno == EINTR)
			kill(pid, SIGTERM);
		else
			return pl_fail(-errno, "wait for %s: %s", name, strerror(errno));
	}
	if (WIFSIGNALED(status))
		return pl_fail(-EINTR, "%s was killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		pl_fail(-EIO, "%s ended with status %d%s%s", name, WEXITSTATUS(status),
			last_line[0] ? ": " : "", last_line);
	return WEXITSTATUS(status);
}

int program_run(const char *const *argv, bool show)
{
	char path[PROGRAM_PATH_BYTES];
	int r = program_find(argv[0], path);
	if (r < 0)
		return r;
	char last_line[512] = "";
	autofd int ours = -1;
	autofd int theirs = -1;
	if (!show) {
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) < 0)
			return pl_fail(-errno, "pipe: %s", strerror(errno));
		ours = ends[0];
		theirs = ends[1];
	}
	pid_t pid;
	r = spawn(path, argv, theirs, &pid);
	if (r < 0)
		return r;
	if (!show) {
		close(fd_steal(&theirs));
		read_last_line(fd_steal(&ours), last_line, sizeof(last_line));
	}
	return wait_for(pid, argv[0], last_line);
}
