/* Transmission, against wire arrays: whole, cut anywhere, and byte by byte. */
#include "tests/unit/nbds_wire.h"

TestSuite(nbds_conn, .init = setup, .fini = teardown, .timeout = 20);

/* ------------------------------------------------------------------ reading and writing */

Test(nbds_conn, simple_read_brings_the_bytes)
{
	go("");
	send_request(0, NBDS_CMD_READ, 42, 4096, 8192);
	cr_assert(eq(u32, expect_simple(42), 0u));
	cr_assert(eq(int, memcmp(expect(8192), fake.disk + 4096, 8192), 0));
	expect_nothing();
}

Test(nbds_conn, structured_read_is_one_chunk)
{
	go_structured("", 0);
	send_request(NBDS_CMD_FLAG_DF, NBDS_CMD_READ, 7, 512, 1024);
	cr_assert(eq(u32, expect_chunk(7, NBDS_CHUNK_DONE, NBDS_CHUNK_OFFSET_DATA), 8u + 1024));
	const uint8_t *p = expect(8 + 1024);
	cr_assert(eq(u64, load_be64(p), 512));
	cr_assert(eq(int, memcmp(p + 8, fake.disk + 512, 1024), 0));
	expect_nothing();
}

Test(nbds_conn, long_structured_read_of_a_hole_has_no_payload)
{
	go_structured("", 0);
	send_request(0, NBDS_CMD_READ, 7, FAKE_PIECE_BYTES, FAKE_PIECE_BYTES);
	cr_assert(eq(u32, expect_chunk(7, NBDS_CHUNK_DONE, NBDS_CHUNK_OFFSET_HOLE), 12u));
	const uint8_t *p = expect(12);
	cr_assert(eq(u64, load_be64(p), FAKE_PIECE_BYTES));
	cr_assert(eq(u32, load_be32(p + 8), FAKE_PIECE_BYTES));
	expect_nothing();
}

static void write_pattern(uint64_t offset, uint32_t length, size_t step, uint16_t flags)
{
	uint8_t *p = malloc(NBDS_REQUEST_HEAD_BYTES + length);
	put_request(p, flags, NBDS_CMD_WRITE, offset, offset, length);
	for (uint32_t i = 0; i < length; i++)
		p[NBDS_REQUEST_HEAD_BYTES + i] = (uint8_t)(i % 251 + offset);
	cr_assert(eq(sz, feed_stepwise(p, NBDS_REQUEST_HEAD_BYTES + length, step), 0));
	cr_assert(eq(u32, expect_simple(offset), 0u));
	cr_assert(eq(int, memcmp(fake.disk + offset, p + NBDS_REQUEST_HEAD_BYTES, length), 0));
	free(p);
}

Test(nbds_conn, writes_of_every_size_arrive_whole_however_they_are_cut)
{
	static const uint32_t lengths[] = {512, 4096, NBDS_BULK_BYTES, NBDS_BULK_BYTES + 512, 300 * 1024};
	static const size_t steps[] = {1, 27, 4096, 65536, SIZE_MAX};
	go("");
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++)
		for (size_t j = 0; j < ARRAY_LEN(steps); j++)
			write_pattern(512 * (i + 1), lengths[i], steps[j], 0);
	expect_nothing();
}

Test(nbds_conn, after_a_large_write_the_next_payload_is_left_in_the_socket)
{
	go("");
	write_pattern(0, 128 << 10, SIZE_MAX, 0);
	struct iovec iov[2];
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 1));
	cr_assert(eq(sz, iov[0].iov_len, NBDS_REQUEST_HEAD_BYTES));

	uint8_t head[NBDS_REQUEST_HEAD_BYTES];
	put_request(head, 0, NBDS_CMD_WRITE, 1, 0, 128 << 10);
	feed(head, sizeof(head));
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 2));
	cr_assert(eq(sz, iov[0].iov_len, 128u << 10));
	cr_assert(eq(ptr, iov[0].iov_base, conn.incoming->buf->data), "straight into the request's buffer");
	cr_assert(eq(sz, iov[1].iov_len, NBDS_REQUEST_HEAD_BYTES));
}

Test(nbds_conn, whole_conversation_byte_by_byte)
{
	uint8_t p[4096];
	size_t n = 0;
	store_be32(p, 3);
	n += 4;
	n += put_option(p + n, NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	uint8_t data[64];
	n += put_option(p + n, NBDS_OPT_GO, data, put_go_data(data, "", NULL, 0));
	n += put_request(p + n, 0, NBDS_CMD_WRITE, 1, 0, 512);
	memset(p + n, 0xaa, 512);
	n += 512;
	n += put_request(p + n, 0, NBDS_CMD_READ, 2, 0, 512);
	n += put_request(p + n, 0, NBDS_CMD_DISC, 3, 0, 0);
	cr_assert(eq(sz, feed_stepwise(p, n, 1), 0));
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
	while (expect_reply(NBDS_OPT_GO, NULL, NULL) == NBDS_REP_INFO)
		;
	cr_assert(eq(u32, expect_simple(1), 0u));
	expect_chunk(2, NBDS_CHUNK_DONE, NBDS_CHUNK_OFFSET_DATA);
	const uint8_t *d = expect(8 + 512);
	cr_assert(eq(u8, d[8 + 511], 0xaa));
	cr_assert(nbds_conn_finished(&conn));
	expect_nothing();
}

Test(nbds_conn, replies_come_in_the_order_of_completion)
{
	go("");
	fake.hold = true;
	for (uint64_t i = 0; i < 4; i++)
		send_request(0, NBDS_CMD_READ, i, i * 512, 512);
	expect_nothing();
	fake_release(&fake, true);
	drain();
	for (uint64_t i = 4; i-- > 0;) {
		cr_assert(eq(u32, expect_simple(i), 0u));
		cr_assert(eq(int, memcmp(expect(512), fake.disk + i * 512, 512), 0));
	}
}

Test(nbds_conn, output_may_be_taken_in_any_pieces)
{
	go("");
	uint8_t p[2 * NBDS_REQUEST_HEAD_BYTES];
	put_request(p, 0, NBDS_CMD_READ, 1, 0, 512);
	put_request(p + NBDS_REQUEST_HEAD_BYTES, 0, NBDS_CMD_READ, 2, 512, 512);
	struct iovec iov[4];
	nbds_conn_sink(&conn, iov);
	memcpy(iov[0].iov_base, p, sizeof(p));
	nbds_conn_received(&conn, sizeof(p));
	size_t bytes;
	for (size_t left = 2 * (16 + 512); left > 0; left--) {
		cr_assert(gt(sz, nbds_conn_output(&conn, iov, 4, &bytes), 0));
		cr_assert(le(sz, bytes, left));
		output[output_bytes++] = *(uint8_t *)iov[0].iov_base;
		nbds_conn_sent(&conn, 1);
		nbds_conn_check(&conn);
	}
	cr_assert(eq(sz, nbds_conn_output(&conn, iov, 4, &bytes), 0));
	expect_simple(1);
	cr_assert(eq(int, memcmp(expect(512), fake.disk, 512), 0));
	expect_simple(2);
	cr_assert(eq(int, memcmp(expect(512), fake.disk + 512, 512), 0));
	cr_assert(eq(u32, fake.buffers_out, 0u));
}

/* ------------------------------------------------------------------ commands and flags */

Test(nbds_conn, every_write_command_honours_fua)
{
	go("");
	write_pattern(0, 512, SIZE_MAX, NBDS_CMD_FLAG_FUA);
	send_request(NBDS_CMD_FLAG_FUA, NBDS_CMD_TRIM, 1, 0, 4096);
	cr_assert(eq(u32, expect_simple(1), 0u));
	send_request(NBDS_CMD_FLAG_FUA, NBDS_CMD_WRITE_ZEROES, 2, 0, 4096);
	cr_assert(eq(u32, expect_simple(2), 0u));
	cr_assert(eq(u32, fake.fuas, 3u));
}

Test(nbds_conn, write_zeroes_passes_no_hole_and_fast_zero_on)
{
	go("");
	fake.hold = true;
	send_request(NBDS_CMD_FLAG_NO_HOLE | NBDS_CMD_FLAG_FAST_ZERO, NBDS_CMD_WRITE_ZEROES, 2, 0, 4096);
	cr_assert(eq(u32, fake.held_count, 1u));
	cr_assert(eq(u32, fake.held[0]->flags, (unsigned)(PL_NO_HOLE | PL_FAST_ZERO)));
	cr_assert(eq(int, fake.held[0]->op, PL_WRITE_ZEROES));
}

Test(nbds_conn, trim_and_zeroes_may_be_longer_than_a_payload)
{
	teardown();
	start_with(NBDS_TLS_OFF);
	fake.exports[2].readonly = false;
	go("huge");
	fake.hold = true;
	send_request(0, NBDS_CMD_TRIM, 2, 0, 0xfffffe00);
	cr_assert(eq(u32, fake.held_count, 1u));
	cr_assert(eq(u64, fake.held[0]->length_bytes, 0xfffffe00));
	fake.held_count = 0; /* the fake's disk is not that large */
	conn.submitted--;
	conn.in_flight--;
}

Test(nbds_conn, flush_and_cache_succeed)
{
	go("");
	send_request(0, NBDS_CMD_FLUSH, 1, 0, 0);
	cr_assert(eq(u32, expect_simple(1), 0u));
	cr_assert(eq(u32, fake.flushes, 1u));
	send_request(0, NBDS_CMD_CACHE, 2, 0, 4096);
	cr_assert(eq(u32, expect_simple(2), 0u));
	expect_nothing();
}

static const struct bad_request {
	const char *export;
	uint16_t flags, type;
	uint64_t offset;
	uint32_t length, code;
} bad_requests[] = {
	{"", 0, NBDS_CMD_READ, FAKE_DISK_BYTES, 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_READ, FAKE_DISK_BYTES - 512, 1024, NBDS_EINVAL},
	{"", 0, NBDS_CMD_READ, UINT64_MAX & ~UINT64_C(511), 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_READ, 1, 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_READ, 0, 511, NBDS_EINVAL},
	{"", 0, NBDS_CMD_READ, 0, 0, NBDS_EINVAL},
	{"huge", 0, NBDS_CMD_READ, 0, (32u << 20) + 512, NBDS_EINVAL},
	{"", NBDS_CMD_FLAG_NO_HOLE, NBDS_CMD_READ, 0, 512, NBDS_EINVAL},
	{"", 0x8000, NBDS_CMD_READ, 0, 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_FLUSH, 0, 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_FLUSH, 512, 0, NBDS_EINVAL},
	{"", 0, NBDS_CMD_TRIM, FAKE_DISK_BYTES, 512, NBDS_ENOSPC},
	{"", NBDS_CMD_FLAG_FAST_ZERO, NBDS_CMD_TRIM, 0, 512, NBDS_EINVAL},
	{"", NBDS_CMD_FLAG_DF, NBDS_CMD_WRITE_ZEROES, 0, 512, NBDS_EINVAL},
	{"", 0, NBDS_CMD_BLOCK_STATUS, 0, 0, NBDS_EINVAL},
	{"", 0, 8, 0, 512, NBDS_EINVAL},
	{"", 0, 0xffff, 0, 512, NBDS_EINVAL},
	{"ro", 0, NBDS_CMD_TRIM, 0, 512, NBDS_EPERM},
	{"ro", 0, NBDS_CMD_WRITE_ZEROES, 0, 512, NBDS_EPERM},
};

Test(nbds_conn, bad_requests_are_refused_with_a_sentence_and_nothing_reaches_the_disk)
{
	for (size_t i = 0; i < ARRAY_LEN(bad_requests); i++) {
		const struct bad_request *b = &bad_requests[i];
		teardown();
		start_with(NBDS_TLS_OFF);
		fake.hold = true;
		go_structured(b->export, 2);
		send_request(b->flags, b->type, i, b->offset, b->length);
		expect_error_chunk(i, b->code);
		expect_nothing();
		cr_assert(eq(u32, fake.held_count, 0u));
		send_request(0, NBDS_CMD_FLUSH, 99, 0, 0); /* and the conversation goes on */
		cr_assert(eq(u32, fake.held_count, 1u));
	}
}

Test(nbds_conn, payload_of_a_refused_write_is_drained)
{
	static const size_t steps[] = {1, 1000, SIZE_MAX};
	go("ro");
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		static uint8_t p[NBDS_REQUEST_HEAD_BYTES + 4096 + NBDS_REQUEST_HEAD_BYTES];
		size_t n = put_request(p, 0, NBDS_CMD_WRITE, 5, 0, 4096) + 4096;
		n += put_request(p + n, 0, NBDS_CMD_READ, 6, 0, 512);
		cr_assert(eq(sz, feed_stepwise(p, n, steps[i]), 0));
		cr_assert(eq(u32, expect_simple(5), NBDS_EPERM));
		cr_assert(eq(u32, expect_simple(6), 0u));
		expect(512);
	}
}

Test(nbds_conn, refused_write_of_4_gib_takes_no_memory)
{
	go("");
	send_request(0, NBDS_CMD_WRITE, 1, 0, 0xfffffe00);
	expect_nothing();
	cr_assert(eq(u32, fake.buffers_out, 0u));
	static uint8_t zeroes[1 << 20];
	for (int i = 0; i < 4095; i++)
		cr_assert(eq(sz, feed_stepwise(zeroes, sizeof(zeroes), SIZE_MAX), 0));
	cr_assert(eq(sz, feed_stepwise(zeroes, sizeof(zeroes) - 512, SIZE_MAX), 0));
	cr_assert(eq(u32, expect_simple(1), NBDS_EINVAL));
	send_request(0, NBDS_CMD_FLUSH, 2, 0, 0);
	cr_assert(eq(u32, expect_simple(2), 0u));
}

Test(nbds_conn, wrong_request_magic_ends_the_connection)
{
	go("");
	uint8_t p[NBDS_REQUEST_HEAD_BYTES];
	put_request(p, 0, NBDS_CMD_READ, 1, 0, 512);
	p[3] ^= 1;
	feed(p, sizeof(p));
	cr_assert(eq(int, conn.state, CONN_DEAD));
	expect_nothing();
}

Test(nbds_conn, errors_of_the_disk_become_errors_on_the_wire)
{
	static const struct {
		int err;
		uint32_t code;
	} rows[] = {
		{-EIO, NBDS_EIO},       {-ENOSPC, NBDS_ENOSPC},      {-EDQUOT, NBDS_ENOSPC},  {-EROFS, NBDS_EPERM},
		{-ENOMEM, NBDS_ENOMEM}, {-EOPNOTSUPP, NBDS_ENOTSUP}, {-EUCLEAN, NBDS_EIO},    {-ESTALE, NBDS_EIO},
		{-EINVAL, NBDS_EINVAL}, {-ESHUTDOWN, NBDS_ESHUTDOWN},
	};
	go_structured("", 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		fake.fail_with = rows[i].err;
		send_request(0, NBDS_CMD_READ, i, 0, 4096);
		expect_error_chunk(i, rows[i].code);
	}
	expect_nothing();
}

/* ------------------------------------------------------------------ block status */

Test(nbds_conn, block_status_of_two_contexts_is_two_chunks)
{
	go_structured("", 2);
	send_request(0, NBDS_CMD_BLOCK_STATUS, 9, 0, 4 * FAKE_PIECE_BYTES);
	cr_assert(eq(u32, expect_chunk(9, 0, NBDS_CHUNK_BLOCK_STATUS), 4u + 4 * 8));
	const uint8_t *p = expect(4 + 4 * 8);
	cr_assert(eq(u32, load_be32(p), (unsigned)NBDS_BASE_ALLOCATION));
	for (uint32_t i = 0; i < 4; i++) {
		cr_assert(eq(u32, load_be32(p + 4 + 8 * i), FAKE_PIECE_BYTES));
		cr_assert(eq(u32, load_be32(p + 8 + 8 * i), i % 2 ? 3u : 0u));
	}
	cr_assert(eq(u32, expect_chunk(9, NBDS_CHUNK_DONE, NBDS_CHUNK_BLOCK_STATUS), 4u + 4 * 8));
	p = expect(4 + 4 * 8);
	cr_assert(eq(u32, load_be32(p), (unsigned)NBDS_ALLOCATION_DEPTH));
	cr_assert(eq(u32, load_be32(p + 8), 1u));
	cr_assert(eq(u32, load_be32(p + 16), 0u));
	expect_nothing();
}

Test(nbds_conn, block_status_req_one_is_one_extent)
{
	go_structured("", 1);
	send_request(NBDS_CMD_FLAG_REQ_ONE, NBDS_CMD_BLOCK_STATUS, 9, 512, 4 * FAKE_PIECE_BYTES);
	cr_assert(eq(u32, expect_chunk(9, NBDS_CHUNK_DONE, NBDS_CHUNK_BLOCK_STATUS), 4u + 8));
	cr_assert(eq(u32, load_be32(expect(12) + 4), FAKE_PIECE_BYTES - 512));
}

Test(nbds_conn, block_status_has_a_bounded_number_of_extents)
{
	go_structured("huge", 2);
	send_request(0, NBDS_CMD_BLOCK_STATUS, 9, 0, 0xfffffe00);
	expect_chunk(9, 0, NBDS_CHUNK_BLOCK_STATUS);
	expect(4 + NBDS_MAX_EXTENTS * 8);
	expect_chunk(9, NBDS_CHUNK_DONE, NBDS_CHUNK_BLOCK_STATUS);
	expect(4 + NBDS_MAX_EXTENTS * 8);
	expect_nothing();
}

Test(nbds_conn, block_status_joins_extents_that_agree)
{
	memset(fake.mapped, 0, sizeof(fake.mapped));
	go_structured("", 1);
	send_request(0, NBDS_CMD_BLOCK_STATUS, 9, 0, FAKE_DISK_BYTES);
	cr_assert(eq(u32, expect_chunk(9, NBDS_CHUNK_DONE, NBDS_CHUNK_BLOCK_STATUS), 4u + 8));
	cr_assert(eq(u32, load_be32(expect(12) + 4), FAKE_DISK_BYTES));
}

/* ------------------------------------------------------------------ limits */

Test(nbds_conn, stops_reading_when_all_slots_are_taken_and_goes_on_when_one_is_free)
{
	go("");
	fake.hold = true;
	static uint8_t p[(NBDS_MAX_IN_FLIGHT + 10) * NBDS_REQUEST_HEAD_BYTES];
	size_t n = 0;
	for (uint32_t i = 0; i < NBDS_MAX_IN_FLIGHT + 10; i++)
		n += put_request(p + n, 0, NBDS_CMD_READ, i, 0, 512);
	feed(p, n);
	cr_assert(eq(u32, fake.held_count, NBDS_MAX_IN_FLIGHT));
	struct iovec iov[2];
	cr_assert(eq(int, nbds_conn_sink(&conn, iov), 0));
	fake_release(&fake, false);
	drain();
	nbds_conn_resume(&conn);
	cr_assert(eq(u32, fake.held_count, 10u));
	nbds_conn_check(&conn);
}

Test(nbds_conn, waits_for_a_buffer_and_goes_on)
{
	go("");
	fake.buffers_left = 0;
	send_request(0, NBDS_CMD_READ, 1, 0, 512);
	expect_nothing();
	nbds_conn_check(&conn);
	nbds_conn_resume(&conn);
	drain();
	expect_nothing();
	fake.buffers_left = 1;
	nbds_conn_resume(&conn);
	drain();
	cr_assert(eq(u32, expect_simple(1), 0u));
}

Test(nbds_conn, half_a_write_holds_one_buffer_and_gives_it_back_when_killed)
{
	go("");
	uint8_t p[NBDS_REQUEST_HEAD_BYTES + 100];
	put_request(p, 0, NBDS_CMD_WRITE, 1, 0, 4096);
	feed(p, sizeof(p));
	cr_assert(eq(u32, fake.buffers_out, 1u));
	nbds_conn_kill(&conn);
	cr_assert(eq(u32, fake.buffers_out, 0u));
	nbds_conn_check(&conn);
}

Test(nbds_conn, requests_that_complete_after_the_kill_give_their_buffers_back)
{
	go("");
	fake.hold = true;
	send_request(0, NBDS_CMD_READ, 1, 0, 512);
	nbds_conn_kill(&conn);
	cr_assert(eq(u32, conn.submitted, 1u));
	fake_release(&fake, false);
	cr_assert(eq(u32, conn.submitted, 0u));
	cr_assert(eq(u32, fake.buffers_out, 0u));
	drain();
	expect_nothing();
}

Test(nbds_conn, disconnect_lets_what_is_in_flight_finish)
{
	go("");
	fake.hold = true;
	send_request(0, NBDS_CMD_READ, 1, 0, 512);
	send_request(0, NBDS_CMD_DISC, 2, 0, 0);
	cr_assert(not(nbds_conn_finished(&conn)));
	fake_release(&fake, false);
	drain();
	cr_assert(eq(u32, expect_simple(1), 0u));
	cr_assert(nbds_conn_finished(&conn));
}

Test(nbds_conn, close_drops_who_negotiates_and_drains_who_works)
{
	send_hello(3);
	nbds_conn_close(&conn);
	cr_assert(eq(int, conn.state, CONN_DEAD));
	teardown();
	start_with(NBDS_TLS_OFF);
	go("");
	fake.hold = true;
	send_request(0, NBDS_CMD_READ, 1, 0, 512);
	nbds_conn_close(&conn);
	cr_assert(not(nbds_conn_finished(&conn)));
	fake_release(&fake, false);
	drain();
	cr_assert(nbds_conn_finished(&conn));
}

Test(nbds_conn, random_garbage_never_reaches_the_disk)
{
	uint32_t x = 12345;
	for (int round = 0; round < 200; round++) {
		teardown();
		start_with(NBDS_TLS_OFF);
		fake.hold = true;
		if (round % 2)
			go("");
		uint8_t p[600];
		for (size_t i = 0; i < sizeof(p); i++)
			p[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
		feed_stepwise(p, sizeof(p), 1 + (size_t)round);
		cr_assert(eq(u32, fake.held_count, 0u));
		cr_assert(eq(int, conn.state, CONN_DEAD));
	}
}
