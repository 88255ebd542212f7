/* The lines of the control protocol (control.h), decoded and encoded: mirror functions over structs, without sockets
 * and without a disk. The only file that knows JSON. */
#ifndef PLOOP_CONTROL_MESSAGE_H
#define PLOOP_CONTROL_MESSAGE_H

#include "base/cleanup.h"
#include "control.h"
#include "ploop-serve.h"

#define CONTROL_UUID_TEXT 36

struct control_request {
	uint64_t id;
	enum control_method method;
	/* hello */
	uint32_t version;
	/* push, replace */
	char name[CONTROL_NAME_BYTES + 1];
	/* switch */
	uint32_t wait_ms; /* 0: the engine's default */
	bool keep_bitmap_below;
	char cbt_uuid[CONTROL_UUID_TEXT + 1]; /* "": none */
	/* merge */
	uint32_t child;
	enum pl_merge_into into;
	/* replace */
	uint32_t place;
	/* set */
	uint64_t bytes_per_s, requests_per_s;
	uint32_t burst_ms;
	enum control_on_full { CONTROL_FULL_KEEP, CONTROL_FULL_WAIT, CONTROL_FULL_FAIL } on_full;
};

struct control_info {
	uint64_t size_bytes, allocated_clusters, partial_clusters;
	uint32_t cluster_bytes, image_version, depth, pid;
	bool readonly, survives;
	char program[32];
};

enum control_reply_kind { CONTROL_RESULT, CONTROL_ERROR, CONTROL_PROGRESS };

struct control_reply {
	enum control_reply_kind kind;
	uint64_t id;                /* 0: of no request */
	enum control_method method; /* whose result it is */
	int err;                    /* ERROR: negative */
	char message[512];
	uint32_t version;                 /* hello */
	uint64_t pause_ns;                /* of a change */
	uint64_t done_bytes, total_bytes; /* PROGRESS */
	struct control_info info;
	struct pl_live_stat stat;
	struct pl_member *members; /* one allocation; its paths lie in it or are the sender's */
	size_t member_count;
};

/* Read a line of @bytes, without its newline. -EBADMSG: it is no request; else out->id is set, and -EOPNOTSUPP: no such
 * method · -EINVAL: what it says with it. */
int control_request_decode(const char *line, size_t bytes, struct control_request *out);
/* The line with its newline, *@out is to be freed. -ENOMEM. */
int control_request_encode(const struct control_request *request, char **out, size_t *bytes);

int control_reply_encode(const struct control_reply *reply, char **out, size_t *bytes);
/* A line that may be the answer to @awaited; when its id is another, only that is set, and the kind. out->members is
 * the caller's to free. -EPROTO: not understood. */
int control_reply_decode(const char *line, size_t bytes, const struct control_request *awaited,
			 struct control_reply *out);

const char *control_method_word(enum control_method method);

#endif
