/* ploop-serve.h — serving disks: the NBD server, and the start of a server process of its own.
 *
 * The conventions are those of ploop.h: 0 or negative errno, pl_error() has the sentence, option structs begin with
 * their size, zero means the default, everything belongs to the thread of its loop.
 */
#ifndef PLOOP_SERVE_H
#define PLOOP_SERVE_H

#include "ploop.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------ NBD server on a loop ---------------------- */

struct pl_server;

struct pl_export {
	const char *name;        /* what clients ask for; "" is the default export */
	const char *description; /* NULL: none */
	struct pl_disk *disk;    /* on the server's loop; outlives the server */
};

struct pl_server_options {
	size_t size;
	const struct pl_export *exports; /* copied; the strings and disks are not */
	size_t export_count;
	uint32_t max_connections;     /* default 64 */
	const char *tls_certificates; /* folder with ca-cert.pem server-cert.pem server-key.pem, or */
	const char *tls_psk_file;     /* file with lines user:hexkey, as psktool writes */
	bool tls_verify_peer;         /* clients must show a certificate of that CA */
	bool insecure_tcp;            /* TCP also without TLS */
	const uint32_t *allow_uids;   /* besides root and our own, on unix sockets; copied */
	size_t allow_uid_count;
	/* The last connection is gone and none can come: after pl_server_close(), or without a listener. May be called
	 * again after pl_server_close(). Must not free the server. */
	void (*drained)(void *arg);
	void (*rested)(void *arg); /* of pl_server_rest() */
	void *arg;
};

/* With TLS configured, clients on unix sockets may use it and those on TCP must.
 * -EINVAL: options that contradict each other · -ENOENT, -EACCES: the TLS files · -ENOMEM. */
PL_API int pl_server_new(struct pl_loop *loop, const struct pl_server_options *options, struct pl_server **out);
/* No connection may be left: pl_server_close() or pl_server_kill() first, and the loop turned. */
PL_API void pl_server_free(struct pl_server *server);

/* Listen at @path, mode 0600; what a dead server left there is replaced. -EADDRINUSE a live one has it ·
 * -EEXIST it is no socket. Removed again by pl_server_close(). */
PL_API int pl_server_listen_unix(struct pl_server *server, const char *path);
/* @host_port: HOST:PORT, [V6]:PORT or :PORT for every address. -EPERM: neither TLS nor insecure_tcp was given. */
PL_API int pl_server_listen_tcp(struct pl_server *server, const char *host_port);
/* Take over a listening or a connected stream socket (socket activation); the server owns it from here on. */
PL_API int pl_server_take_fd(struct pl_server *server, int fd);

/* Serve the first export on the connected socket @fd, the server's from here on, to a client that shakes no hands:
 * this machine's kernel. @flags: what a handshake would have told it. */
PL_API int pl_server_take_kernel(struct pl_server *server, int fd, uint16_t *flags);

/* Listen no more, remove the sockets, take no more requests; connections end when their replies are sent, then
 * drained() is called. Returns at once. */
PL_API void pl_server_close(struct pl_server *server);
/* The same, but the kernel's socket stays open, between two requests, for another server to take.
 * pl_server_left_kernel() is that socket, the caller's, once drained() was called; -1: it is gone. */
PL_API void pl_server_leave(struct pl_server *server);
PL_API int pl_server_left_kernel(struct pl_server *server);
/* Another server is to take over all that this one has. Clients come to rest between two requests, which takes as long
 * as their slowest request; then rested() is called, from the loop. It may never come to that: pl_server_go_on(). */
PL_API void pl_server_rest(struct pl_server *server);
PL_API void pl_server_go_on(struct pl_server *server);
/* All rest: @each gets every socket, to copy, and a name of fewer than 16 bytes that begins with PL_SERVER_HANDED: with
 * both pl_server_take_over() of the other one goes on. This one has no client then and listens no more; no file is
 * removed.
 * -EBUSY: a client is connected with TLS, which nobody can take over; nothing was done. For servers of one export. */
#define PL_SERVER_HANDED "nbd-"
PL_API int pl_server_hand_over(struct pl_server *server, void (*each)(void *arg, const char *name, int fd), void *arg);
/* @fd is the server's from here on; @path is where a predecessor listened, for pl_server_listen_unix(). -EINVAL: no
 * such name. */
PL_API int pl_server_take_over(struct pl_server *server, const char *name, int fd, const char *path);
/* And drop the connections now. What the engine still works on is waited for. */
PL_API void pl_server_kill(struct pl_server *server);
PL_API uint32_t pl_server_connections(const struct pl_server *server);
PL_API void pl_server_dump(const struct pl_server *server, void (*line)(void *arg, const char *text), void *arg);

/* ------------------------------------------------------------------ a server process -------------------------- */

/* What the program ploop-server does, said in a struct. Strings are borrowed. */
struct pl_serve_options {
	size_t size;
	struct pl_chain_spec chain; /* its dir_fds are inherited by the server */
	bool readonly;
	bool no_partial; /* PL_OPEN_NO_PARTIAL */
	bool leave;      /* end with pl_disk_leave() */
	const char *export_name; /* default "" */
	const char *description;
	const char *socket;   /* unix socket */
	const char *tcp;      /* HOST:PORT */
	const char *pid_file; /* written when ready, removed at the end */
	bool daemonize;       /* the caller's process ends when the server is ready, with its exit code */
	const char *tls_certificates;
	const char *tls_psk_file;
	bool tls_verify_peer;
	bool insecure_tcp;
	const uint32_t *allow_uids;
	size_t allow_uid_count;
	const char *fuse_mount_point; /* also, or only, export as files there */
	uint64_t fuse_part_offset_bytes, fuse_part_length_bytes; /* first partition; 0: no such file */
	bool fuse_allow_other;
	const char *nbd_device; /* connect a block device of this kernel, under this name of its own; root */
	const char *control; /* unix socket for operations on the bundle, see pl_control_path(); NULL: none */
	bool no_changes;     /* @control tells figures, and changes nothing */
	const char *settings;       /* descriptor whose pl_settings_load() tells limits; NULL: none */
	const char *on_full;        /* "wait" or "fail", whatever the settings say; NULL: as they say */
	/* Socket of the process that starts the server again when it dies; NULL: nobody does. */
	const char *keeper;
	/* Words of a program that finds the chain again and calls pl_serve_exec_again() with those that are put behind
	 * them, after "--"; none: the images are opened again by the paths they have. With @control, which can change
	 * the chain, they are needed. */
	const char *const *resume;
	size_t resume_count;
	uint32_t bundle_lock_fd;    /* from pl_bundle_hold(): the server lets go when it is ready; 0: none */
	const char *log_categories; /* debug lines of these: "nbd,map"; NULL: none */
};

/* The words that make ploop-server do @options: a NULL-terminated vector of one allocation, free() it.
 * argv[0] is the path of the program: beside the running one, else where it was installed. NULL: no memory. */
PL_API char **pl_serve_argv(const struct pl_serve_options *options);
/* Become the server; returns only on failure. */
PL_API int pl_serve_exec(const struct pl_serve_options *options);
/* Become the successor of a server that died: what @words say, with the chain as it is now. @words are changed. */
PL_API int pl_serve_exec_again(char **words, size_t count, const struct pl_chain_spec *chain, int bundle_lock_fd);
/* Before a resuming program fails: tell the keeper that started it why. */
PL_API void pl_serve_cannot(const char *why);

/* ------------------------------------------------------------------ control of a server ----------------------- */

/* The socket of the server that has the bundle in the folder of @descriptor open for writing, in pl_run_dir(). */
PL_API int pl_control_path(const char *descriptor, char *out, size_t out_bytes);
/* A socket for a server that this process becomes and that changes nothing: open for reading, or of a list of images.
 * Any number of those may have the folder of @in_folder. What dead ones left is removed. */
PL_API int pl_control_path_reader(const char *in_folder, char *out, size_t out_bytes);
/* The disk of @bundle in its server, for operations on bundles (ploop.h). -ENOENT: no server has it · -EACCES it is
 * somebody else's · -EPROTO it speaks another version. */
PL_API int pl_live_connect(const struct pl_bundle *bundle, struct pl_live **out);

/* Its server, which is not that of a block device, becomes the program that is installed now and keeps its clients. On
 * success @live is at its end: that program answers at the same socket, or nobody does. *@pause_ns: how long requests
 * waited so far. -EBUSY: not now, the sentence tells why · -EOPNOTSUPP an older server, or a list of images that may
 * not be found again. */
PL_API int pl_live_hand_over(struct pl_live *live, uint64_t *pause_ns);

/* The same by the path of the socket. */
PL_API int pl_live_connect_at(const char *socket, struct pl_live **out);
/* What tells readers of one disk apart; "" when @path is not of one. Part of @path. */
PL_API const char *pl_control_reader(const char *path);
/* The sockets of all servers of this user that are or were, NULL-terminated, one free(); with @descriptor, of those
 * that have something in its folder open, who writes it first. */
PL_API int pl_control_list(const char *descriptor, char ***out);

/* What the server says of its disk. The paths in @disk point into the struct. */
struct pl_live_stat {
	struct pl_disk_stat disk;
	char path[4096], full_path[4096];
};
/* @live is of pl_live_connect(). -ETIMEDOUT after 2 s · -EOPNOTSUPP an older server. */
PL_API int pl_live_get_stat(struct pl_live *live, struct pl_live_stat *out);
/* pl_disk_set_limits() and pl_disk_set_on_full() there; @on_full NULL: as it is. */
PL_API int pl_live_set(struct pl_live *live, const struct pl_limits *limits, const enum pl_on_full *on_full);
/* pl_disk_retry() there. */
PL_API int pl_live_retry(struct pl_live *live);

/* ------------------------------------------------------------------ running disks ----------------------------- */

/* A disk that is a block device of this machine, served by a process of its own. Only root makes and removes them. */
struct pl_device {
	char name[32];      /* "ploop1000" */
	char node[64];      /* /dev/mapper/ploop1000 */
	char partition[64]; /* /dev/mapper/ploop1000p1; "" without partition 1 */
	char transport[16]; /* "nbd" or "fuse" */
	char front[16];     /* "device-mapper" or "nodes": what the names are */
	char *component;    /* "" for the default one */
	char *bundle;       /* canonical path of the descriptor; "" for a list of images */
	char **images;      /* canonical paths, base first */
	size_t image_count;
	bool readonly;
	bool alive;         /* a server runs or comes again; else requests fail with EIO until it is unmounted */
	bool kept;          /* somebody starts its server again when that dies */
	bool mortal;        /* kept, but this kernel forgets the requests of a dead one: they fail and all after them */
	bool starting;      /* its server died or left, the next one is not ready yet */
	bool waiting;       /* its server died too often: requests wait. Retry, or abort */
	char why[400];      /* what its last server died of; "" */
	uint64_t dev, partition_dev; /* dev_t of the two nodes */
	uint64_t raw_dev;            /* of the transport's block device; without device-mapper the same as dev */
	/* the library's */
	uint64_t server_pid, server_start; /* start: ticks after boot; the two name one process for ever */
	uint64_t backing;                  /* the transport's number: of /dev/nbdN, /dev/loopN */
	bool leave;                        /* see pl_device_leave() */
};

/* NULL is fine. */
PL_API void pl_device_free(struct pl_device *device);

struct pl_attach_options {
	size_t size;
	const struct pl_serve_options *serve; /* chain, readonly, debug; what the transport needs is added */
	const char *bundle;    /* NULL: a list of images */
	const char *component; /* NULL or "": the default one */
	const char *device;    /* name or node that it shall have; NULL: a free one */
	const char *transport; /* NULL or "auto": the best one here */
};

/* Start a server for the disk and make a block device of it. On failure nothing is left.
 * -EBUSY: the disk is attached already, the name is taken, or the images are in use · -EINVAL: no such transport or
 * not a device name · what opening the disk can say. */
PL_API int pl_device_attach(const struct pl_attach_options *options, struct pl_device **out);

/* Make a block device of its partition 1. Where that lies is the caller's knowledge: tables are not read here. */
PL_API int pl_device_add_partition(struct pl_device *device, uint64_t offset_bytes, uint64_t length_bytes);

/* Remove the block device, let the server close the disk and wait for both. -EBUSY after @timeout_ms: who holds it is
 * in the sentence; it can be called again. -EIO: the server died or could not close, the image stays marked in use. */
PL_API int pl_device_detach(struct pl_device *device, uint32_t timeout_ms);

/* Kill its server and let all requests fail: from here on it is as if server and keeper had died. For a server that
 * does not come again or does not answer; writes that were not acknowledged are lost. */
PL_API int pl_device_abort(struct pl_device *device);
/* A waiting one: start its server once more. Returns at once. */
PL_API int pl_device_retry(struct pl_device *device);
/* Replace its server by the program that is installed now, under the guest's feet. *@gap_ns: how long requests waited.
 * -EBUSY: the server cannot leave now, the sentence tells why · -EOPNOTSUPP: it has no keeper · -EIO: no new one
 * starts, requests wait. */
PL_API int pl_device_upgrade(struct pl_device *device, uint64_t *gap_ns);
/* The following pl_device_detach() does not wait until partial clusters are filled: the image may stay unfinished.
 * -ESRCH: the server has just ended. */
PL_API int pl_device_leave(struct pl_device *device);

/* All of them, by name. What dead servers left and nobody has mounted is cleaned up on the way. */
PL_API int pl_device_list(struct pl_device ***out, size_t *count);
PL_API void pl_device_list_free(struct pl_device **devices, size_t count);

/* A sentence for each disk over FUSE that runs but is in no list, since its entry in the run directory was wiped: how
 * to end it. One over nbd gets its entry again by itself. */
PL_API int pl_device_lost(void (*each)(void *arg, const char *sentence), void *arg);

/* Where its server listens: at the control socket of its bundle; when it is open for reading, or a list of images, at
 * one of its own that changes nothing. */
PL_API int pl_device_control(const struct pl_device *device, char *out, size_t out_bytes);

/* What it waits for, a sentence; "" when for nothing. Wakes no server. */
PL_API void pl_device_waits(const struct pl_device *device, char *out, size_t out_bytes);
/* That sentence, of a disk whose image @path has not grown for so long because of @err. */
PL_API void pl_full_sentence(int err, const char *path, uint64_t seconds, char *out, size_t out_bytes);

/* The device that @word means: its name, a node of it, a mount point, a descriptor or its folder, an image.
 * @component matters for the last three. -ENOENT: it is not attached. */
PL_API int pl_device_find(const char *word, const char *component, struct pl_device **out);

/* Where its file system is mounted in this mount namespace, the last mounted first; NULL-terminated, one free(). */
PL_API int pl_device_mount_points(const struct pl_device *device, char ***out);

/* "123 (bash), 456 (vim)": the processes that keep it or what is mounted at @mount_point (NULL: nothing) busy. */
PL_API void pl_device_holders(const struct pl_device *device, const char *mount_point, char *out, size_t out_bytes);

#ifdef __cplusplus
}
#endif

#endif
