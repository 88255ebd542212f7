/* The control over its socket: a server in a process of its own, with a disk that is a fake, and our client. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "kmod-free/control_server.h"
#include "ploop-serve.h"
#include "tests/support/control_fake.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char folder[64], path[80];
static pid_t server;
static bool is_slow;

static void on_signal(struct pl_io *io)
{
	pl_loop_stop(*(struct pl_loop **)io->buf);
}

/* Opening files turns the loop, and clients come and go meanwhile. */
static void push_slowly(struct control_fake *f)
{
	for (int i = 0; i < 100; i++) {
		pl_loop_step(f->loop, false);
		usleep(1000);
	}
}

/* Until SIGTERM; how it went is the exit code. */
_Noreturn static void serve(int ready_fd)
{
	static struct control_fake fake;
	struct pl_loop *loop;
	struct control_server *s;
	sigset_t set;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (pl_loop_new(NULL, &loop) < 0)
		_exit(2);
	control_fake_init(&fake, loop);
	fake.on_push = is_slow ? push_slowly : NULL;
	if (control_server_start(loop, &fake.backend, path, &s) < 0)
		_exit(3);
	struct pl_io term = {.done = on_signal, .fd = signalfd(-1, &set, SFD_CLOEXEC), .kind = PL_IO_POLL,
			     .arg = POLLIN, .buf = &loop, .buf_index = PL_IO_NO_BUFFER};
	pl_loop_submit(loop, &term);
	if (write(ready_fd, "", 1) != 1 || pl_loop_run(loop) < 0)
		_exit(4);
	control_server_stop(s);
	if (fake.change || fake.pushed[0])
		_exit(5);
	close(term.fd);
	pl_loop_free(loop);
	_exit(fake.cancels ? 10 : fake.abandons ? 11 : 0);
}

static void start(void)
{
	int ends[2];
	char byte;
	snprintf(folder, sizeof(folder), "/tmp/ploop-control.XXXXXX");
	cr_assert(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/ctl", folder);
	cr_assert(eq(int, pipe(ends), 0));
	server = fork();
	if (server == 0)
		serve(ends[1]);
	close(ends[1]);
	cr_assert(eq(int, (int)read(ends[0], &byte, 1), 1));
	close(ends[0]);
}

static int stop_server(void)
{
	int status = 0;
	if (!server)
		return -1;
	kill(server, SIGTERM);
	cr_assert(eq(int, waitpid(server, &status, 0), server));
	server = 0;
	cr_assert(eq(int, access(path, F_OK), -1), "the socket is left");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -status;
}

static void stop(void)
{
	if (server)
		kill(server, SIGKILL);
	unlink(path);
	rmdir(folder);
}

TestSuite(control_socket, .init = start, .fini = stop, .timeout = 30);

static struct pl_live *connected(void)
{
	struct pl_live *live = NULL;
	cr_assert(eq(int, pl_live_connect_at(path, &live), 0), "%s", pl_error());
	return live;
}

Test(control_socket, it_is_ours_alone)
{
	struct stat st;
	cr_assert(eq(int, stat(path, &st), 0));
	cr_assert(eq(int, (int)(st.st_mode & 07777), 0600));
}

Test(control_socket, the_calls_of_a_live_disk)
{
	struct pl_live *live = connected();
	struct pl_member *members;
	size_t count;
	cr_assert(eq(int, live->ops->members(live, &members, &count), 0), "%s", pl_error());
	cr_assert(eq(sz, count, CONTROL_FAKE_MEMBERS));
	cr_assert(eq(str, (char *)members[2].path, "/vz/ct 1/top.hds"));
	cr_assert(eq(u64, members[0].dev, UINT64_C(0xfffffffffffffff0)));
	free(members);

	struct pl_live_stat stat;
	const struct pl_limits limits = {sizeof(limits), 20 << 20, 300, 60001}, less = {sizeof(less), 1, 2, 3};
	const enum pl_on_full fails = PL_FULL_FAILS;
	cr_assert(eq(int, pl_live_set(live, &limits, NULL), -EINVAL));
	cr_assert(eq(int, pl_live_set(live, &less, &fails), 0), "%s", pl_error());
	cr_assert(eq(int, pl_live_set(live, &less, NULL), 0), "%s", pl_error());
	cr_assert(eq(int, pl_live_get_stat(live, &stat), 0), "%s", pl_error());
	cr_assert(eq(u64, stat.disk.limits.requests_per_s, 2));
	cr_assert(eq(int, stat.disk.on_full, PL_FULL_FAILS));
	cr_assert(eq(int, pl_live_retry(live), 0), "%s", pl_error());

	uint64_t pause_ns = 0;
	const struct pl_switch_options options = {.size = sizeof(options),
						  .cbt_uuid = "5fbaabe3-6958-40ff-92a7-860e329aab41"};
	cr_assert(eq(int, live->ops->switch_top(live, &options, &pause_ns), -ENOENT));
	cr_assert(eq(str, (char *)pl_error(), "no image was pushed"));
	cr_assert(eq(int, live->ops->push(live, "root.hds.{1}"), 0), "%s", pl_error());
	cr_assert(eq(int, live->ops->push(live, "root.hds.{2}"), -EBUSY));
	cr_assert(eq(int, live->ops->switch_top(live, &options, &pause_ns), 0), "%s", pl_error());
	cr_assert(eq(u64, pause_ns, 1234567));
	cr_assert(eq(int, live->ops->push(live, "root.hds.{2}"), 0), "%s", pl_error());
	cr_assert(eq(int, live->ops->abandon(live), 0), "%s", pl_error());
	cr_assert(eq(int, live->ops->replace(live, 1, "d/x"), -EINVAL));
	cr_assert(eq(int, live->ops->replace(live, 1, "copy.hds"), 0), "%s", pl_error());
	cr_assert(eq(int, live->ops->merge(live, 3, PL_INTO_CHILD, NULL), -EINVAL));
	cr_assert(eq(int, live->ops->merge(live, 1, PL_INTO_CHILD, NULL), 0), "%s", pl_error());
	pl_live_close(live);
	cr_assert(eq(int, stop_server(), 11));
}

struct watched {
	unsigned steps, asked, cancel_after;
	uint64_t done_bytes, total_bytes;
};

static void step(void *arg, uint64_t done_bytes, uint64_t total_bytes)
{
	struct watched *w = arg;
	w->steps++;
	w->done_bytes = done_bytes;
	w->total_bytes = total_bytes;
}

static bool cancelled(void *arg)
{
	struct watched *w = arg;
	return w->cancel_after && ++w->asked >= w->cancel_after;
}

Test(control_socket, a_merge_tells_how_far_it_is)
{
	struct pl_live *live = connected();
	struct watched w = {0};
	const struct pl_progress progress = {step, cancelled, &w};
	cr_assert(eq(int, live->ops->merge(live, 1, PL_INTO_PARENT, &progress), 0), "%s", pl_error());
	cr_assert(ge(uint, w.steps, 1));
	cr_assert(eq(u64, w.total_bytes, 1000));
	pl_live_close(live);
	cr_assert(eq(int, stop_server(), 0));
}

Test(control_socket, a_merge_can_be_cancelled_and_the_connection_goes_on)
{
	struct pl_live *live = connected();
	struct watched w = {.cancel_after = 1};
	const struct pl_progress progress = {step, cancelled, &w};
	cr_assert(eq(int, live->ops->merge(live, 1, PL_INTO_PARENT, &progress), -ECANCELED));
	cr_assert(strstr(pl_error(), "the change ended") != NULL, "%s", pl_error());
	cr_assert(eq(int, live->ops->push(live, "x"), 0), "%s", pl_error());
	pl_live_close(live);
	cr_assert(eq(int, stop_server(), 10));
}

/* A connection of ours, for what our client does not do. */
static int dial(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0));
	return fd;
}

static void say(int fd, const char *text)
{
	cr_assert(eq(int, (int)send(fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text)));
}

/* The next line. */
static char *hear(int fd)
{
	static char line[4096];
	size_t n = 0;
	while (n < sizeof(line) - 1 && recv(fd, line + n, 1, 0) == 1 && line[n++] != '\n')
		;
	line[n] = '\0';
	return line;
}

#define HELLO "{\"id\":1,\"do\":\"hello\",\"version\":1}\n"
#define MERGE "{\"id\":2,\"do\":\"merge\",\"child\":1,\"into\":\"child\"}\n"
#define PUSH  "{\"id\":2,\"do\":\"push\",\"name\":\"x\"}\n"

Test(control_socket, who_goes_takes_its_merge_and_its_image_along)
{
	int fd = dial();
	say(fd, HELLO MERGE);
	hear(fd);
	close(fd);
	struct pl_live *live = connected();
	int r;
	while ((r = live->ops->push(live, "y")) == -EBUSY)
		;
	cr_assert(eq(int, r, 0), "%s", pl_error());
	pl_live_close(live);
	live = connected();
	while ((r = live->ops->push(live, "z")) == -EBUSY)
		;
	cr_assert(eq(int, r, 0), "%s", pl_error());
	pl_live_close(live);
	cr_assert(eq(int, stop_server(), 10));
}

Test(control_socket, who_goes_while_another_is_served_is_forgotten_afterwards)
{
	stop_server();
	stop();
	is_slow = true;
	start();
	int fd = dial();
	say(fd, HELLO PUSH);
	hear(fd);
	usleep(20000);
	int other = dial(), third = dial();
	close(other); /* and has not said a word */
	say(third, HELLO PUSH);
	cr_assert(strstr(hear(fd), "result") != NULL);
	cr_assert(strstr(hear(third), "result") != NULL);
	cr_assert(strstr(hear(third), "EBUSY") != NULL);
	close(third);
	close(fd);
	cr_assert(eq(int, stop_server(), 11));
}

Test(control_socket, the_end_cancels_what_runs_and_tells_its_client)
{
	int fd = dial(), idle = dial();
	say(fd, HELLO MERGE);
	cr_assert(strstr(hear(fd), "result") != NULL);
	cr_assert(strstr(hear(fd), "progress") != NULL);
	say(idle, HELLO PUSH);
	cr_assert(strstr(hear(idle), "result") != NULL);
	cr_assert(strstr(hear(idle), "EBUSY") != NULL);
	cr_assert(eq(int, stop_server(), 10));
	cr_assert(strstr(hear(fd), "ECANCELED") != NULL);
	cr_assert(eq(str, hear(idle), ""));
	close(fd);
	close(idle);
}

Test(control_socket, the_end_abandons_what_is_pushed)
{
	struct pl_live *live = connected();
	cr_assert(eq(int, live->ops->push(live, "y"), 0), "%s", pl_error());
	cr_assert(eq(int, stop_server(), 11));
	cr_assert(lt(int, live->ops->abandon(live), 0));
	pl_live_close(live);
}

Test(control_socket, clients_beyond_the_limit_are_told)
{
	struct pl_live *live[CONTROL_MAX_CLIENTS], *more;
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		live[i] = connected();
	cr_assert(eq(int, pl_live_connect_at(path, &more), -EBUSY));
	cr_assert(strstr(pl_error(), "8 clients") != NULL, "%s", pl_error());
	for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
		pl_live_close(live[i]);
	int r;
	while ((r = pl_live_connect_at(path, &more)) == -EBUSY)
		;
	cr_assert(eq(int, r, 0), "%s", pl_error());
	pl_live_close(more);
}

/* It asks and asks, and reads nothing: we stop reading, and the others are served. */
Test(control_socket, who_does_not_read_is_not_served)
{
	static const char ask[] = "{\"id\":2,\"do\":\"members\"}\n";
	int fd = dial();
	say(fd, HELLO);
	size_t sent = 0;
	for (ssize_t n; (n = send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0 || sent == 0;) {
		sent += n > 0 ? (size_t)n : 0;
		cr_assert(lt(sz, sent, 64 << 20));
		usleep(100);
	}
	struct pl_live *live = connected();
	cr_assert(eq(int, live->ops->push(live, "y"), 0), "%s", pl_error());
	pl_live_close(live);
	cr_assert(eq(int, stop_server(), 11));
	close(fd);
}

Test(control_socket, nobody_there_is_no_entry)
{
	struct pl_live *live;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
	cr_assert(eq(int, access(path, F_OK), 0));
	cr_assert(eq(int, pl_live_connect_at(path, &live), -ENOENT));
	unlink(path);
	cr_assert(eq(int, pl_live_connect_at(path, &live), -ENOENT));
}

Test(control_socket, its_name_is_that_of_the_folder)
{
	char a[128], b[128], same[128], link[80];
	setenv("XDG_RUNTIME_DIR", folder, 1);
	snprintf(same, sizeof(same), "%s/DiskDescriptor.xml", folder);
	snprintf(link, sizeof(link), "%s.link", folder);
	cr_assert(eq(int, pl_control_path(same, a, sizeof(a)), 0), "%s", pl_error());
	cr_assert(eq(int, symlink(folder, link), 0));
	snprintf(same, sizeof(same), "%s/./DiskDescriptor.xml", link);
	int r = pl_control_path(same, b, sizeof(b));
	int short_r = pl_control_path(same, same, 8);
	unlink(link);
	cr_assert(eq(int, r, 0), "%s", pl_error());
	cr_assert(eq(str, a, b));
	cr_assert(strstr(a, "/ploop/ctl-") != NULL, "%s", a);
	cr_assert(eq(int, short_r, -ENAMETOOLONG));
	cr_assert(eq(int, pl_control_path("/nonexistent/x/DiskDescriptor.xml", b, sizeof(b)), -ENOENT));
	snprintf(same, sizeof(same), "%s/ploop", folder);
	rmdir(same);
}
