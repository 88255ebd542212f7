/* ploop.h — the one door of the engine: disks of containers and VMs in the ploop image format.
 *
 * Conventions, for every function here unless it says otherwise
 *   - returns 0 (or a count) or a negative errno; results go out by pointer and are untouched on failure;
 *   - the sentence that explains a failure is pl_error(), per thread, until the next failing call;
 *   - sizes and offsets are bytes, times are nanoseconds; names say so;
 *   - an option struct begins with its own size; zero in a field means the default, so it can grow;
 *   - nothing prints, exits, installs handlers or starts threads unasked; no callback runs under a lock;
 *   - a loop and everything opened on it belong to one thread.
 *
 * Durability words: "accepted" is in our memory, "written" survives the death of our process, "durable" survives
 * power loss. The numbered rules D1…D10 are in ploop/README.md.
 *
 * Error codes: EUCLEAN metadata is damaged · EMEDIUMTYPE not our format · EOPNOTSUPP unknown version or feature ·
 * EBUSY in use · ESTALE chain changed under us · EIO storage failed · EINVAL the caller is wrong · EROFS read-only.
 */
#ifndef PLOOP_H
#define PLOOP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PL_API __attribute__((visibility("default")))
#define PL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define PL_API
#define PL_PRINTF(f, a)
#endif

/* ------------------------------------------------------------------ errors and log ---------------------------- */

/* The sentence of the last failure on this thread; "" when there was none. Valid until the next failing call. */
PL_API const char *pl_error(void);

/* Set the sentence and return @err (a negative errno), so that one can write: return pl_fail(-EINVAL, "…", …). */
PL_API int pl_fail(int err, const char *fmt, ...) PL_PRINTF(2, 3);

/* Put "context: " in front of the sentence on its way up and return @err. */
PL_API int pl_wrap(int err, const char *fmt, ...) PL_PRINTF(2, 3);

/* Forget the sentence: pl_error() is "" again. */
PL_API void pl_error_clear(void);

enum pl_log_level { PL_LOG_ERROR, PL_LOG_WARN, PL_LOG_INFO, PL_LOG_DEBUG };

/* @line is one line without newline, "key=value" words after the message; valid during the call. */
typedef void pl_log_fn(void *arg, enum pl_log_level level, const char *category, const char *line);

/* Where lines go (default: nowhere) and how far down. @categories: comma list for PL_LOG_DEBUG lines, NULL for all.
 * Process-wide; call before other threads run. */
PL_API void pl_log_set(pl_log_fn *fn, void *arg, enum pl_log_level max, const char *categories);
PL_API void pl_log(enum pl_log_level level, const char *category, const char *fmt, ...) PL_PRINTF(3, 4);

/* ------------------------------------------------------------------ loop -------------------------------------- */

struct pl_loop;

enum pl_backend { PL_BACKEND_AUTO, PL_BACKEND_URING, PL_BACKEND_PLAIN };

struct pl_loop_options {
	size_t size;
	enum pl_backend backend; /* AUTO: io_uring when the kernel lets us, else threads */
	uint32_t depth;          /* operations in flight; default 512 */
};

/* Make a loop for the calling thread. @options may be NULL. -ENOMEM; with PL_BACKEND_URING the errno of
 * io_uring_setup(2). */
PL_API int pl_loop_new(const struct pl_loop_options *options, struct pl_loop **out);
/* Nothing may be in flight. */
PL_API void pl_loop_free(struct pl_loop *loop);
PL_API enum pl_backend pl_loop_backend(const struct pl_loop *loop);
PL_API uint64_t pl_now_ns(void); /* monotonic */

/* One operation of the kernel, embedded in whatever waits for it. The submitter owns the memory and keeps it, and
 * @buf, until @done has been called; @done is called once per submit, from the loop, never from inside the submit. */
enum pl_io_kind {
	PL_IO_READ,      /* fd buf length offset (offset UINT64_MAX: not seekable) */
	PL_IO_WRITE,     /* same; flag PL_IO_DSYNC: durable on completion */
	PL_IO_FDATASYNC, /* fd */
	PL_IO_FALLOCATE, /* fd offset length arg=mode */
	PL_IO_RECV,      /* fd buf length arg=MSG_ flags */
	PL_IO_SENDMSG,   /* fd buf=struct msghdr * arg=MSG_ flags */
	PL_IO_POLL,      /* fd arg=POLL mask, once; res is the mask seen */
};
#define PL_IO_DSYNC 0x1
#define PL_IO_NO_BUFFER UINT16_MAX

struct pl_io {
	void (*done)(struct pl_io *io);
	struct pl_io *next; /* the loop's */
	int32_t res;        /* count or negative errno */
	int32_t fd;
	uint8_t kind;
	uint8_t flags;
	uint16_t buf_index; /* registered buffer that holds @buf, or PL_IO_NO_BUFFER */
	uint32_t arg;
	void *buf;
	uint64_t length;
	uint64_t offset;
};

/* Start @io. Accepted on return; the kernel sees it at the end of the turn or at a pl_loop_kick(). */
PL_API void pl_loop_submit(struct pl_loop *loop, struct pl_io *io);
/* Complete @io with @res from the loop, soon: for those who implement an operation without the kernel. */
PL_API void pl_loop_complete(struct pl_loop *loop, struct pl_io *io, int32_t res);
/* Ask for an early end; @done still comes, with -ECANCELED or the real result. */
PL_API void pl_loop_cancel(struct pl_loop *loop, struct pl_io *io);
/* Hand what was submitted to the kernel now rather than at the end of this turn. */
PL_API void pl_loop_kick(struct pl_loop *loop);

struct pl_timer {
	void (*fire)(struct pl_timer *timer);
	struct pl_timer *next; /* the loop's */
	uint64_t deadline_ns;  /* 0: stopped */
};
PL_API void pl_timer_start(struct pl_loop *loop, struct pl_timer *timer, uint64_t delay_ns);
PL_API void pl_timer_stop(struct pl_loop *loop, struct pl_timer *timer);

/* Called once per turn before the loop sleeps: the place for what is cheaper in batches. */
struct pl_hook {
	void (*run)(struct pl_hook *hook);
	struct pl_hook *next; /* the loop's */
};
PL_API void pl_loop_add_hook(struct pl_loop *loop, struct pl_hook *hook);
PL_API void pl_loop_remove_hook(struct pl_loop *loop, struct pl_hook *hook);

/* One turn: submit, wait for at least one event if @wait, run what completed. */
PL_API int pl_loop_step(struct pl_loop *loop, bool wait);
/* Turns until pl_loop_stop(). */
PL_API int pl_loop_run(struct pl_loop *loop);
PL_API void pl_loop_stop(struct pl_loop *loop);

/* Payload memory: page-aligned, registered with the ring where possible, a bounded amount per loop. Released to the
 * system when idle. */
struct pl_buf {
	void *data;
	uint32_t size_bytes;
	uint16_t index; /* for pl_io.buf_index and pl_req.buf_index */
	uint16_t class_id;
	struct pl_buf *next; /* the pool's */
};
#define PL_BUF_MAX_BYTES (32u << 20)
/* NULL when the pool is exhausted: try again after a pl_buf_put(). @bytes ≤ PL_BUF_MAX_BYTES. */
PL_API struct pl_buf *pl_buf_get(struct pl_loop *loop, uint32_t bytes);
PL_API void pl_buf_put(struct pl_loop *loop, struct pl_buf *buf);

/* ------------------------------------------------------------------ images ------------------------------------ */

#define PL_GUID_TEXT 38 /* {8-4-4-4-12} */
#define PL_MAX_CHAIN 253

enum pl_format { PL_FORMAT_PLOOP, PL_FORMAT_RAW };

/* One image file. D9: beneath @dir_fd no symlink and no ".." is followed; with dir_fd < 0 @path was named by the
 * operator and is opened as it is. */
struct pl_image_ref {
	const char *path; /* for messages, and for opening when dir_fd < 0 */
	const char *name; /* relative to dir_fd */
	int dir_fd;
	enum pl_format format;
	char guid[PL_GUID_TEXT + 1]; /* "" when the image is on its own */
};

struct pl_chain_spec {
	size_t size;
	const struct pl_image_ref *images; /* base first */
	size_t count;
	uint32_t cluster_sectors; /* of the descriptor; needed with a raw base, else 0 or what the images must have */
	uint64_t size_sectors;    /* of the descriptor; used for a lone raw image */
	bool preallocated;        /* discard keeps the space */
};

/* Open one image file for bytes (not a disk): D9 applies. @flags: O_RDONLY or O_RDWR, O_DIRECT… -errno, sentence. */
PL_API int pl_image_open_fd(const struct pl_image_ref *ref, int flags);

struct pl_image_info { /* the header, decoded */
	uint32_t version;
	uint32_t cluster_sectors;
	uint64_t size_sectors;
	uint32_t bat_entries;
	uint32_t first_block_sectors;
	uint32_t heads, cylinders;
	uint32_t in_use; /* the raw marker value */
	uint32_t flags;
	uint64_t ext_sectors;
	uint64_t file_bytes, allocated_bytes;
	bool unfinished; /* has clusters that are partly written: the header is fenced, its true values are told here */
};
PL_API int pl_image_info(const struct pl_image_ref *ref, struct pl_image_info *out);

enum pl_image_mode { PL_MODE_EXPANDED, PL_MODE_PREALLOCATED, PL_MODE_RAW };

struct pl_create_options {
	size_t size;
	uint64_t size_sectors;    /* rounded up to a cluster */
	uint32_t cluster_sectors; /* default 2048 */
	uint32_t version;         /* default 2 */
	enum pl_image_mode mode;
	bool sparse; /* raw only: a hole instead of zeros */
};
/* Create an image file, exclusively, mode 0600; durable on return. On failure nothing is left. */
PL_API int pl_image_create(const char *path, const struct pl_create_options *options);

/* ------------------------------------------------------------------ check ------------------------------------- */

enum pl_check_flags {
	PL_CHECK_FORCE = 1,      /* scan even when cleanly closed; repair soft findings */
	PL_CHECK_HARD_FORCE = 2, /* and zero entries whose data is lost */
	PL_CHECK_DUPLICATES = 4,
	PL_CHECK_READONLY = 8,
	PL_CHECK_DROP_IN_USE = 16,
	PL_CHECK_REPAIR_SPARSE = 32,
	PL_CHECK_LIVE = 64, /* another process writes it: read-only, re-read the length once */
};

enum pl_verdict { PL_VERDICT_NONE, PL_VERDICT_FIXED, PL_VERDICT_IGNORED, PL_VERDICT_SKIPPED, PL_VERDICT_FATAL };

struct pl_finding {
	const char *id;    /* stable name, e.g. "bat-beyond-file" */
	const char *text;  /* one sentence with its numbers */
	enum pl_verdict verdict;
	bool is_error;     /* belongs on stderr */
};

struct pl_check_options {
	size_t size;
	uint32_t flags;
	uint32_t cluster_sectors; /* raw: required. Else 0, or what the header must say (the descriptor's) */
	void (*on_finding)(void *arg, const struct pl_finding *finding);
	void (*on_progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};
/* Check (and repair) one image that nobody has open. Returns 0 when the image may be used, else the negative errno of
 * the worst finding: -EUCLEAN damaged · -EMEDIUMTYPE not ploop · -EBUSY in use, or version conversion unfinished
 * (the finding says which) · -EIO. Repairs are durable on return. *@exit_code gets the stock tool's code. */
PL_API int pl_image_check(const struct pl_image_ref *ref, const struct pl_check_options *options, int *exit_code);

/* ------------------------------------------------------------------ bundles ----------------------------------- */

struct pl_bundle; /* a parsed DiskDescriptor.xml and the folder that holds it */

struct pl_bundle_options {
	size_t size;
	const char *const *outside; /* NULL-terminated: files outside the folder that the operator allows */
};
/* @path: DiskDescriptor.xml or its folder. -ENOENT · -EUCLEAN not valid · -EOPNOTSUPP · -ELOOP cycle of GUIDs. */
PL_API int pl_bundle_open(const char *path, const struct pl_bundle_options *options, struct pl_bundle **out);
PL_API void pl_bundle_close(struct pl_bundle *bundle);
PL_API const char *pl_bundle_path(const struct pl_bundle *bundle); /* canonical path of the descriptor */

struct pl_bundle_info {
	uint64_t size_sectors;
	uint32_t cluster_sectors;
	enum pl_image_mode mode;
	size_t image_count;
	char top_guid[PL_GUID_TEXT + 1];
	const char *key_id; /* NULL: not encrypted */
};
PL_API void pl_bundle_get_info(const struct pl_bundle *bundle, struct pl_bundle_info *out);
/* The chain base..@guid (NULL: the top). What *@out points to belongs to the bundle and lives as long.
 * -ENOENT: no such snapshot. */
PL_API int pl_bundle_chain(struct pl_bundle *bundle, const char *guid, struct pl_chain_spec *out);
/* Write DIR/DiskDescriptor.xml for a new single-image disk (also: restore-descriptor). D6; -EEXIST. */
PL_API int pl_bundle_create(const char *dir, const char *image_name, enum pl_image_mode mode,
			    uint32_t cluster_sectors, uint64_t size_sectors);

/* ------------------------------------------------------------------ disks ------------------------------------- */

struct pl_disk;

enum pl_open_flags {
	PL_OPEN_READONLY = 1,
	PL_OPEN_PEEK = 2, /* with READONLY: take no lock, somebody may be writing; for looking only */
	PL_OPEN_NO_PARTIAL = 4, /* a first write over a lower image copies the whole cluster at once */
};

struct pl_open_options {
	size_t size;
	uint32_t flags;
	uint32_t lock_wait_ms; /* D10: how long a dying owner may take; default 2000 */
	/* D2: path of the program that keeps map changes alive when we die. NULL: none, then a first write to a cluster
	 * survives our death only after a flush; right for short work like filling a new image. */
	const char *holder_program;
};

/* Open a chain: checks every header and BAT, takes the locks, recovers what a crash left, takes over from a dead
 * server's holder, marks the top in use (durable on return).
 * -EBUSY in use by a live owner, who is named · -EUCLEAN · -EMEDIUMTYPE · -EOPNOTSUPP · -E2BIG map over budget. */
PL_API int pl_disk_open(struct pl_loop *loop, const struct pl_chain_spec *chain, const struct pl_open_options *options,
			struct pl_disk **out);

/* Finish what is in flight, fill partial clusters, make all durable, give unused file space back, clear the marker
 * (D7), unlock. On failure the disk is gone all the same and stays marked in use. */
PL_API int pl_disk_close(struct pl_disk *disk);

/* The same, but partial clusters stay so, durable: the image keeps stock tools out until it is opened and closed
 * again. */
PL_API int pl_disk_leave(struct pl_disk *disk);

struct pl_disk_info {
	uint64_t size_bytes;
	uint32_t cluster_bytes;
	uint32_t request_align_bytes; /* always 512: unaligned to the host's sectors costs a read */
	uint32_t version;
	uint32_t depth;
	bool readonly;
	bool survives; /* D2 holds: a holder keeps the state */
	uint64_t allocated_clusters; /* of the top */
	uint64_t partial_clusters;   /* of the top, among them: what the guest did not write is not there yet */
};
PL_API void pl_disk_get_info(const struct pl_disk *disk, struct pl_disk_info *out);

enum pl_op { PL_READ, PL_WRITE, PL_FLUSH, PL_DISCARD, PL_WRITE_ZEROES };
enum pl_req_flags {
	PL_FUA = 1,       /* durable on completion */
	PL_NO_HOLE = 2,   /* write zeroes: keep or take the space */
	PL_FAST_ZERO = 4, /* write zeroes: -EOPNOTSUPP rather than as slow as writing */
};

/* One guest request. The caller owns it and the buffer until @done; offset and length are multiples of 512 inside
 * the disk (the caller has checked). WRITE and zeroes are written on completion (D2), FLUSH makes all requests that
 * completed before it was submitted durable (D1). res: 0 or negative errno, for PL_READ the buffer is then filled. */
struct pl_req {
	void (*done)(struct pl_req *req);
	void *owner;
	uint8_t op;
	uint8_t flags;
	uint16_t buf_index; /* registered buffer that holds @buf, or PL_IO_NO_BUFFER */
	int32_t res;
	uint64_t offset_bytes;
	uint64_t length_bytes;
	void *buf;
	uint64_t engine[24]; /* the engine's */
};
PL_API void pl_submit(struct pl_disk *disk, struct pl_req *req);

/* The same, waiting: each turns the loop until its request is done. */
PL_API int pl_read(struct pl_disk *disk, void *buf, uint64_t length_bytes, uint64_t offset_bytes);
PL_API int pl_write(struct pl_disk *disk, const void *buf, uint64_t length_bytes, uint64_t offset_bytes,
		    uint32_t flags);
PL_API int pl_flush(struct pl_disk *disk);
PL_API int pl_discard(struct pl_disk *disk, uint64_t length_bytes, uint64_t offset_bytes);
PL_API int pl_write_zeroes(struct pl_disk *disk, uint64_t length_bytes, uint64_t offset_bytes, uint32_t flags);

enum pl_extent_flags { PL_EXTENT_HOLE = 1, PL_EXTENT_ZERO = 2 };
struct pl_extent {
	uint64_t length_bytes;
	uint32_t flags;
	uint32_t depth; /* 0: nowhere; 1: the top; 2: the delta below it … */
};
/* What lies at [offset, offset + length): up to @max extents, neighbours that agree are joined. Returns the count.
 * Never blocks. */
PL_API size_t pl_map(const struct pl_disk *disk, uint64_t offset_bytes, uint64_t length_bytes, struct pl_extent *out,
		     size_t max);

/* ---- figures, limits, a full host */

enum pl_on_full { PL_FULL_WAITS, PL_FULL_FAILS };

#define PL_OPS 5 /* enum pl_op */
#define PL_LATENCY_BUCKETS 32

struct pl_op_stat {
	uint64_t requests, errors; /* ended, and how many of them with an error */
	uint64_t bytes;            /* of those without */
	uint64_t time_ns;          /* all together, from pl_submit() to done() */
	uint64_t latency[PL_LATENCY_BUCKETS]; /* [0]: less than 1 µs; [n]: at least 2^(n-1) µs, less than 2^n */
};

#define PL_LIMIT_MAX (UINT64_C(1) << 50)

struct pl_limits {
	size_t size;
	uint64_t bytes_per_s;    /* reads and writes together; 0: no limit */
	uint64_t requests_per_s; /* and discards, zeroes; flushes are free. 0: no limit */
	uint32_t burst_ms;       /* after a pause so much time's worth goes at once; default 100, at most 60000 */
};

/* The guest's requests only: merges and the like are ours. */
struct pl_disk_stat {
	size_t size; /* the caller's; what does not fit in is left out */
	struct pl_op_stat ops[PL_OPS];
	uint64_t in_flight;    /* requests, those that wait too */
	uint64_t first_writes; /* clusters that were given space */
	uint64_t rounds;       /* commit rounds: two syncs, or one without changes of the map */
	uint64_t io_errors;    /* of the host's storage; each is in the log, but for more than one a second */
	bool failed;           /* a sync failed: no more writes before a check */
	struct pl_limits limits;
	uint64_t limited;      /* requests that a limit made wait, ever */
	uint64_t limited_now;
	enum pl_on_full on_full;
	uint64_t full;           /* times that the host had no space, ever */
	uint64_t full_ns;        /* for how long it has none now; 0: it has some */
	uint64_t full_requests;  /* pieces of requests that wait for it */
	int full_errno;          /* why: ENOSPC, EDQUOT, EFBIG */
	const char *full_path;   /* of the image that should grow; valid until the loop turns. NULL: none */
	const char *path;        /* of the top; as valid */
};
/* @out->size is set. Never blocks. */
PL_API void pl_disk_get_stat(const struct pl_disk *disk, struct pl_disk_stat *out);

/* From now on. Requests that are past the limit go on, those that wait obey the new one. -EINVAL: out of range. */
PL_API int pl_disk_set_limits(struct pl_disk *disk, const struct pl_limits *limits);

/* D8: shall a write that finds no space on the host wait (that is how it begins), or fail with -ENOSPC? Those that wait
 * try once more. */
PL_API void pl_disk_set_on_full(struct pl_disk *disk, enum pl_on_full what);
/* @changed is called when writes begin to wait for space, and when none does any more. From the loop. */
PL_API void pl_disk_watch_full(struct pl_disk *disk, void (*changed)(void *arg, bool full), void *arg);
/* What waits for space tries now, and not when its half second is over. */
PL_API void pl_disk_retry(struct pl_disk *disk);

/* What an operator wants of a disk, for now and after each start: a file beside the descriptor (ploop/settings.c has
 * its form). Load: without a file, nothing is limited and writes wait; -EUCLEAN it is not understood. Store: durable.
 */
struct pl_settings {
	size_t size; /* the caller's, for both */
	struct pl_limits limits;
	enum pl_on_full on_full;
};
PL_API int pl_settings_load(const char *descriptor, struct pl_settings *out);
PL_API int pl_settings_store(const char *descriptor, const struct pl_settings *settings);

/* D8 for those who must end: from now on a write that finds no space on the host fails with -ENOSPC instead of waiting,
 * and those that wait try once more; limits are over. Before pl_disk_close() when requests are still out. */
PL_API void pl_disk_stop_waiting(struct pl_disk *disk);

/* Print the counters and recent events of a disk, one line each. A disk opened with PL_OPEN_PEEK tells the events of
 * the server that has it, or had it and died. */
PL_API void pl_disk_dump(const struct pl_disk *disk, void (*line)(void *arg, const char *text), void *arg);

/* ------------------------------------------------------------------ the chain of an open disk ----------------- */

/* The chain changes under a running disk: requests go on, but for the moment of a switch. One change at a time per
 * disk. What a change did is never undone by a crash: the chain that the descriptor names reads the same before, while
 * and after, so the caller commits the descriptor when it suits him (before a switch, after a merge). */

struct pl_member { /* an image of the chain */
	const char *path;      /* as it was opened; valid until the chain changes */
	uint64_t dev, ino;
	uint64_t clusters;     /* of the disk that are read from it */
	bool raw;
	bool others_read;      /* somebody else has its file open, too */
};
/* Base first, up to @max of them; returns how many there are. */
PL_API size_t pl_disk_members(const struct pl_disk *disk, struct pl_member *out, size_t max);

struct pl_change { /* the caller's memory until done() */
	void (*done)(struct pl_change *change);     /* once, from the loop; res, error and pause_ns are set */
	void (*progress)(struct pl_change *change); /* done_bytes of total_bytes; NULL: not wanted */
	void *owner;
	int res;
	char error[512];    /* the sentence when res < 0 */
	uint64_t pause_ns;  /* how long requests were held */
	uint64_t done_bytes, total_bytes;
	struct pl_disk *disk; /* the engine's, this and the next */
	struct pl_io io;
};

/* Open @ref as the next top: an empty delta, durable, of the disk's cluster size, version and size. Nothing changes for
 * requests. -EBUSY another change is under way · -E2BIG the chain is full · -EUCLEAN it is not empty · -EROFS. */
PL_API int pl_disk_push(struct pl_disk *disk, const struct pl_image_ref *ref);
/* Forget what was pushed. */
PL_API void pl_disk_abandon(struct pl_disk *disk);

struct pl_switch_options {
	size_t size;
	uint32_t wait_ms;       /* how long requests in flight may take; default 5000 */
	bool keep_bitmap_below; /* the old top keeps a copy of the change bitmap; else only the new one has it */
	const char *cbt_uuid;   /* 36 characters: the old top keeps its bitmap, an empty one of this id begins */
};
/* From some moment on writes go to the pushed image. A request of several clusters that is under way in that moment may
 * be in the old top with some of them: it was not done yet. @change is done when the old top is sealed: durable and
 * closed. -EAGAIN: requests in flight did not end in time, nothing changed, the image is still pushed · -ENOENT nothing
 * was pushed. */
PL_API void pl_disk_switch(struct pl_disk *disk, const struct pl_switch_options *options, struct pl_change *change);

enum pl_merge_into { PL_INTO_CHILD, PL_INTO_PARENT };
/* Merge two neighbours: member @child (its number in pl_disk_members(), at least 1) and the one below it. What the
 * chain needs of both is in one file when @change is done, durably, and the other is no longer used. INTO_PARENT writes
 * over the parent, so nobody else may have it; a raw parent allows nothing else. In the background, at the pace that
 * the guest's requests leave. -ECANCELED: some is moved, nothing is lost, and merging again goes on. */
PL_API void pl_disk_merge(struct pl_disk *disk, uint32_t child, enum pl_merge_into into, struct pl_change *change);
/* Take the file @ref, a copy of member @place (its number in pl_disk_members(), below the top), for it from now on. It
 * may have the clusters elsewhere; that they hold the same is the caller's word. The old file is closed when @change is
 * done. -EINVAL it is no copy · -EBUSY somebody writes it, or another change is under way · -EAGAIN as for a switch. */
PL_API void pl_disk_replace(struct pl_disk *disk, uint32_t place, const struct pl_image_ref *ref,
			    struct pl_change *change);
/* Fill what is partial, so that the top is a plain image but for its marker when @change is done. Requests go on; they
 * make nothing partial while it is filled, but those that were under way may, and those of the moment after. */
PL_API void pl_disk_finish(struct pl_disk *disk, struct pl_change *change);
/* Ask the running change to end early: its done() gets -ECANCELED, or what it had reached. */
PL_API void pl_disk_change_cancel(struct pl_disk *disk);

/* ------------------------------------------------------------------ snapshots --------------------------------- */

/* Operations on the bundle: descriptor and images together, crash-safe (tables: snapshot/README.md). Each locks the
 * bundle, reads its descriptor again, finishes or undoes what an interrupted operation left, and does its work. What
 * points into the bundle (pl_bundle_chain) is void afterwards.
 *
 * @live: the server that has the disk open (pl_live_connect()), NULL when the disk is stopped. When some other process
 * has it open the answer is -EBUSY.
 *
 * Errors: -ENOENT no such snapshot · -EINVAL it cannot be asked (the top, several children …) · -EEXIST · -EBUSY in use
 * or another operation runs · -EMLINK other bundles share the file · -ECANCELED · -E2BIG the chain is full · and what
 * opening, writing and syncing files can say. On failure the disk reads as before. */

struct pl_live; /* a disk that is open: what an operation can ask of it */

struct pl_progress {
	void (*step)(void *arg, uint64_t done_bytes, uint64_t total_bytes); /* NULL: not wanted */
	bool (*cancelled)(void *arg);                                       /* polled; NULL: never */
	void *arg;
};

/* Who else implements it: kmod-free/control_client.c. Calls wait; 0 or -errno with the sentence. */
struct pl_live_ops {
	/* *@out: base first, one allocation, free() it. */
	int (*members)(struct pl_live *live, struct pl_member **out, size_t *count);
	int (*push)(struct pl_live *live, const char *name); /* a file of the bundle's folder */
	int (*abandon)(struct pl_live *live);
	int (*switch_top)(struct pl_live *live, const struct pl_switch_options *options, uint64_t *pause_ns);
	int (*merge)(struct pl_live *live, uint32_t child, enum pl_merge_into into, const struct pl_progress *progress);
	int (*replace)(struct pl_live *live, uint32_t place, const char *name); /* by a file of the bundle's folder */
	/* Operations on bundles do not need these two. */
	int (*finish)(struct pl_live *live, const struct pl_progress *progress); /* pl_disk_finish() */
	int (*info)(struct pl_live *live, struct pl_disk_info *out);
	void (*close)(struct pl_live *live);
};
struct pl_live {
	const struct pl_live_ops *ops;
};
static inline void pl_live_close(struct pl_live *live)
{
	if (live)
		live->ops->close(live);
}

struct pl_snapshot_options {
	size_t size;
	const char *guid;     /* of the snapshot, with braces; NULL: a random one */
	const char *cbt_uuid; /* start or rotate change tracking under this id, 36 characters; NULL: it goes on */
	bool temporary;
	int (*freeze)(void *arg, bool freeze); /* called around the switch of a running disk; NULL: not */
	void *freeze_arg;
};
struct pl_snapshot_result {
	char guid[PL_GUID_TEXT + 1];
	uint64_t pause_ns; /* how long a running disk held requests */
};
PL_API int pl_snapshot_create(struct pl_bundle *bundle, struct pl_live *live, const struct pl_snapshot_options *options,
			      struct pl_snapshot_result *out);

enum pl_snapshot_end { PL_SNAPSHOT_REMOVED, PL_SNAPSHOT_MERGED, PL_SNAPSHOT_DEFERRED };
/* Remove @guid: its image if nothing stands on it, by merging its only child into it, or later if it has several. */
PL_API int pl_snapshot_delete(struct pl_bundle *bundle, struct pl_live *live, const char *guid,
			      const struct pl_progress *progress, enum pl_snapshot_end *end);

struct pl_snapshot_merge_options {
	size_t size;
	const char *guid;      /* the child, which is merged into its parent; NULL: the top */
	bool all;              /* from the one below the top down to the first: one image is left */
	const char *new_delta; /* path: the result goes to a new file there; NULL: the parent's file survives */
	const struct pl_progress *progress;
};
PL_API int pl_snapshot_merge(struct pl_bundle *bundle, struct pl_live *live,
			     const struct pl_snapshot_merge_options *options);

/* Drop the top and go on from @guid. With @keep_guid the old top stays as the snapshot of that id. Stopped disks only,
 * unless the old top is kept. */
PL_API int pl_snapshot_switch(struct pl_bundle *bundle, struct pl_live *live, const char *guid, const char *keep_guid);

/* Merge image files of one chain, without a descriptor: @paths base last, into the base, or into the new file @into. */
PL_API int pl_images_merge(const char *const *paths, size_t count, const char *into,
			   const struct pl_progress *progress);

/* Finish or undo what an interrupted operation left, as every operation does first; *@what tells (one allocation; NULL
 * when there was nothing). */
PL_API int pl_bundle_recover(struct pl_bundle *bundle, struct pl_live *live, char **what);
/* The same for a stopped disk, before it is opened for writing: no operation begins until *@lock_fd and its copies in
 * other processes are closed. Waits up to 5 s for one that runs. */
PL_API int pl_bundle_hold(struct pl_bundle *bundle, int *lock_fd);

/* Put the file @path, a copy of the image @guid that was made elsewhere, in its place: the descriptor names it from
 * then on, or with @keep_name it gets the name of the old file. Only version, cluster size and size are compared. A
 * running disk reads from it at once and must find all that it reads from the old one; its top cannot be replaced.
 * -EINVAL it is no copy, or the top · -EBUSY one of them is in use · -EXDEV it lies outside the folder, or, of a
 * running disk, not in the folder itself. */
PL_API int pl_bundle_replace(struct pl_bundle *bundle, struct pl_live *live, const char *guid, const char *path,
			     bool keep_name);

struct pl_snapshot { /* a node of the tree */
	const char *guid, *parent_guid, *path; /* the bundle's */
	bool is_top, is_temporary;
};
/* All of them in the descriptor's order; *@out is one allocation, free() it. */
PL_API int pl_snapshot_list(const struct pl_bundle *bundle, struct pl_snapshot **out, size_t *count);

/* ------------------------------------------------------------------ clones, templates, moving ----------------- */

/* A clone is a bundle of its own that begins with the state of another. A linked one shares the images below its top:
 * they are hard links, so either bundle may be moved and deleted, and the link count of an image is the number of
 * bundles that read it. @target must not exist, or be an empty folder. It appears as a whole, durable, or not at all;
 * what a crash leaves is a hidden folder beside it, which the next clone or move to the same place removes.
 *
 * Errors: as for snapshots · -EEXIST @target · -EXDEV a linked clone in another file system · -ENOSPC. */

struct pl_clone_options {
	size_t size;
	const char *guid;   /* the snapshot to begin with; NULL: the present state */
	bool full;          /* copies of the images instead of links */
	bool keep_identity; /* GUIDs of the partition table and UUID of the file system stay those of the source */
	const struct pl_progress *progress;
	int (*freeze)(void *arg, bool freeze); /* as of pl_snapshot_options, when the clone needs a snapshot */
	void *freeze_arg;
};
struct pl_clone_result {
	char guid[PL_GUID_TEXT + 1]; /* the image of the source that the clone begins with */
	bool made_snapshot;          /* the source got that snapshot for it, and keeps it */
	char identity[512];          /* what became of GUIDs and UUID: a sentence; "" with @keep_identity */
};
/* A linked clone of the present state stands on the top of a sealed bundle, and else on a new snapshot of @source. */
PL_API int pl_clone(struct pl_bundle *source, struct pl_live *live, const char *target,
		    const struct pl_clone_options *options, struct pl_clone_result *out);

/* Make a template of a stopped disk: its images lose their permission to be written, durably, and are not opened for
 * writing any more. -EBUSY it is in use. */
PL_API int pl_bundle_seal(struct pl_bundle *bundle);

/* Move the folder of a stopped disk with all that is in it: renamed, or copied and then removed. @bundle is to be
 * closed afterwards. -EINVAL @target lies inside. */
PL_API int pl_bundle_move(struct pl_bundle *bundle, const char *target, const struct pl_progress *progress);

/* Directory for sockets and state of this user's servers, created 0700: /run/ploop, $XDG_RUNTIME_DIR/ploop or
 * /tmp/ploop-UID (checked to be ours). */
PL_API int pl_run_dir(char *out, size_t out_bytes);

#ifdef __cplusplus
}
#endif

#endif
