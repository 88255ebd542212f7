/* The control of a disk as a machine: who may do what when, and what becomes of a client's work when it goes. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "tests/support/control_fake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HELLO "{\"id\":1,\"do\":\"hello\",\"version\":1}\n"
#define PUSH(id, name) "{\"id\":" #id ",\"do\":\"push\",\"name\":\"" name "\"}\n"
#define DO(id, what) "{\"id\":" #id ",\"do\":\"" what "\"}\n"
#define SET(id, bytes, requests, on_full)                                                                              \
	"{\"id\":" #id ",\"do\":\"set\",\"bytes_per_s\":" #bytes "," \
	"\"requests_per_s\":" #requests ",\"burst_ms\":7,\"on_full\":\"" on_full "\"}\n"
#define MERGE(id) "{\"id\":" #id ",\"do\":\"merge\",\"child\":2,\"into\":\"parent\"}\n"

static struct control_fake fake;
static struct control control;
static struct control_conn conns[2], *a = &conns[0], *b = &conns[1];
static char said[65536]; /* by the last client asked */

static void begin(void)
{
	control_fake_init(&fake, NULL);
	control_init(&control, &fake.backend);
	control_conn_init(a, &control);
	control_conn_init(b, &control);
}

/* What the machine sends, until it sends no more. */
static const char *hear(struct control_conn *c)
{
	size_t n = 0;
	said[0] = '\0';
	for (;;) {
		control_conn_run(c);
		struct iovec out = control_conn_output(c);
		if (out.iov_len == 0)
			return said;
		size_t part = MIN(out.iov_len, 100);
		cr_assert(lt(sz, n + part, sizeof(said)));
		memcpy(said + n, out.iov_base, part);
		n += part;
		said[n] = '\0';
		control_conn_sent(c, part);
	}
}

static const char *tell(struct control_conn *c, const char *text)
{
	control_conn_received(c, text, strlen(text));
	return hear(c);
}

static void expect(struct control_conn *c, const char *text, const char *part)
{
	tell(c, text);
	cr_assert(strstr(said, part) != NULL, "to %s the answer is %s, not %s", text, said, part);
}

static void begin_greeted(void)
{
	begin();
	expect(a, HELLO, "\"result\":{\"version\":1}");
	expect(b, HELLO, "\"result\":{\"version\":1}");
}

static void leave(struct control_conn *c)
{
	control_conn_fini(c);
	control_settle(&control);
}

static void end(void)
{
	while (control.conns)
		leave(control.conns);
	if (fake.change)
		control_fake_finish(&fake, -ECANCELED);
	control_settle(&control);
	cr_assert(eq(str, fake.pushed, ""));
}

TestSuite(control_conn, .init = begin_greeted, .fini = end);

Test(control_conn, hello_comes_first_and_once, .init = begin)
{
	expect(a, DO(1, "info"), "{\"id\":1,\"error\":\"EPROTO\",\"message\":\"say hello first\"}\n");
	expect(a, PUSH(2, "x"), "EPROTO");
	expect(a, "{\"id\":3,\"do\":\"hello\",\"version\":2}\n", "EPROTO");
	expect(a, DO(4, "info"), "EPROTO");
	expect(a, HELLO, "result");
	expect(a, HELLO, "EINVAL");
	expect(a, DO(5, "info"), "\"pid\":42");
	cr_assert(eq(u32, fake.pushes, 0));
}

Test(control_conn, lines_may_come_in_any_pieces)
{
	static const char text[] = DO(2, "info") DO(3, "members");
	for (size_t i = 0, answers = 0; i < strlen(text); i++) {
		control_conn_received(a, &text[i], 1);
		answers += *hear(a) != '\0';
		bool is_last = i + 1 == strlen(text);
		cr_assert(eq(sz, answers, is_last ? 2 : memchr(text, '\n', i + 1) != NULL));
	}
	const char *want = "{\"id\":3,\"result\":{\"members\":[{\"path\":\"/vz/ct 1/root.hds\"";
	cr_assert(strstr(said, want) == said, "%s", said);
}

Test(control_conn, many_requests_at_once_are_answered_in_order)
{
	const char *at = tell(a, DO(2, "info") DO(3, "nothing") DO(4, "members") DO(5, "cancel") DO(6, "abandon"));
	for (int i = 2; i <= 6; i++) {
		char id[24];
		snprintf(id, sizeof(id), "{\"id\":%d,", i);
		at = strstr(at, id);
		cr_assert(at != NULL, "%s after: %s", id, said);
	}
	cr_assert(control_conn_is_idle(a));
}

Test(control_conn, nothing_is_run_while_an_answer_waits)
{
	const char *text = DO(2, "members") PUSH(3, "x");
	control_conn_received(a, text, strlen(text));
	control_conn_run(a);
	control_conn_run(a);
	cr_assert(eq(u32, fake.pushes, 0));
	hear(a);
	cr_assert(eq(u32, fake.pushes, 1));
}

Test(control_conn, what_is_no_request_ends_the_connection)
{
	static const char *const lines[] = {"\n", "GET / HTTP/1.1\r\n", "{}\n", "[[[[[[[[[[[[[[[[[[[[\n", "\0\0\0\0\n"};
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		control_conn_received(a, lines[i], i == 4 ? 5 : strlen(lines[i]));
		hear(a);
		cr_assert(strstr(said, "{\"id\":0,\"error\":\"EBADMSG\"") == said, "%s", said);
		cr_assert(eq(sz, control_conn_room(a), 0));
		cr_assert(a->refused && control_conn_is_idle(a));
		leave(a);
		control_conn_init(a, &control);
		expect(a, HELLO, "result");
	}
	expect(b, DO(2, "info"), "result");
}

Test(control_conn, a_line_without_end_is_refused_at_the_limit)
{
	static const char piece[64] = "                                                               ";
	size_t n = 0;
	for (; control_conn_room(a) > 0; n += 64) {
		cr_assert(eq(str, (char *)hear(a), ""));
		control_conn_received(a, piece, 64);
	}
	cr_assert(eq(sz, n, CONTROL_REQUEST_BYTES));
	hear(a);
	cr_assert(strstr(said, "\"id\":0,\"error\":\"EMSGSIZE\"") != NULL, "%s", said);
	cr_assert(a->refused);
}

Test(control_conn, a_pushed_image_becomes_the_top)
{
	expect(a, PUSH(2, "root.hds.{new}"), "{\"id\":2,\"result\":{}}\n");
	cr_assert(eq(str, fake.pushed, "root.hds.{new}"));
	cr_assert(eq(str, (char *)tell(a, "{\"id\":3,\"do\":\"switch\",\"wait_ms\":77,\"keep_bitmap_below\":true,"
					  "\"cbt_uuid\":\"5fbaabe3-6958-40ff-92a7-860e329aab41\"}\n"), ""));
	cr_assert(eq(int, control_conn_is_idle(a), false), "it waits for an answer");
	cr_assert(eq(u32, fake.options.wait_ms, 77));
	cr_assert(fake.options.keep_bitmap_below);
	cr_assert(eq(str, fake.uuid, "5fbaabe3-6958-40ff-92a7-860e329aab41"));
	control_fake_finish(&fake, 0);
	cr_assert(eq(str, (char *)hear(a), "{\"id\":3,\"result\":{\"pause_ns\":1234567}}\n"));
	leave(a);
	cr_assert(eq(u32, fake.abandons, 0));
	control_conn_init(a, &control);
}

Test(control_conn, only_plain_names_are_pushed)
{
	expect(a, PUSH(2, ""), "EINVAL");
	expect(a, PUSH(2, "."), "EINVAL");
	expect(a, PUSH(2, ".."), "EINVAL");
	expect(a, PUSH(2, "../x"), "EINVAL");
	expect(a, PUSH(2, "/etc/passwd"), "EINVAL");
	expect(a, PUSH(2, "a\\u002fb"), "EINVAL");
	cr_assert(eq(u32, fake.pushes, 0));
	fake.push_fails = -EUCLEAN;
	expect(a, PUSH(3, "x"), "{\"id\":3,\"error\":\"EUCLEAN\",\"message\":\"the pushed image is bad\"}\n");
	fake.push_fails = 0;
	expect(b, PUSH(3, "x"), "result");
}

Test(control_conn, what_one_client_pushed_is_its_own)
{
	expect(a, DO(2, "switch"), "ENOENT");
	expect(a, DO(2, "abandon"), "ENOENT");
	expect(a, PUSH(2, "x"), "result");
	expect(a, PUSH(3, "y"), "EBUSY");
	expect(b, PUSH(2, "y"), "EBUSY");
	expect(b, DO(2, "switch"), "EBUSY");
	expect(b, DO(2, "abandon"), "EBUSY");
	expect(b, MERGE(2), "EBUSY");
	expect(b, DO(2, "members"), "top.hds");
	expect(a, DO(4, "abandon"), "result");
	cr_assert(eq(u32, fake.abandons, 1));
	expect(b, PUSH(3, "y"), "result");
}

Test(control_conn, a_pushed_image_is_abandoned_with_its_client)
{
	expect(a, PUSH(2, "x"), "result");
	leave(b);
	cr_assert(eq(str, fake.pushed, "x"));
	leave(a);
	cr_assert(eq(str, fake.pushed, ""));
	cr_assert(eq(u32, fake.abandons, 1));
}

Test(control_conn, a_switch_that_fails_leaves_the_image_pushed)
{
	expect(a, PUSH(2, "x"), "result");
	tell(a, DO(3, "switch"));
	expect(a, DO(4, "abandon"), "EBUSY");
	control_fake_finish(&fake, -EAGAIN);
	hear(a);
	cr_assert(strstr(said, "{\"id\":3,\"error\":\"EAGAIN\",\"message\":\"the change ended: \\\"") == said);
	tell(a, DO(5, "switch"));
	leave(a); /* it goes on … */
	cr_assert(eq(u32, fake.cancels, 0));
	cr_assert(eq(u32, fake.abandons, 0));
	control_fake_finish(&fake, -EAGAIN);
	control_settle(&control); /* … and fails */
	cr_assert(eq(u32, fake.abandons, 1));
}

Test(control_conn, a_switch_outlives_its_client)
{
	expect(a, PUSH(2, "x"), "result");
	tell(a, DO(3, "switch"));
	leave(a);
	control_fake_finish(&fake, 0);
	control_settle(&control);
	cr_assert(eq(u32, fake.cancels + fake.abandons, 0));
	expect(b, PUSH(2, "y"), "result");
}

Test(control_conn, one_change_at_a_time)
{
	cr_assert(eq(str, (char *)tell(a, MERGE(2)), ""));
	cr_assert(eq(u32, fake.child, 2));
	cr_assert(eq(int, fake.into, PL_INTO_PARENT));
	expect(a, MERGE(3), "{\"id\":3,\"error\":\"EBUSY\",\"message\":\"a merge is running on this disk\"}\n");
	expect(b, MERGE(2), "EBUSY");
	expect(b, PUSH(3, "x"), "EBUSY");
	expect(b, DO(4, "info"), "result");
	control_fake_finish(&fake, 0);
	cr_assert(strstr(hear(a), "{\"id\":2,\"result\"") != NULL, "%s", said);
	cr_assert(eq(str, (char *)tell(b, MERGE(5)), ""));
	cr_assert(eq(u32, fake.merges, 2));
}

Test(control_conn, finishing_is_a_change_of_its_own)
{
	expect(b, PUSH(2, "x"), "result");
	expect(a, DO(2, "finish"), "EBUSY");
	expect(b, DO(3, "abandon"), "result");
	cr_assert(eq(str, (char *)tell(a, DO(3, "finish")), ""));
	expect(b, MERGE(4), "{\"id\":4,\"error\":\"EBUSY\",\"message\":\"a finish is running on this disk\"}\n");
	control_fake_finish(&fake, 0);
	cr_assert(strstr(hear(a), "{\"id\":3,\"result\"") != NULL, "%s", said);
	cr_assert(eq(str, (char *)tell(a, DO(4, "finish")), ""));
	leave(a);
	cr_assert(fake.cancelled);
	control_fake_finish(&fake, -ECANCELED);
	cr_assert(eq(u32, fake.finishes, 2));
}

Test(control_conn, replacing_is_a_change_and_takes_plain_names)
{
	expect(a, "{\"id\":2,\"do\":\"replace\",\"place\":0,\"name\":\"../x\"}\n", "EINVAL");
	expect(b, PUSH(2, "x"), "result");
	expect(a, "{\"id\":3,\"do\":\"replace\",\"place\":1,\"name\":\"x\"}\n", "EBUSY");
	expect(b, DO(3, "abandon"), "result");
	cr_assert(eq(str, (char *)tell(a, "{\"id\":4,\"do\":\"replace\",\"place\":1,\"name\":\"x\"}\n"), ""));
	cr_assert(eq(u32, fake.child, 1));
	cr_assert(eq(str, fake.replaced_by, "x"));
	expect(b, MERGE(4), "{\"id\":4,\"error\":\"EBUSY\",\"message\":\"a replace is running on this disk\"}\n");
	control_fake_finish(&fake, 0);
	cr_assert(strstr(hear(a), "{\"id\":4,\"result\"") != NULL, "%s", said);
	cr_assert(eq(u32, fake.replaces, 1));
}

Test(control_conn, a_handover_runs_alone_and_goes_on_without_who_asked)
{
	expect(b, PUSH(2, "x"), "result");
	expect(a, DO(2, "handover"), "EBUSY");
	expect(b, DO(3, "abandon"), "result");
	cr_assert(eq(str, (char *)tell(a, DO(3, "handover")), ""));
	expect(b, DO(4, "handover"), "{\"id\":4,\"error\":\"EBUSY\",\"message\":\"a handover is running");
	control_fake_finish(&fake, 0);
	cr_assert(strstr(hear(a), "{\"id\":3,\"result\":{\"pause_ns\":1234567}}") != NULL, "%s", said);
	cr_assert(eq(str, (char *)tell(a, DO(4, "handover")), ""));
	leave(a);
	cr_assert(not(fake.cancelled));
	control_fake_finish(&fake, -EBUSY);
	cr_assert(eq(u32, fake.handovers, 2));
}

Test(control_conn, only_neighbours_can_be_merged)
{
	expect(a, "{\"id\":2,\"do\":\"merge\",\"child\":0,\"into\":\"child\"}\n", "EINVAL");
	expect(a, "{\"id\":2,\"do\":\"merge\",\"child\":3,\"into\":\"child\"}\n", "EINVAL");
	cr_assert(eq(u32, fake.merges, 0));
}

Test(control_conn, anybody_may_cancel_and_the_change_tells_how_it_ended)
{
	expect(b, DO(2, "cancel"), "ENOENT");
	tell(a, MERGE(2));
	expect(b, DO(3, "cancel"), "result");
	cr_assert(fake.cancelled);
	control_fake_finish(&fake, -ECANCELED);
	cr_assert(strstr(hear(a), "{\"id\":2,\"error\":\"ECANCELED\"") != NULL, "%s", said);
}

Test(control_conn, a_merge_is_cancelled_when_its_client_goes)
{
	tell(a, MERGE(2));
	leave(b);
	cr_assert(eq(u32, fake.cancels, 0));
	leave(a);
	cr_assert(eq(u32, fake.cancels, 1));
	control_conn_init(b, &control);
	expect(b, HELLO, "result");
	expect(b, MERGE(2), "EBUSY");
	control_fake_finish(&fake, -ECANCELED);
	cr_assert(eq(str, (char *)tell(b, MERGE(3)), ""));
}

Test(control_conn, the_chain_is_told_when_what_a_gone_client_began_has_ended)
{
	expect(a, "{\"id\":1,\"do\":\"members\"}\n", "\"members\":[");
	tell(a, MERGE(2));
	expect(b, "{\"id\":1,\"do\":\"members\"}\n", "\"members\":[");
	leave(a);
	cr_assert(eq(str, (char *)tell(b, "{\"id\":2,\"do\":\"members\"}\n"), ""));
	cr_assert(not(control_conn_is_idle(b)));
	control_fake_finish(&fake, -ECANCELED);
	cr_assert(strstr(hear(b), "{\"id\":2,\"result\":{\"members\":[") != NULL, "%s", said);
}

Test(control_conn, progress_never_piles_up)
{
	tell(a, MERGE(2));
	fake.change->total_bytes = 100;
	for (int i = 0; i < 1000; i++) {
		control.progress_ns = 0; /* also when time passes */
		fake.change->progress(fake.change);
	}
	hear(a);
	cr_assert(eq(str, said, "{\"id\":2,\"event\":\"progress\",\"done_bytes\":0,\"total_bytes\":100}\n"));
	control_fake_finish(&fake, 0);
	cr_assert(strstr(hear(a), "result") != NULL);
}

Test(control_conn, closing_cancels_and_still_answers)
{
	tell(a, MERGE(2));
	control_close(&control);
	control_close(&control);
	cr_assert(eq(u32, fake.cancels, 1));
	cr_assert(eq(sz, control_conn_room(b), 0));
	cr_assert(control_conn_is_idle(b));
	cr_assert(eq(int, control_conn_is_idle(a), false));
	control_fake_finish(&fake, -ECANCELED);
	cr_assert(strstr(hear(a), "ECANCELED") != NULL);
	cr_assert(control_conn_is_idle(a));
}

/* A call that opens files turns the loop: requests of others come meanwhile. */
static void others_speak(struct control_fake *f)
{
	const char *text = PUSH(9, "z") MERGE(10);
	control_conn_received(b, text, strlen(text));
	control_conn_run(b);
	control_settle(&control);
	cr_assert(eq(sz, control_conn_output(b).iov_len, 0));
}

Test(control_conn, no_request_is_run_inside_another)
{
	fake.on_push = others_speak;
	expect(a, PUSH(2, "x"), "result");
	cr_assert(eq(u32, fake.pushes, 1));
	hear(b);
	cr_assert(strstr(said, "{\"id\":9,\"error\":\"EBUSY\"") != NULL, "%s", said);
	cr_assert(strstr(said, "{\"id\":10,\"error\":\"EBUSY\"") != NULL, "%s", said);
}

Test(control_conn, figures_limits_and_another_try)
{
	expect(a, SET(2, 5, 6, "fail"), "{\"id\":2,\"result\":{}}");
	cr_assert(eq(u64, fake.stat.limits.requests_per_s, 6));
	expect(b, DO(2, "stat"), "\"on_full\":\"fail\"");
	expect(a, SET(3, 0, 0, "keep"), "{\"id\":3,\"result\":{}}");
	cr_assert(eq(int, fake.stat.on_full, PL_FULL_FAILS));
	expect(a, DO(4, "retry"), "{\"id\":4,\"result\":{}}");
	cr_assert(eq(u32, fake.retries, 1));
}

Test(control_conn, a_disk_that_must_not_change_answers_questions_only)
{
	fake.backend.no_changes = true;
	expect(a, PUSH(2, "x"), "{\"id\":2,\"error\":\"EROFS\"");
	expect(a, MERGE(3), "{\"id\":3,\"error\":\"EROFS\"");
	expect(a, DO(4, "finish"), "{\"id\":4,\"error\":\"EROFS\"");
	expect(a, SET(5, 5, 6, "fail"), "{\"id\":5,\"error\":\"EROFS\"");
	cr_assert(eq(u32, fake.pushes + fake.merges + fake.finishes, 0));
	expect(a, DO(6, "stat"), "{\"id\":6,\"result\"");
	expect(a, DO(7, "members"), "{\"id\":7,\"result\"");
	expect(a, DO(8, "retry"), "{\"id\":8,\"result\"");
}
