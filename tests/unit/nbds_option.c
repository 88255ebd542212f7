/* Negotiation, against wire arrays. */
#include "tests/unit/nbds_wire.h"

TestSuite(nbds_option, .init = setup, .fini = teardown, .timeout = 20);

/* ------------------------------------------------------------------ negotiation */

Test(nbds_option, greets_with_fixed_newstyle_and_no_zeroes)
{
	teardown();
	fake_init(&fake);
	output = malloc(OUTPUT_BYTES);
	cr_assert(eq(int, nbds_conn_init(&conn, &fake.backend, fake.exports, 1, NBDS_TLS_OFF, "test"), 0));
	drain();
	static const uint8_t want[] = "NBDMAGICIHAVEOPT\0\3";
	cr_assert(eq(int, memcmp(expect(18), want, 18), 0));
	expect_nothing();
}

Test(nbds_option, unknown_client_flags_end_the_connection)
{
	send_hello(4);
	cr_assert(eq(int, conn.state, CONN_DEAD));
}

Test(nbds_option, wrong_option_magic_ends_the_connection)
{
	send_hello(3);
	uint8_t p[16] = "IHAVEOPS";
	feed(p, sizeof(p));
	cr_assert(eq(int, conn.state, CONN_DEAD));
	expect_nothing();
}

Test(nbds_option, option_longer_than_the_limit_ends_the_connection_before_its_data)
{
	send_hello(3);
	uint8_t p[16];
	put_option(p, NBDS_OPT_GO, NULL, 0);
	store_be32(p + 12, NBDS_MAX_OPTION_BYTES + 1);
	feed(p, sizeof(p));
	cr_assert(eq(int, conn.state, CONN_DEAD));
}

Test(nbds_option, unknown_option_is_refused_and_negotiation_goes_on)
{
	send_hello(3);
	send_option(0xdeadbeef, "hello", 5);
	expect_refusal(0xdeadbeef, NBDS_REP_ERR_UNSUP);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
}

Test(nbds_option, export_name_answers_with_124_zeroes_unless_declined)
{
	send_hello(1);
	send_option(NBDS_OPT_EXPORT_NAME, NULL, 0);
	const uint8_t *p = expect(134);
	cr_assert(eq(u64, load_be64(p), FAKE_DISK_BYTES));
	cr_assert(eq(u16, load_be16(p + 8), 0xd6d & ~NBDS_CAN_DF));
	expect_nothing();
}

Test(nbds_option, export_name_without_zeroes)
{
	send_hello(3);
	send_option(NBDS_OPT_EXPORT_NAME, "ro", 2);
	cr_assert(eq(u16, load_be16(expect(10) + 8) & NBDS_IS_READ_ONLY, NBDS_IS_READ_ONLY));
	expect_nothing();
}

Test(nbds_option, export_name_that_does_not_exist_ends_the_connection)
{
	send_hello(3);
	send_option(NBDS_OPT_EXPORT_NAME, "nope", 4);
	cr_assert(eq(int, conn.state, CONN_DEAD));
}

Test(nbds_option, list_names_every_export)
{
	uint8_t data[64];
	uint32_t bytes;
	send_hello(3);
	send_option(NBDS_OPT_LIST, NULL, 0);
	cr_assert(eq(u32, expect_reply(NBDS_OPT_LIST, &bytes, data), NBDS_REP_SERVER));
	cr_assert(eq(u32, bytes, 4));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_LIST, &bytes, data), NBDS_REP_SERVER));
	cr_assert(eq(u32, bytes, 6));
	cr_assert(eq(int, memcmp(data, "\0\0\0\2ro", 6), 0));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_LIST, &bytes, data), NBDS_REP_SERVER));
	expect_ack(NBDS_OPT_LIST);
	send_option(NBDS_OPT_LIST, "x", 1);
	expect_refusal(NBDS_OPT_LIST, NBDS_REP_ERR_INVALID);
}

Test(nbds_option, info_tells_size_block_sizes_name_and_description_and_stays_in_negotiation)
{
	static const uint16_t infos[] = {NBDS_INFO_NAME, NBDS_INFO_DESCRIPTION, 999};
	uint8_t data[256];
	uint32_t bytes;
	send_hello(3);
	send_option(NBDS_OPT_INFO, data, put_go_data(data, "", infos, 3));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_INFO, &bytes, data), NBDS_REP_INFO));
	cr_assert(eq(u16, load_be16(data), NBDS_INFO_EXPORT));
	cr_assert(eq(u64, load_be64(data + 2), FAKE_DISK_BYTES));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_INFO, &bytes, data), NBDS_REP_INFO));
	cr_assert(eq(u16, load_be16(data), NBDS_INFO_BLOCK_SIZE));
	cr_assert(eq(u32, load_be32(data + 2), 512u));
	cr_assert(eq(u32, load_be32(data + 6), 4096u));
	cr_assert(eq(u32, load_be32(data + 10), 32u << 20));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_INFO, &bytes, data), NBDS_REP_INFO));
	cr_assert(eq(u16, load_be16(data), NBDS_INFO_NAME));
	cr_assert(eq(u32, expect_reply(NBDS_OPT_INFO, &bytes, data), NBDS_REP_INFO));
	cr_assert(eq(u16, load_be16(data), NBDS_INFO_DESCRIPTION));
	cr_assert(eq(int, memcmp(data + 2, "a small disk", 12), 0));
	expect_ack(NBDS_OPT_INFO);
	cr_assert(eq(int, conn.state, CONN_OPT_HEAD));
}

Test(nbds_option, go_with_lengths_that_do_not_add_up_is_invalid)
{
	uint8_t data[64];
	send_hello(3);
	uint32_t n = put_go_data(data, "ro", NULL, 0);
	send_option(NBDS_OPT_GO, data, n - 1);
	expect_refusal(NBDS_OPT_GO, NBDS_REP_ERR_INVALID);
	send_option(NBDS_OPT_GO, data, n + 1);
	expect_refusal(NBDS_OPT_GO, NBDS_REP_ERR_INVALID);
	store_be32(data, 0xffffffff);
	send_option(NBDS_OPT_GO, data, n);
	expect_refusal(NBDS_OPT_GO, NBDS_REP_ERR_INVALID);
	send_option(NBDS_OPT_GO, NULL, 0);
	expect_refusal(NBDS_OPT_GO, NBDS_REP_ERR_INVALID);
}

Test(nbds_option, go_to_an_unknown_export_is_refused)
{
	uint8_t data[64];
	send_hello(3);
	send_option(NBDS_OPT_GO, data, put_go_data(data, "nope", NULL, 0));
	expect_refusal(NBDS_OPT_GO, NBDS_REP_ERR_UNKNOWN);
}

Test(nbds_option, abort_is_acknowledged_and_closes)
{
	send_hello(3);
	send_option(NBDS_OPT_ABORT, NULL, 0);
	expect_ack(NBDS_OPT_ABORT);
	cr_assert(nbds_conn_finished(&conn));
}

Test(nbds_option, options_wait_while_an_answer_is_not_read)
{
	send_hello(3);
	uint8_t p[64];
	size_t n = put_option(p, NBDS_OPT_LIST, NULL, 0);
	n += put_option(p + n, NBDS_OPT_LIST, NULL, 0);
	struct iovec iov[2];
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 1));
	memcpy(iov[0].iov_base, p, n);
	nbds_conn_received(&conn, n);
	size_t after_one = conn.text.bytes;
	nbds_conn_resume(&conn);
	cr_assert(eq(sz, conn.text.bytes, after_one));
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 0));
	drain();
	nbds_conn_resume(&conn);
	cr_assert(eq(sz, conn.text.bytes, after_one));
}

/* ------------------------------------------------------------------ contexts */

Test(nbds_option, contexts_need_structured_replies)
{
	uint8_t data[64];
	send_hello(3);
	send_option(NBDS_OPT_LIST_META_CONTEXT, data, put_meta_data(data, "", NULL, 0));
	expect_refusal(NBDS_OPT_LIST_META_CONTEXT, NBDS_REP_ERR_INVALID);
}

Test(nbds_option, list_meta_context_takes_namespaces_and_set_does_not)
{
	static const char *const queries[] = {"base:", "other:thing"};
	uint8_t data[128];
	uint32_t bytes;
	send_hello(3);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
	uint32_t n = put_meta_data(data, "", queries, 2);
	uint8_t reply[64];
	send_option(NBDS_OPT_LIST_META_CONTEXT, data, n);
	cr_assert(eq(u32, expect_reply(NBDS_OPT_LIST_META_CONTEXT, &bytes, reply), NBDS_REP_META_CONTEXT));
	cr_assert(eq(int, memcmp(reply + 4, "base:allocation", 15), 0));
	expect_ack(NBDS_OPT_LIST_META_CONTEXT);
	send_option(NBDS_OPT_SET_META_CONTEXT, data, n);
	expect_ack(NBDS_OPT_SET_META_CONTEXT);
	cr_assert(eq(u32, conn.contexts, 0u));
}

Test(nbds_option, meta_context_count_past_the_data_is_invalid)
{
	uint8_t data[64];
	send_hello(3);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
	uint32_t n = put_meta_data(data, "", NULL, 0);
	store_be32(data + 4, 0xffffffff);
	send_option(NBDS_OPT_SET_META_CONTEXT, data, n);
	expect_refusal(NBDS_OPT_SET_META_CONTEXT, NBDS_REP_ERR_INVALID);
}

Test(nbds_option, contexts_set_for_one_export_do_not_hold_for_another)
{
	static const char *const queries[] = {"base:allocation"};
	uint8_t data[128];
	send_hello(3);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	send_option(NBDS_OPT_SET_META_CONTEXT, data, put_meta_data(data, "ro", queries, 1));
	send_option(NBDS_OPT_GO, data, put_go_data(data, "", NULL, 0));
	output_bytes = 0;
	send_request(0, NBDS_CMD_BLOCK_STATUS, 1, 0, 4096);
	expect_error_chunk(1, NBDS_EINVAL);
}

/* ------------------------------------------------------------------ TLS */

Test(nbds_option, starttls_without_tls_is_refused_by_policy)
{
	send_hello(3);
	send_option(NBDS_OPT_STARTTLS, NULL, 0);
	expect_refusal(NBDS_OPT_STARTTLS, NBDS_REP_ERR_POLICY);
}

Test(nbds_option, required_tls_refuses_everything_but_starttls_and_abort)
{
	teardown();
	start_with(NBDS_TLS_REQUIRED);
	send_hello(3);
	static const uint32_t options[] = {NBDS_OPT_LIST, NBDS_OPT_GO, NBDS_OPT_STRUCTURED_REPLY, 77};
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		send_option(options[i], NULL, 0);
		expect_refusal(options[i], NBDS_REP_ERR_TLS_REQD);
	}
	send_option(NBDS_OPT_ABORT, NULL, 0);
	expect_ack(NBDS_OPT_ABORT);
}

Test(nbds_option, required_tls_drops_export_name)
{
	teardown();
	start_with(NBDS_TLS_REQUIRED);
	send_hello(3);
	send_option(NBDS_OPT_EXPORT_NAME, NULL, 0);
	expect_nothing();
	cr_assert(eq(int, conn.state, CONN_DEAD));
}

Test(nbds_option, starttls_forgets_what_was_agreed_in_the_clear)
{
	teardown();
	start_with(NBDS_TLS_OFFERED);
	send_hello(3);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
	send_option(NBDS_OPT_STARTTLS, NULL, 0);
	expect_ack(NBDS_OPT_STARTTLS);
	cr_assert(nbds_conn_wants_tls(&conn));
	struct iovec iov[2];
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 0));
	nbds_conn_tls_started(&conn);
	cr_assert(not(conn.structured));
	send_option(NBDS_OPT_STARTTLS, NULL, 0);
	expect_refusal(NBDS_OPT_STARTTLS, NBDS_REP_ERR_INVALID);
}

Test(nbds_option, bytes_in_the_clear_behind_starttls_end_the_connection)
{
	teardown();
	start_with(NBDS_TLS_OFFERED);
	send_hello(3);
	uint8_t p[64];
	size_t n = put_option(p, NBDS_OPT_STARTTLS, NULL, 0);
	n += put_option(p + n, NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	feed(p, n);
	expect_nothing();
	cr_assert(eq(int, conn.state, CONN_DEAD));
}
