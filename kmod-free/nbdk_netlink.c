#include "kmod-free/nbdk_netlink.h"

#include "base/cleanup.h"
#include "base/wait.h"
#include "kmod-free/kmodule.h"
#include "kmod-free/sysfs.h"
#include "ploop.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <string.h>

#define NBD_MODULE    "nbd"
#define RECONNECT_NS  (10 * NS_PER_S)
#define BACKEND_BYTES 4096 /* of a line in sysfs */

DEFINE_AUTO(struct nl_sock *, nlsock, nl_socket_free, NULL)
#define autonlsock __attribute__((cleanup(nlsock_autop)))
DEFINE_AUTO(struct nl_msg *, nlmsg, nlmsg_free, NULL)
#define autonlmsg __attribute__((cleanup(nlmsg_autop)))

/* ------------------------------------------------------------------ one question */

struct answer {
	int err;
	bool done;
	uint64_t index; /* of NBD_CMD_CONNECT */
};

static int on_error(struct sockaddr_nl *from, struct nlmsgerr *e, void *arg)
{
	struct answer *a = arg;
	a->err = e->error;
	a->done = true;
	return NL_STOP;
}

static int on_ack(struct nl_msg *msg, void *arg)
{
	struct answer *a = arg;
	a->done = true;
	return NL_STOP;
}

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct answer *a = arg;
	struct nlattr *attrs[NBD_ATTR_MAX + 1];
	if (genlmsg_parse(nlmsg_hdr(msg), 0, attrs, NBD_ATTR_MAX, NULL) == 0 && attrs[NBD_ATTR_INDEX])
		a->index = nla_get_u32(attrs[NBD_ATTR_INDEX]);
	return NL_OK;
}

static int ask(struct nl_sock *sock, struct nl_msg *msg, struct answer *a)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	if (!cb)
		return pl_fail(-ENOMEM, "no memory for netlink");
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, a);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_ack, a);
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, a);
	int r = nl_send_auto(sock, msg);
	while (r >= 0 && !a->done)
		r = nl_recvmsgs(sock, cb);
	nl_cb_put(cb);
	if (r < 0 && !a->done)
		return pl_fail(-EIO, "netlink to nbd: %s", nl_geterror(r));
	return a->err;
}

static int open_family(struct nl_sock **sock, int *family)
{
	autonlsock struct nl_sock *s = nl_socket_alloc();
	if (!s)
		return pl_fail(-ENOMEM, "no memory for netlink");
	int r = genl_connect(s);
	if (r < 0)
		return pl_fail(-EIO, "netlink: %s", nl_geterror(r));
	*family = genl_ctrl_resolve(s, NBD_GENL_FAMILY_NAME);
	if (*family < 0)
		return pl_fail(-ENOENT, "the kernel has no nbd");
	*sock = nlsock_steal(&s);
	return 0;
}

static struct nl_msg *new_command(int family, uint8_t command)
{
	struct nl_msg *msg = nlmsg_alloc();
	if (msg && !genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, command, 0)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return msg;
}

/* ------------------------------------------------------------------ the commands */

static int disconnect_index(uint64_t index)
{
	autonlsock struct nl_sock *sock = NULL;
	int family;
	int r = open_family(&sock, &family);
	if (r < 0)
		return r;
	autonlmsg struct nl_msg *msg = new_command(family, NBD_CMD_DISCONNECT);
	if (!msg || nla_put_u32(msg, NBD_ATTR_INDEX, (uint32_t)index) < 0)
		return pl_fail(-ENOMEM, "no memory for netlink");
	struct answer a = {0};
	r = ask(sock, msg, &a);
	if (r == -EINVAL || r == -ENODEV)
		return 0; /* it has no connection any more */
	return r < 0 ? pl_fail(r, "disconnect nbd%llu: %s", (unsigned long long)index, strerror(-r)) : 0;
}

int nbdk_probe(void)
{
	autonlsock struct nl_sock *sock = NULL;
	int family;
	if (open_family(&sock, &family) == 0)
		return 0;
	int r = kmodule_load(NBD_MODULE);
	return r < 0 ? r : open_family(&sock, &family);
}

static int put_socket(struct nl_msg *msg, int fd)
{
	struct nlattr *sockets = nla_nest_start(msg, NBD_ATTR_SOCKETS);
	struct nlattr *item = sockets ? nla_nest_start(msg, NBD_SOCK_ITEM) : NULL;
	if (!item || nla_put_u32(msg, NBD_SOCK_FD, (uint32_t)fd) < 0)
		return -ENOMEM;
	nla_nest_end(msg, item);
	nla_nest_end(msg, sockets);
	return 0;
}

static int put_device(struct nl_msg *msg, const struct nbdk_device *d)
{
	if (nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, d->size_bytes) < 0 ||
	    nla_put_u64(msg, NBD_ATTR_BLOCK_SIZE_BYTES, d->block_bytes) < 0 ||
	    nla_put_u64(msg, NBD_ATTR_SERVER_FLAGS, d->flags) < 0 || nla_put_u64(msg, NBD_ATTR_TIMEOUT, 0) < 0 ||
	    nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, NBDK_GONE_S) < 0 ||
	    nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, d->backend) < 0)
		return -ENOMEM;
	return put_socket(msg, d->socket_fd);
}

void nbdk_each(bool (*each)(void *arg, uint64_t index, const char *backend), void *arg)
{
	char backend[BACKEND_BYTES];
	DIR *dir = opendir("/sys/block");
	bool enough = false;
	struct dirent *entry;
	while (dir && !enough && (entry = readdir(dir))) {
		unsigned long long n;
		if (sscanf(entry->d_name, "nbd%llu", &n) == 1 &&
		    sysfs_read_line(backend, sizeof(backend), "/sys/block/%s/backend", entry->d_name) == 0)
			enough = each(arg, n, backend);
	}
	if (dir)
		closedir(dir);
}

struct search {
	const char *backend;
	bool found;
	uint64_t index;
};

static bool has_first_word(void *arg, uint64_t index, const char *backend)
{
	struct search *s = arg;
	size_t n = strcspn(s->backend, " ");
	s->found = strcspn(backend, " ") == n && strncmp(backend, s->backend, n) == 0;
	s->index = index;
	return s->found;
}

int nbdk_find(const char *backend, uint64_t *index)
{
	struct search s = {.backend = backend};
	nbdk_each(has_first_word, &s);
	*index = s.index;
	return s.found ? 0 : -ENOENT;
}

/* From its first request on: the kernel notes the time for each when it is sent. */
static int set_beat(uint64_t index)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/block/nbd%llu/queue/io_timeout", (unsigned long long)index);
	autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || dprintf(fd, "%d\n", NBDK_BEAT_MS) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	return 0;
}

int nbdk_connect(const struct nbdk_device *device, uint64_t *index)
{
	autonlsock struct nl_sock *sock = NULL;
	int family;
	uint64_t found;
	int r = open_family(&sock, &family);
	if (r < 0)
		return r;
	autonlmsg struct nl_msg *msg = new_command(family, NBD_CMD_CONNECT);
	if (!msg || put_device(msg, device) < 0)
		return pl_fail(-ENOMEM, "no memory for netlink");
	struct answer a = {0};
	r = ask(sock, msg, &a);
	if (r < 0)
		return pl_fail(r, "connect a free nbd device: %s", strerror(-r));
	*index = a.index;
	if (nbdk_find(device->backend, &found) < 0)
		r = pl_fail(-EOPNOTSUPP, "the kernel's nbd does not tell the name of a device: it is older than 5.14");
	if (r == 0)
		r = set_beat(a.index);
	if (r < 0)
		disconnect_index(a.index);
	return r;
}

static int new_reconnect(const char *backend, uint64_t index, int socket_fd, struct nl_sock **sock,
			 struct nl_msg **out)
{
	int family;
	int r = open_family(sock, &family);
	if (r < 0)
		return r;
	autonlmsg struct nl_msg *msg = new_command(family, NBD_CMD_RECONFIGURE);
	if (!msg || nla_put_u32(msg, NBD_ATTR_INDEX, (uint32_t)index) < 0 ||
	    nla_put_string(msg, NBD_ATTR_BACKEND_IDENTIFIER, backend) < 0 || put_socket(msg, socket_fd) < 0)
		return pl_fail(-ENOMEM, "no memory for netlink");
	*out = nlmsg_steal(&msg);
	return 0;
}

static int try_reconnect(const char *backend, uint64_t index, int socket_fd)
{
	autonlsock struct nl_sock *sock = NULL;
	autonlmsg struct nl_msg *msg = NULL;
	int r = new_reconnect(backend, index, socket_fd, &sock, &msg);
	return r < 0 ? r : ask(sock, msg, &(struct answer){0});
}

int nbdk_write_reconnect(const char *backend, uint64_t index, int socket_fd, int out)
{
	autonlsock struct nl_sock *sock = NULL;
	autonlmsg struct nl_msg *msg = NULL;
	int r = new_reconnect(backend, index, socket_fd, &sock, &msg);
	if (r < 0)
		return r;
	nl_complete_msg(sock, msg);
	const struct nlmsghdr *head = nlmsg_hdr(msg);
	return write(out, head, head->nlmsg_len) == (ssize_t)head->nlmsg_len ? 0 : pl_fail(-EIO, "write a message");
}

/* The kernel may not have seen yet that the old connection is dead. */
int nbdk_reconnect(const char *backend, uint64_t index, int socket_fd)
{
	struct wait wait = WAIT_UNTIL(pl_now_ns() + RECONNECT_NS);
	int r;
	while ((r = try_reconnect(backend, index, socket_fd)) == -ENOSPC)
		if (!wait_a_moment(&wait, pl_now_ns()))
			break;
	return r < 0 ? pl_fail(r, "reconnect nbd%llu: %s", (unsigned long long)index, strerror(-r)) : 0;
}

int nbdk_disconnect(const char *backend)
{
	uint64_t index;
	return nbdk_find(backend, &index) < 0 ? 0 : disconnect_index(index);
}
