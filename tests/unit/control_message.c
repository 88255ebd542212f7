/* The lines of the control protocol: what is said arrives, and what is no request is refused with a sentence. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "kmod-free/control_message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int decode(const char *line, struct control_request *out)
{
	pl_error_clear();
	int r = control_request_decode(line, strlen(line), out);
	bool told = pl_error()[0] != '\0';
	cr_assert(eq(int, told, r < 0), "%s: %d \"%s\"", line, r, pl_error());
	return r;
}

static struct control_request round_trip(struct control_request said)
{
	autofree char *line = NULL;
	size_t bytes;
	struct control_request got;
	cr_assert(eq(int, control_request_encode(&said, &line, &bytes), 0));
	cr_assert(eq(chr, line[bytes - 1], '\n'));
	cr_assert(memchr(line, '\n', bytes - 1) == NULL, "one line");
	cr_assert(eq(int, control_request_decode(line, bytes - 1, &got), 0), "%s", pl_error());
	cr_assert(eq(u64, got.id, said.id));
	cr_assert(eq(int, (int)got.method, (int)said.method));
	return got;
}

Test(control_message, a_request_arrives_as_it_was_said)
{
	for (int m = 0; m < CONTROL_METHOD_COUNT; m++)
		round_trip((struct control_request){.id = 7, .method = (enum control_method)m, .child = 1});

	struct control_request got = round_trip((struct control_request){
		.id = INT64_MAX, .method = CONTROL_SWITCH, .wait_ms = 1234, .keep_bitmap_below = true,
		.cbt_uuid = "5fbaabe3-6958-40ff-92a7-860e329aab41"});
	cr_assert(eq(u32, got.wait_ms, 1234));
	cr_assert(got.keep_bitmap_below);
	cr_assert(eq(str, got.cbt_uuid, "5fbaabe3-6958-40ff-92a7-860e329aab41"));

	got = round_trip((struct control_request){.id = 1, .method = CONTROL_MERGE, .child = 252,
						  .into = PL_INTO_PARENT});
	cr_assert(eq(u32, got.child, 252));
	cr_assert(eq(int, got.into, PL_INTO_PARENT));
}

Test(control_message, file_names_are_bytes)
{
	struct control_request said = {.id = 1, .method = CONTROL_PUSH};
	for (int i = 0; i < (int)CONTROL_NAME_BYTES; i++)
		said.name[i] = (char)(i + 1);
	struct control_request got = round_trip(said);
	cr_assert(eq(str, got.name, said.name));
}

Test(control_message, what_is_no_request_is_told)
{
	static const char *const lines[] = {
		"", " ", "hello", "{", "}", "[]", "1", "null", "\"do\"", "{}",
		"{\"id\":1,\"do\":\"info\"} x",
		"{\"id\":1 \"do\":\"info\"}",
		"{'id':1,'do':'info'}",
		"{\"do\":\"info\"}",
		"{\"id\":0,\"do\":\"info\"}",
		"{\"id\":-1,\"do\":\"info\"}",
		"{\"id\":\"1\",\"do\":\"info\"}",
		"{\"id\":1.5,\"do\":\"info\"}",
		"{\"id\":null,\"do\":\"info\"}",
		"{\"id\":9223372036854775808,\"do\":\"info\"}",
		"{\"id\":99999999999999999999,\"do\":\"info\"}",
		"{\"id\":1,\"do\":\"info\"}{\"id\":2,\"do\":\"info\"}",
		"{\"id\":[[[[[[[[[[1]]]]]]]]]],\"do\":\"info\"}",
		"{\"id\":1,\"do\":\"info\",\"x\":\"\n\"",
	};
	struct control_request q;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		cr_assert(eq(int, decode(lines[i], &q), -EBADMSG), "%s", lines[i]);
		cr_assert(eq(u64, q.id, 0), "%s", lines[i]);
	}
	cr_assert(eq(int, control_request_decode("{\"id\":1,\0\"do\":\"info\"}", 22, &q), -EBADMSG));
	cr_assert(eq(int, control_request_decode("{\"id\":1,\"do\":\"info\"}\0 x", 25, &q), -EBADMSG));
}

Test(control_message, nesting_has_an_end)
{
	char line[CONTROL_REQUEST_BYTES] = "{\"id\":1,\"do\":";
	memset(line + strlen(line), '[', 2000);
	struct control_request q;
	cr_assert(eq(int, decode(line, &q), -EBADMSG));
}

#define SET(bytes, requests, burst, on_full)                                                                           \
	"{\"id\":5,\"do\":\"set\",\"bytes_per_s\":" bytes ",\"requests_per_s\":" requests ",\"burst_ms\":" burst      \
	",\"on_full\":\"" on_full "\"}"

Test(control_message, what_a_request_says_is_judged)
{
	static const struct {
		int err;
		const char *line;
	} rows[] = {
		{-EINVAL, "{\"id\":5}"},
		{-EINVAL, "{\"id\":5,\"do\":1}"},
		{-EOPNOTSUPP, "{\"id\":5,\"do\":\"\"}"},
		{-EOPNOTSUPP, "{\"id\":5,\"do\":\"Info\"}"},
		{-EOPNOTSUPP, "{\"id\":5,\"do\":\"resize\",\"size\":1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"info\",\"extra\":1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"hello\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"hello\",\"version\":\"1\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"hello\",\"version\":4294967296}"},
		{-EINVAL, "{\"id\":5,\"do\":\"hello\",\"version\":-1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"push\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"push\",\"name\":null}"},
		{-EINVAL, "{\"id\":5,\"do\":\"push\",\"name\":[\"a\"]}"},
		{-EINVAL, "{\"id\":5,\"do\":\"push\",\"name\":\"a\\u0000b\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"switch\",\"wait_ms\":60001}"},
		{-EINVAL, "{\"id\":5,\"do\":\"switch\",\"wait_ms\":1.0}"},
		{-EINVAL, "{\"id\":5,\"do\":\"switch\",\"keep_bitmap_below\":1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"switch\",\"cbt_uuid\":\"5fbaabe3-6958-40ff-92a7-860e329aab411\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"replace\",\"place\":1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"replace\",\"name\":\"x\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"child\":1}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"into\":\"child\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"child\":253,\"into\":\"child\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"child\":true,\"into\":\"child\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"child\":1,\"into\":\"both\"}"},
		{-EINVAL, "{\"id\":5,\"do\":\"merge\",\"child\":1,\"into\":0}"},
		{-EINVAL, "{\"id\":5,\"do\":\"set\",\"bytes_per_s\":1,\"requests_per_s\":1,\"burst_ms\":1}"},
		{-EINVAL, SET("1125899906842625", "1", "1", "wait")},
		{-EINVAL, SET("1", "-1", "1", "wait")},
		{-EINVAL, SET("1", "1", "4294967296", "wait")},
		{-EINVAL, SET("1", "1", "1", "perhaps")},
		{-EINVAL, SET("1", "1", "1", "")},
		{0, SET("1", "2", "3", "keep")},
		{0, "{\"id\":5,\"do\":\"switch\"}"},
		{0, " { \"do\" : \"info\" , \"id\" : 5 } "},
	};
	struct control_request q;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert(eq(int, decode(rows[i].line, &q), rows[i].err), "%s: %s", rows[i].line, pl_error());
		cr_assert(eq(u64, q.id, 5), "%s", rows[i].line);
	}
}

Test(control_message, a_name_too_long_is_refused)
{
	char line[CONTROL_REQUEST_BYTES];
	struct control_request q;
	snprintf(line, sizeof(line), "{\"id\":1,\"do\":\"push\",\"name\":\"%0256d\"}", 0);
	cr_assert(eq(int, decode(line, &q), -EINVAL));
	snprintf(line, sizeof(line), "{\"id\":1,\"do\":\"push\",\"name\":\"%0255d\"}", 0);
	cr_assert(eq(int, decode(line, &q), 0));
}

static void answered(const struct control_reply *said, struct control_reply *got)
{
	autofree char *line = NULL;
	size_t bytes;
	const struct control_request q = {.id = said->id, .method = said->method};
	cr_assert(eq(int, control_reply_encode(said, &line, &bytes), 0));
	cr_assert(memchr(line, '\n', bytes - 1) == NULL, "one line");
	cr_assert(eq(int, control_reply_decode(line, bytes - 1, &q, got), 0), "%s", pl_error());
	cr_assert(eq(int, (int)got->kind, (int)said->kind));
	cr_assert(eq(u64, got->id, said->id));
}

Test(control_message, an_error_keeps_its_number_and_its_sentence)
{
	static const int errs[] = {EBUSY, ENOSPC, EUCLEAN, EMEDIUMTYPE, ECANCELED, EAGAIN, EOPNOTSUPP, EMLINK, EIO};
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		struct control_reply got, said = {.kind = CONTROL_ERROR, .id = 3, .err = -errs[i],
						  .message = "a \"b\" /c\n\t\x80"};
		answered(&said, &got);
		cr_assert(eq(int, got.err, -errs[i]));
		cr_assert(eq(str, got.message, said.message));
	}
}

Test(control_message, members_arrive_in_one_allocation)
{
	struct pl_member members[] = {
		{"/vz/base.hds", UINT64_MAX, UINT64_MAX - 1, 1ull << 40, true, false},
		{"", 0, 0, 0, false, true},
		{"/vz/\xc3\x28\\\"\n", 1, 2, 3, false, false},
	};
	struct control_reply said = {.kind = CONTROL_RESULT, .id = 9, .method = CONTROL_MEMBERS, .members = members,
				     .member_count = ARRAY_LEN(members)}, got;
	answered(&said, &got);
	cr_assert(eq(sz, got.member_count, ARRAY_LEN(members)));
	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		cr_assert(eq(str, (char *)got.members[i].path, (char *)members[i].path));
		cr_assert(eq(u64, got.members[i].dev, members[i].dev));
		cr_assert(eq(u64, got.members[i].ino, members[i].ino));
		cr_assert(eq(u64, got.members[i].clusters, members[i].clusters));
		cr_assert(eq(int, got.members[i].raw, members[i].raw));
		cr_assert(eq(int, got.members[i].others_read, members[i].others_read));
	}
	free(got.members);
}

Test(control_message, numbers_of_results_and_events_arrive)
{
	struct control_reply got;
	answered(&(struct control_reply){.kind = CONTROL_PROGRESS, .id = 1, .method = CONTROL_MERGE, .done_bytes = 5,
					 .total_bytes = UINT64_MAX}, &got);
	cr_assert(eq(u64, got.done_bytes, 5));
	cr_assert(eq(u64, got.total_bytes, UINT64_MAX));
	answered(&(struct control_reply){.id = 1, .method = CONTROL_SWITCH, .pause_ns = 400000}, &got);
	cr_assert(eq(u64, got.pause_ns, 400000));
	answered(&(struct control_reply){.id = 1, .method = CONTROL_INFO,
					 .info = {.size_bytes = 1ull << 44, .partial_clusters = 5, .pid = 77,
						  .survives = true}},
		 &got);
	cr_assert(eq(u64, got.info.size_bytes, 1ull << 44));
	cr_assert(eq(u64, got.info.partial_clusters, 5));
	cr_assert(eq(u32, got.info.pid, 77));
	cr_assert(got.info.survives && !got.info.readonly);
}

Test(control_message, figures_arrive)
{
	static struct control_reply said = {.id = 1, .method = CONTROL_STAT, .stat = {.path = "/vz/a \"b\".hds"}}, got;
	for (size_t i = 0; i < PL_OPS; i++) {
		said.stat.disk.ops[i] = (struct pl_op_stat){i + 1, i + 10, UINT64_MAX - i, i + 100, {0}};
		for (size_t k = 0; k < PL_LATENCY_BUCKETS; k++)
			said.stat.disk.ops[i].latency[k] = (i << 40) + k;
	}
	said.stat.disk.full_ns = 77;
	said.stat.disk.full_errno = EDQUOT;
	said.stat.disk.on_full = PL_FULL_FAILS;
	said.stat.disk.limits = (struct pl_limits){0, 20 << 20, 300, 100};
	answered(&said, &got);
	cr_expect(eq(int, memcmp(got.stat.disk.ops, said.stat.disk.ops, sizeof(said.stat.disk.ops)), 0));
	cr_expect(eq(str, got.stat.path, said.stat.path));
	cr_expect(eq(u64, got.stat.disk.full_ns, 77));
	cr_expect(eq(int, got.stat.disk.full_errno, EDQUOT));
	cr_expect(eq(int, got.stat.disk.on_full, PL_FULL_FAILS));
	cr_expect(eq(u64, got.stat.disk.limits.bytes_per_s, 20 << 20));
	cr_expect(eq(u32, got.stat.disk.limits.burst_ms, 100));

	const char *short_list = "{\"id\":1,\"result\":{\"path\":\"\",\"read_requests\":1,\"read_errors\":1,"
				 "\"read_bytes\":1,\"read_time_ns\":1,\"read_latency\":[1,2]}}";
	const struct control_request q = {.id = 1, .method = CONTROL_STAT};
	cr_expect(eq(int, control_reply_decode(short_list, strlen(short_list), &q, &got), -EPROTO));
}

Test(control_message, a_server_that_talks_nonsense_is_told)
{
	static const char *const lines[] = {
		"", "{}", "{\"id\":1}", "{\"id\":1,\"result\":[]}", "{\"id\":1,\"result\":{}}", "nonsense",
		"{\"id\":1,\"result\":{\"members\":{}}}", "{\"id\":1,\"result\":{\"members\":[1]}}",
		"{\"id\":1,\"result\":{\"members\":[{\"path\":1}]}}",
		"{\"id\":1,\"result\":{\"members\":[{\"path\":\"/a\"}]}}",
		"{\"id\":1,\"event\":\"progress\"}",
	};
	const struct control_request q = {.id = 1, .method = CONTROL_MEMBERS};
	struct control_reply got;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		cr_assert(eq(int, control_reply_decode(lines[i], strlen(lines[i]), &q, &got), -EPROTO), "%s",
			  lines[i]);
	const char *strange = "{\"id\":1,\"error\":\"ENOTKNOWNHERE\",\"message\":7}";
	cr_assert(eq(int, control_reply_decode(strange, strlen(strange), &q, &got), 0));
	cr_assert(eq(int, got.err, -EIO));
}
