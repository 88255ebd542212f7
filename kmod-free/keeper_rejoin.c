#include "kmod-free/keeper_rejoin.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/wait.h"
#include "kmod-free/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#define MESSAGE_BYTES 2048
#define REJOIN_NS     (1 * NS_PER_S)

static int say(int netlink, const void *message, size_t bytes)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr body;
		char message[MESSAGE_BYTES];
	} answer;
	ssize_t least = sizeof(answer.head) + sizeof(answer.body);
	if (send(netlink, message, bytes, 0) != (ssize_t)bytes || recv(netlink, &answer, sizeof(answer), 0) < least)
		return -EIO;
	return answer.head.nlmsg_type == NLMSG_ERROR ? answer.body.error : -EIO;
}

int keeper_rejoin(int message)
{
	char text[MESSAGE_BYTES];
	int ends[2];
	ssize_t bytes = pread(message, text, sizeof(text), 0);
	autofd int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (bytes <= 0 || netlink < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -1;
	autofd int kernels = dup3(ends[0], KEEPER_REJOIN_FD, O_CLOEXEC);
	autofd int ours = ends[1];
	close(ends[0]);
	struct wait wait = WAIT_UNTIL(clock_now_ns() + REJOIN_NS);
	int r = kernels < 0 ? -errno : say(netlink, text, (size_t)bytes);
	while (r == -ENOSPC && wait_a_moment(&wait, clock_now_ns()))
		r = say(netlink, text, (size_t)bytes);
	return r == 0 ? fd_steal(&ours) : -1;
}
