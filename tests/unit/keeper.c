/* A server that dies is followed by another that has what it kept; and what its keeper does when it is told. The
 * servers are this program, started once more: see play_server(). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "kmod-free/keeper.h"
#include "ploop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define ROLE "PLOOP_KEEPER_TEST" /* its value is the command socket */

/* Everything a server does here goes into the pipe it keeps: its pid, when it is ready. */
struct part {
	struct keeper *keeper;
	struct pl_loop *loop;
	bool mortal, stubborn;
};

static char program[512], holder_of_fds[512], command[512];
static int gift[2] = {-1, -1}; /* a pipe whose writing end the first server gives to the next */
static int message = -1;       /* what the first server has said to the kernel when it has died */

static void on_leave(void *arg)
{
	struct part *p = arg;
	if (p->stubborn) {
		keeper_stay(p->keeper, "it is a bad moment");
		return;
	}
	if (gift[1] >= 0)
		keeper_give(p->keeper, "gift", gift[1]);
	keeper_left(p->keeper);
	_exit(0);
}

/* The words are "PROGRAM [die | stubborn | mortal | joined | alone | orphan]". Those joined and alone come with
 * a connection to the kernel or without, or not at all; the keeper of an orphan dies when it comes. @notes: kept from
 * the first on. */
static void play(struct part *p, const char *how, int notes)
{
	char *words[] = {program, (char *)how, NULL};
	struct keeper_options o = {
		.program = holder_of_fds,
		.command_path = command,
		.words = words,
		.mortal = strcmp(how, "mortal") == 0,
		.leave = on_leave,
		.arg = p,
	};
	p->stubborn = strcmp(how, "stubborn") == 0;
	pid_t pid = getpid();
	if (pl_loop_new(NULL, &p->loop) < 0 || keeper_start(p->keeper, p->loop, &o) < 0 ||
	    write(notes, &pid, sizeof(pid)) != sizeof(pid)) {
		fprintf(stderr, "server: %s\n", pl_error());
		_exit(1);
	}
	pl_loop_run(p->loop);
	_exit(0);
}

static void names(void)
{
	const char *build = getenv("BUILD");
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = '\0';
	snprintf(holder_of_fds, sizeof(holder_of_fds), "%s/ploop-keeper", build ? build : "build/release");
}

static void end_parent(void)
{
	pid_t parent = getppid();
	kill(parent, SIGKILL);
	while (getppid() == parent)
		usleep(1000);
}

/* A successor never comes to the test framework. */
__attribute__((constructor)) static void play_server(int argc, char **argv)
{
	const char *path = getenv(ROLE);
	if (!path || !getenv(KEEPER_ENV))
		return;
	struct part p = {.keeper = keeper_new()};
	names();
	snprintf(command, sizeof(command), "%s", path);
	if (strcmp(argv[1], "die") == 0) {
		keeper_why(p.keeper, "it was told to die");
		_exit(1);
	}
	if (strcmp(argv[1], "alone") == 0 && keeper_fd(p.keeper, KEEPER_FD_KERNEL) >= 0)
		_exit(1);
	if (strcmp(argv[1], "joined") == 0 && keeper_fd(p.keeper, KEEPER_FD_KERNEL) < 0)
		_exit(1);
	if (strcmp(argv[1], "orphan") == 0)
		end_parent();
	play(&p, argv[1], keeper_fd(p.keeper, "notes"));
}

/* ------------------------------------------------------------------ the test's side */

static int notes[2];

static void setup(void)
{
	const char *dir = getenv("TMPDIR");
	names();
	snprintf(command, sizeof(command), "%s/keeper-%d", dir ? dir : "/tmp", (int)getpid());
	setenv(ROLE, command, 1);
	cr_assert(zero(int, pipe2(notes, O_CLOEXEC)));
}

TestSuite(keeper, .init = setup, .timeout = 60);

static pid_t next_server(void)
{
	pid_t pid = 0;
	struct pollfd p = {.fd = notes[0], .events = POLLIN};
	cr_assert(eq(int, poll(&p, 1, 20000), 1), "no server came");
	cr_assert(eq(sz, (size_t)read(notes[0], &pid, sizeof(pid)), sizeof(pid)));
	return pid;
}

static pid_t start(const char *how)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct part p = {.keeper = keeper_new()};
		if (keeper_keep(p.keeper, "notes", notes[1]) < 0 ||
		    (message >= 0 && keeper_keep(p.keeper, KEEPER_FD_REJOIN, message) < 0))
			_exit(1);
		play(&p, how, notes[1]);
	}
	cr_assert(eq(int, next_server(), pid));
	return pid;
}

static struct keeper_state ask(enum keeper_command what, int expected)
{
	struct keeper_state s = {.phase = UINT32_MAX};
	cr_assert(eq(int, keeper_ask(command, what, &s), expected), "%s", pl_error());
	return s;
}

static void await_phase(enum keeper_phase phase)
{
	for (int i = 0; i < 2000 && ask(KEEPER_STATE, 0).phase != phase; i++)
		usleep(10000);
	cr_assert(eq(u32, ask(KEEPER_STATE, 0).phase, phase));
}

/* Who made the command socket listen is a server; its keeper is the one process with its path in its words. */
static pid_t find_keeper(void)
{
	char line[1024];
	snprintf(line, sizeof(line), "pgrep -f 'ploop-keepe[r] %s'", command);
	FILE *in = popen(line, "r");
	int pid = 0;
	cr_assert(eq(int, fscanf(in, "%d", &pid), 1));
	pclose(in);
	return pid;
}

/* Nobody is left: neither keeper nor socket. */
static void end(void)
{
	ask(KEEPER_ABORT, 0);
	cr_assert(eq(int, keeper_ask(command, KEEPER_STATE, NULL), -ENOENT));
	cr_assert(ne(int, access(command, F_OK), 0));
	while (waitpid(-1, NULL, 0) > 0)
		;
}

Test(keeper, a_killed_server_is_followed_by_one_that_has_what_it_kept)
{
	pid_t first = start("serve");
	for (int i = 0; i < 3; i++) {
		kill(first, SIGKILL);
		pid_t second = next_server(); /* through the pipe that it found by name */
		cr_assert(ne(int, second, first));
		await_phase(KEEPER_RUNS);
		cr_assert(eq(u32, ask(KEEPER_STATE, 0).server_pid, (uint32_t)second));
		first = second;
	}
	end();
}

Test(keeper, one_that_dies_again_and_again_is_waited_for_until_told)
{
	kill(start("die"), SIGKILL);
	await_phase(KEEPER_WAITS);
	struct keeper_state s = ask(KEEPER_STATE, 0);
	cr_assert(eq(u32, s.deaths, KEEPER_DEATHS_MAX));
	cr_assert(eq(str, s.text, "it was told to die"));
	ask(KEEPER_RETRY, 0);
	ask(KEEPER_UPGRADE, -EAGAIN); /* it tries */
	await_phase(KEEPER_WAITS);
	end();
}

Test(keeper, an_upgrade_starts_the_next_when_the_last_has_left)
{
	pid_t first = start("serve");
	cr_assert(gt(u64, ask(KEEPER_UPGRADE, 0).gap_ns, 0));
	cr_assert(ne(int, next_server(), first));
	cr_assert(eq(u32, ask(KEEPER_STATE, 0).deaths, 0));
	end();
}

static bool gift_is_held(int patience_ms)
{
	struct pollfd p = {.fd = gift[0], .events = POLLIN};
	return poll(&p, 1, patience_ms) == 0;
}

Test(keeper, what_is_given_is_the_next_servers_alone)
{
	cr_assert(zero(int, pipe2(gift, O_CLOEXEC)));
	start("serve");
	close(gift[1]);
	ask(KEEPER_UPGRADE, 0);
	pid_t second = next_server();
	cr_assert(gift_is_held(0), "the next one does not have it");
	kill(second, SIGKILL);
	cr_assert(ne(int, next_server(), second));
	cr_assert(not(gift_is_held(20000)), "it was kept");
	end();
}

/* Of a type that the kernel of netlink itself answers. */
static void make_message(uint16_t type)
{
	struct nlmsghdr head = {
		.nlmsg_len = sizeof(head),
		.nlmsg_type = type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	};
	message = memfd_create("message", MFD_CLOEXEC);
	cr_assert(eq(sz, (size_t)write(message, &head, sizeof(head)), sizeof(head)));
}

Test(keeper, the_kernel_has_a_new_connection_before_each_next_server)
{
	make_message(NLMSG_NOOP);
	pid_t first = start("joined");
	for (int i = 0; i < 3; i++) {
		kill(first, SIGKILL);
		first = next_server();
	}
	end();
}

Test(keeper, a_kernel_that_refuses_is_left_to_the_next_server)
{
	make_message(NLMSG_MIN_TYPE + 7); /* no such family */
	kill(start("alone"), SIGKILL);
	next_server();
	end();
}

Test(keeper, a_server_may_refuse_to_leave)
{
	start("stubborn");
	ask(KEEPER_UPGRADE, -EBUSY);
	cr_assert(ne(ptr, strstr(pl_error(), "a bad moment"), NULL));
	await_phase(KEEPER_RUNS);
	end();
}

Test(keeper, a_killed_keeper_is_replaced_and_the_new_one_has_all)
{
	pid_t first = start("serve");
	kill(find_keeper(), SIGKILL);
	struct keeper_state s;
	for (int i = 0; i < 2000 && keeper_ask(command, KEEPER_STATE, &s) < 0; i++)
		usleep(10000);
	await_phase(KEEPER_RUNS);
	kill(first, SIGKILL);
	cr_assert(ne(int, next_server(), first));
	end();
}

Test(keeper, a_server_whose_keeper_died_while_it_came_starts_another)
{
	pid_t first = start("orphan");
	kill(first, SIGKILL);
	cr_assert(ne(int, next_server(), first));
	await_phase(KEEPER_RUNS);
	end();
}

Test(keeper, of_a_server_whose_requests_die_with_it_nothing_is_kept)
{
	pid_t first = start("mortal");
	ask(KEEPER_UPGRADE, 0); /* with its requests answered it may leave */
	cr_assert(ne(int, next_server(), first));
	kill((pid_t)ask(KEEPER_STATE, 0).server_pid, SIGKILL);
	for (int i = 0; i < 2000 && keeper_ask(command, KEEPER_STATE, NULL) == 0; i++)
		usleep(10000);
	cr_assert(eq(int, keeper_ask(command, KEEPER_STATE, NULL), -ENOENT));
	cr_assert(ne(int, access(command, F_OK), 0));
}
