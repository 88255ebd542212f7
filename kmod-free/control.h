/* The control of a server: what an operation on a bundle asks of the process that has the disk open.
 *
 * A unix socket, mode 0600, in the run directory (pl_control_path()); root and the server's own user may come in. Both
 * sides send lines: a JSON object each, ended by a newline. Strings are bytes, of file names as they are on disk.
 *
 *     request   {"id": 1, "do": "hello", "version": 1}            id: a number from 1 on that the client chooses
 *     result    {"id": 1, "result": {"version": 1}}
 *     error     {"id": 1, "error": "EBUSY", "message": "…"}       the name of an errno, and the sentence
 *     event     {"id": 1, "event": "progress", "done_bytes": 0, "total_bytes": 1048576}
 *
 *     do        takes                                   result
 *     hello     version                                 version         the first request, once
 *     info                                              size_bytes, …   the rows of control_message.c
 *     members                                           members         pl_disk_members()
 *     push      name (a file of the bundle's folder)                    pl_disk_push()
 *     abandon                                                           pl_disk_abandon()
 *     switch    [wait_ms keep_bitmap_below cbt_uuid]    pause_ns        pl_disk_switch(), when done
 *     merge     child, into ("child", "parent")         pause_ns        pl_disk_merge(), when done; progress
 *     replace   place, name (as of push)                pause_ns        pl_disk_replace(), when done
 *     finish                                            pause_ns        pl_disk_finish(), when done; progress
 *     cancel                                                            of what runs, which then tells how it ended
 *     stat                                            path, …           pl_disk_get_stat(): rows of control_message.c
 *     set       bytes_per_s requests_per_s burst_ms                     pl_disk_set_limits(), pl_disk_set_on_full()
 *               on_full ("keep", "wait", "fail")
 *     retry                                                             pl_disk_retry()
 *     handover                                          pause_ns        pl_live_hand_over(): when clients rest
 *
 * Requests of a client are answered in order, but for the changes (those with a pause_ns), which are answered when they
 * are done. After a handover all connections end, and the same socket has another program behind it.
 * One change runs at a time: whoever asks for a second gets EBUSY. What a client began ends with it: when its
 * connection ends, its merge or finish is cancelled and its pushed image abandoned; a switch that has begun goes on.
 * Until that has ended, members is not answered: an operation that begins with it finds a chain that stays.
 *
 * A word that is not known here is refused, with EINVAL or EOPNOTSUPP, so versions can grow by words; CONTROL_VERSION
 * changes when the meaning of a known one does. What is no request at all gets an error with the id 0 and the end of
 * the connection. */
#ifndef PLOOP_CONTROL_H
#define PLOOP_CONTROL_H

#include "base/units.h"

#define CONTROL_VERSION 1u

/* ---- limits */
#define CONTROL_MAX_CLIENTS   8u           /* who said hello; the next is told */
#define CONTROL_MAX_SOCKETS   32u          /* beyond it they are closed */
#define CONTROL_REQUEST_BYTES 4096u        /* of a line; a name of 255 bytes may be written as 1530 */
#define CONTROL_REPLY_BYTES   (8u << 20)   /* of a line; PL_MAX_CHAIN paths, each byte escaped */
#define CONTROL_MAX_DEPTH     6            /* of nested JSON, both ways */
#define CONTROL_NAME_BYTES    255u         /* of a file name */
#define CONTROL_MAX_WAIT_MS   60000u       /* of a switch for the requests in flight */
#define CONTROL_PROGRESS_NS   (100 * NS_PER_MS)
#define CONTROL_HELLO_MS      10000        /* a server that does not greet in this time does not work */
#define CONTROL_STAT_MS       2000         /* a server that does not tell its figures in this time is stuck */
#define CONTROL_POLL_MS       100          /* how often a waiting client asks whether to cancel */

/* enum, the word */
#define CONTROL_METHODS(X)    \
	X(HELLO, "hello")     \
	X(INFO, "info")       \
	X(MEMBERS, "members") \
	X(PUSH, "push")       \
	X(ABANDON, "abandon") \
	X(SWITCH, "switch")   \
	X(MERGE, "merge")     \
	X(REPLACE, "replace") \
	X(FINISH, "finish")   \
	X(CANCEL, "cancel")   \
	X(STAT, "stat")       \
	X(SET, "set")         \
	X(RETRY, "retry")     \
	X(HANDOVER, "handover")

enum control_method {
#define X(name, word) CONTROL_##name,
	CONTROL_METHODS(X)
#undef X
	CONTROL_METHOD_COUNT
};

#endif
