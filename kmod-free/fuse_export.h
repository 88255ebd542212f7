/* Inside the FUSE export.
 *
 *	/dev/fuse --read--> slot --+-- READ WRITE FSYNC FALLOCATE --> pl_req --> the disk --done--> write --> /dev/fuse
 *	                           +-- OPEN FLUSH INTERRUPT: answered on the spot
 *	                           +-- everything else: libfuse, which answers itself
 *
 *   fuse.c            life of an export: slots, reading, the end
 *   fuse_request.c    what a request asks, and its reply; knows linux/fuse.h
 *   fuse_unaligned.c  writes that are not whole sectors
 *   fuse_session.c    mounting and the cold operations; the one file that knows libfuse
 *
 * A slot is a request with its memory:
 *
 *	            page boundary
 *	 [ in_header | write_in ] [ payload: up to 1 MiB ] [ slack ]
 *	                [ out_header ]
 *
 * A request is read to 80 bytes before the boundary, so the payload of a write lies aligned for O_DIRECT without a
 * copy; a read puts its data at the boundary and its reply header right before, so the reply is one write(2).
 *
 * A slot's memory is touched before a request is read into it. If it were not, the kernel would get the pages while it
 * copies; and a process that is being killed gets none, so the request would fail instead of being asked for again. */
#ifndef PLOOP_FUSE_EXPORT_H
#define PLOOP_FUSE_EXPORT_H

#include "base/list.h"
#include "base/units.h"
#include "kmod-free/fuse.h"

#define FUSE_SLOTS         64u
#define FUSE_PAYLOAD_BYTES (1u << 20)
#define FUSE_PAGE_BYTES    4096u
#define FUSE_SLOT_BYTES    (FUSE_PAGE_BYTES + FUSE_PAYLOAD_BYTES + FUSE_PAGE_BYTES)
/* The device should start on the first of a batch while the rest is still being read: worth 20 % at depth 32. */
#define FUSE_KICK_REQUESTS 4u
#define FUSE_REQUEST_HEAD  80u /* in_header and write_in */
#define FUSE_TOUCH_BYTES   (64u << 10) /* until a larger request has been seen */

/* Inodes; 1 is the folder. */
enum { FUSE_INO_ROOT = 1, FUSE_INO_DISK, FUSE_INO_PART, FUSE_INO_END };

struct fuse_file {
	const char *name; /* NULL: absent */
	uint64_t offset_bytes, length_bytes; /* on the disk */
};

struct fuse_slot {
	struct pl_req req;
	struct qnode node; /* free or held */
	struct fuse_export *export;
	uint8_t *payload;
	uint32_t touched_bytes; /* of the payload, that are surely in memory */
	/* of the request being served */
	uint64_t unique;
	uint32_t opcode;
	uint32_t skip_bytes;  /* READ: asked-for bytes start here in the payload */
	uint32_t reply_bytes; /* READ: how many; WRITE: how many to confirm */
};

/* Of the one unaligned write that is served. */
struct fuse_edges {
	enum { FUSE_EDGES_HEAD, FUSE_EDGES_TAIL, FUSE_EDGES_WRITE } state;
	uint64_t offset_bytes; /* on the disk */
	uint8_t head[SECTOR_BYTES], tail[SECTOR_BYTES];
};

struct fuse_export {
	/* fixed from start to stop */
	struct pl_loop *loop;
	struct pl_disk *disk;
	struct fuse_session *session;
	char *mount_point;
	int fd;
	int greeting_fd; /* memory with the kernel's INIT request; empty: it has not come yet */
	bool readonly, taken_over;
	struct fuse_file files[FUSE_INO_END]; /* by inode */
	void (*unmounted)(void *arg);
	void *arg;
	uint8_t *memory; /* FUSE_SLOTS × FUSE_SLOT_BYTES */

	/* changes */
	struct pl_io poll;
	struct pl_timer idle;
	struct queue free_slots;
	uint32_t in_flight; /* requests with the disk */
	struct fuse_slot *alone; /* waits until it is the only one in flight, or is being served; nothing is read */
	struct fuse_edges edges; /* its state */
	bool polling, serving, gone, stopping;
	bool greeted;    /* libfuse has seen the INIT request, fresh or from a predecessor's time */
	bool replaying;  /* nobody waits for its answer now */
	bool can_resend; /* the kernel does */
	uint32_t touched_bytes; /* of a slot are in memory before it is used */
	uint64_t served, served_at_last_look;
	struct fuse_slot slots[FUSE_SLOTS];
};

/* fuse_session.c */
int fuse_files_mount(struct fuse_export *e, const struct fuse_export_options *o); /* sets session and fd */
int fuse_files_take_over(struct fuse_export *e, const struct fuse_export_options *o); /* the same */
int fuse_files_unmount(struct fuse_export *e);                                     /* as fuse_export_unmount() */
void fuse_files_close(struct fuse_export *e);                                      /* closes fd, detaches the mount */
void fuse_files_leave(struct fuse_export *e);                                      /* closes fd */
void fuse_files_serve(struct fuse_export *e, const void *request, size_t bytes);  /* answers before it returns */

/* fuse_request.c: @bytes of a request lie in @s. True: it is with the disk and fuse_slot_done() follows; false: it has
 * been answered. */
bool fuse_request_start(struct fuse_slot *s, size_t bytes);
/* The disk is done with it: answer. */
void fuse_request_finish(struct fuse_slot *s, int32_t res);
/* fuse_request.c: ask the kernel again for what has no answer. -errno. */
int fuse_request_again(struct fuse_export *e);
/* Give libfuse the INIT request of a predecessor's time. -EUCLEAN: there is none. */
int fuse_request_replay_greeting(struct fuse_export *e);

/* fuse_unaligned.c: remember the write in @s, serve it once it is alone. */
void fuse_unaligned_hold(struct fuse_slot *s, uint64_t offset_bytes, uint8_t flags);
void fuse_unaligned_start(struct fuse_slot *s);

/* fuse.c: the request of @s has been answered. */
void fuse_slot_done(struct fuse_slot *s);

#endif
