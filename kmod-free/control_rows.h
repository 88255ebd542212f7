/* What a message carries is a table of rows: word, kind, place in the struct, limit. The same row reads and writes, so
 * the two directions cannot differ. For control_message.c alone. */
#ifndef PLOOP_CONTROL_ROWS_H
#define PLOOP_CONTROL_ROWS_H

#include "control_message.h"

enum kind { KIND_END, KIND_U32, KIND_U64, KIND_BOOL, KIND_TEXT, KIND_BUCKETS, KIND_INTO, KIND_FULL, KIND_SET_FULL };

struct row {
	const char *key;
	enum kind kind;
	bool optional; /* as zero or "" */
	size_t at;
	uint64_t most; /* U32, U64: the largest value; TEXT: the room, with its end */
};

#define AT(type, field) offsetof(struct type, field)
#define TEXT_ROW(type, name, opt) {#name, KIND_TEXT, opt, AT(type, name), sizeof(((struct type *)0)->name)}
#define INFO_ROW(name, kind, limit) {#name, kind, false, AT(control_reply, info.name), limit}
#define STAT_ROW(name, kind, limit) {#name, kind, false, AT(control_reply, stat.disk.name), limit}
#define OP_ROW(word, op, name, kind)                                                                                   \
	{word "_" #name, kind, false, AT(control_reply, stat.disk.ops[op].name), UINT64_MAX}
#define OP_ROWS(word, op)                                                                                              \
	OP_ROW(word, op, requests, KIND_U64), OP_ROW(word, op, errors, KIND_U64), OP_ROW(word, op, bytes, KIND_U64),   \
		OP_ROW(word, op, time_ns, KIND_U64), OP_ROW(word, op, latency, KIND_BUCKETS)
#define U64_ROW(name) {#name, KIND_U64, false, AT(control_reply, name), UINT64_MAX}

/* Of the kinds that are an enum, from KIND_INTO on. */
static const char *const words[][4] = {
	[KIND_INTO] = {[PL_INTO_CHILD] = "child", [PL_INTO_PARENT] = "parent"},
	[KIND_FULL] = {[PL_FULL_WAITS] = "wait", [PL_FULL_FAILS] = "fail"},
	[KIND_SET_FULL] = {"keep", "wait", "fail"},
};

static const struct row request_rows[CONTROL_METHOD_COUNT][5] = {
	[CONTROL_HELLO] = {{"version", KIND_U32, false, AT(control_request, version), UINT32_MAX}},
	[CONTROL_PUSH] = {TEXT_ROW(control_request, name, false)},
	[CONTROL_SWITCH] = {{"wait_ms", KIND_U32, true, AT(control_request, wait_ms), CONTROL_MAX_WAIT_MS},
			    {"keep_bitmap_below", KIND_BOOL, true, AT(control_request, keep_bitmap_below), 0},
			    TEXT_ROW(control_request, cbt_uuid, true)},
	[CONTROL_MERGE] = {{"child", KIND_U32, false, AT(control_request, child), PL_MAX_CHAIN - 1},
			   {"into", KIND_INTO, false, AT(control_request, into), 0}},
	[CONTROL_REPLACE] = {{"place", KIND_U32, false, AT(control_request, place), PL_MAX_CHAIN - 1},
			     TEXT_ROW(control_request, name, false)},
	[CONTROL_SET] = {{"bytes_per_s", KIND_U64, false, AT(control_request, bytes_per_s), PL_LIMIT_MAX},
			 {"requests_per_s", KIND_U64, false, AT(control_request, requests_per_s), PL_LIMIT_MAX},
			 {"burst_ms", KIND_U32, false, AT(control_request, burst_ms), UINT32_MAX},
			 {"on_full", KIND_SET_FULL, false, AT(control_request, on_full), 0}},
};

static const struct row info_rows[] = {
	INFO_ROW(size_bytes, KIND_U64, UINT64_MAX),
	INFO_ROW(cluster_bytes, KIND_U32, UINT32_MAX),
	INFO_ROW(image_version, KIND_U32, UINT32_MAX),
	INFO_ROW(depth, KIND_U32, UINT32_MAX),
	INFO_ROW(allocated_clusters, KIND_U64, UINT64_MAX),
	{"partial_clusters", KIND_U64, true, AT(control_reply, info.partial_clusters), UINT64_MAX},
	INFO_ROW(readonly, KIND_BOOL, 0),
	INFO_ROW(survives, KIND_BOOL, 0),
	INFO_ROW(pid, KIND_U32, UINT32_MAX),
	{"program", KIND_TEXT, false, AT(control_reply, info.program), sizeof(((struct control_info *)0)->program)},
	{0},
};

static const struct row stat_rows[] = {
	{"path", KIND_TEXT, false, AT(control_reply, stat.path), sizeof(((struct pl_live_stat *)0)->path)},
	OP_ROWS("read", PL_READ),
	OP_ROWS("write", PL_WRITE),
	OP_ROWS("flush", PL_FLUSH),
	OP_ROWS("discard", PL_DISCARD),
	OP_ROWS("zeroes", PL_WRITE_ZEROES),
	STAT_ROW(in_flight, KIND_U64, UINT64_MAX),
	STAT_ROW(first_writes, KIND_U64, UINT64_MAX),
	STAT_ROW(rounds, KIND_U64, UINT64_MAX),
	STAT_ROW(io_errors, KIND_U64, UINT64_MAX),
	STAT_ROW(failed, KIND_BOOL, 0),
	{"bytes_per_s", KIND_U64, false, AT(control_reply, stat.disk.limits.bytes_per_s), UINT64_MAX},
	{"requests_per_s", KIND_U64, false, AT(control_reply, stat.disk.limits.requests_per_s), UINT64_MAX},
	{"burst_ms", KIND_U32, false, AT(control_reply, stat.disk.limits.burst_ms), UINT32_MAX},
	STAT_ROW(limited, KIND_U64, UINT64_MAX),
	STAT_ROW(limited_now, KIND_U64, UINT64_MAX),
	STAT_ROW(on_full, KIND_FULL, 0),
	STAT_ROW(full, KIND_U64, UINT64_MAX),
	STAT_ROW(full_ns, KIND_U64, UINT64_MAX),
	STAT_ROW(full_requests, KIND_U64, UINT64_MAX),
	STAT_ROW(full_errno, KIND_U32, INT32_MAX),
	{"full_path", KIND_TEXT, false, AT(control_reply, stat.full_path), sizeof(((struct pl_live_stat *)0)->path)},
	{0},
};

static const struct row hello_rows[] = {{"version", KIND_U32, false, AT(control_reply, version), UINT32_MAX}, {0}};
static const struct row change_rows[] = {U64_ROW(pause_ns), {0}};
static const struct row progress_rows[] = {U64_ROW(done_bytes), U64_ROW(total_bytes), {0}};

static const struct row *const result_rows[CONTROL_METHOD_COUNT] = {
	[CONTROL_HELLO] = hello_rows,
	[CONTROL_INFO] = info_rows,
	[CONTROL_SWITCH] = change_rows,
	[CONTROL_MERGE] = change_rows,
	[CONTROL_REPLACE] = change_rows,
	[CONTROL_FINISH] = change_rows,
	[CONTROL_HANDOVER] = change_rows,
	[CONTROL_STAT] = stat_rows,
};

static const struct row member_rows[] = { /* and its path */
	{"dev", KIND_U64, false, AT(pl_member, dev), UINT64_MAX},
	{"ino", KIND_U64, false, AT(pl_member, ino), UINT64_MAX},
	{"clusters", KIND_U64, false, AT(pl_member, clusters), UINT64_MAX},
	{"raw", KIND_BOOL, false, AT(pl_member, raw), 0},
	{"others_read", KIND_BOOL, false, AT(pl_member, others_read), 0},
	{0},
};

#endif
