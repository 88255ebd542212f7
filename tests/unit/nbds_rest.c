/* A connection comes to rest between two requests, and goes on: here, or in another machine. */
#include "tests/unit/nbds_wire.h"

TestSuite(nbds_rest, .init = setup, .fini = teardown, .timeout = 20);

/* Two writes, of which @before bytes have come when it is told to rest: what it leaves in the socket. */
static size_t left_after_rest(size_t before)
{
	enum { LENGTH = 64 * 1024 };
	static uint8_t p[2 * (NBDS_REQUEST_HEAD_BYTES + LENGTH)];
	teardown(); /* of the one before */
	setup();
	nbds_conn_fini(&conn);
	int r = nbds_conn_init_agreed(&conn, &fake.backend, &fake.exports[0], NBDS_AGREED_NOTHING, "test");
	cr_assert(eq(int, r, 0));
	put_request(p, 0, NBDS_CMD_WRITE, 1, 0, LENGTH);
	put_request(p + sizeof(p) / 2, 0, NBDS_CMD_WRITE, 2, LENGTH, LENGTH);
	cr_assert(eq(sz, feed_stepwise(p, before, SIZE_MAX), 0));
	nbds_conn_rest(&conn);
	size_t left = feed_stepwise(p + before, sizeof(p) - before, SIZE_MAX);
	cr_assert(nbds_conn_is_at_rest(&conn));
	for (uint64_t cookie = 1; output_bytes > 0; cookie++)
		cr_assert(eq(u32, expect_simple(cookie), 0u));
	return left;
}

Test(nbds_rest, comes_to_rest_between_two_requests_and_takes_no_byte_of_the_next)
{
	enum { REQUEST = NBDS_REQUEST_HEAD_BYTES + 64 * 1024 };
	cr_assert(eq(sz, left_after_rest(0), 2 * REQUEST));
	cr_assert(eq(sz, left_after_rest(1), REQUEST));
	cr_assert(eq(sz, left_after_rest(NBDS_REQUEST_HEAD_BYTES), REQUEST));
	cr_assert(eq(sz, left_after_rest(REQUEST - 1), REQUEST));
	cr_assert(eq(sz, left_after_rest(REQUEST), REQUEST));
	cr_assert(eq(sz, left_after_rest(REQUEST + 5), 0));
}

Test(nbds_rest, rests_after_the_handshake_and_goes_on_here_or_elsewhere)
{
	static uint8_t p[NBDS_REQUEST_HEAD_BYTES];
	nbds_conn_rest(&conn);
	go_structured("", 2);
	cr_assert(nbds_conn_is_at_rest(&conn));
	put_request(p, 0, NBDS_CMD_READ, 1, 0, 512);
	cr_assert(eq(sz, feed_stepwise(p, sizeof(p), SIZE_MAX), sizeof(p)), "it takes what is not its own");
	nbds_conn_go_on(&conn);
	cr_assert(eq(sz, feed_stepwise(p, sizeof(p), SIZE_MAX), 0));
	uint32_t agreement = nbds_conn_agreement(&conn);
	cr_assert(agreement & NBDS_AGREED_STRUCTURED);
	struct nbds_conn elsewhere;
	cr_assert(eq(int, nbds_conn_init_agreed(&elsewhere, &fake.backend, &fake.exports[0], agreement, "test"), 0));
	cr_assert(elsewhere.structured);
	cr_assert(eq(u32, elsewhere.contexts, BIT(NBDS_CONTEXT_COUNT) - 1));
	nbds_conn_fini(&elsewhere);
}
