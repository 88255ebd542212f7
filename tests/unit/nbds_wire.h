/* Speaking NBD to one machine over arrays, with a fake disk behind it: what the unit tests of the NBD server share. */
#ifndef PLOOP_TEST_NBDS_WIRE_H
#define PLOOP_TEST_NBDS_WIRE_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "base/byteorder.h"
#include "tests/support/nbds_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_BYTES (4u << 20)

static struct fake fake;
static struct nbds_conn conn;
static uint8_t *output; /* all the machine said and the test did not take yet */
static size_t output_bytes;

/* ------------------------------------------------------------------ moving bytes */

static inline void drain(void)
{
	struct iovec iov[8];
	size_t n, bytes;
	while ((n = nbds_conn_output(&conn, iov, 8, &bytes)) > 0) {
		cr_assert(le(sz, output_bytes + bytes, OUTPUT_BYTES));
		for (size_t i = 0; i < n; i++) {
			memcpy(output + output_bytes, iov[i].iov_base, iov[i].iov_len);
			output_bytes += iov[i].iov_len;
		}
		nbds_conn_sent(&conn, bytes);
		nbds_conn_check(&conn);
	}
}

/* Send what the machine will take, at most @step bytes at a time. Returns what was left over. */
static inline size_t feed_stepwise(const void *data, size_t bytes, size_t step)
{
	const uint8_t *p = data;
	while (bytes > 0) {
		struct iovec iov[2];
		int pieces = nbds_conn_sink(&conn, iov);
		if (pieces == 0) {
			drain();
			nbds_conn_resume(&conn);
			drain();
			pieces = nbds_conn_sink(&conn, iov);
			if (pieces == 0)
				break;
		}
		size_t n = 0;
		for (int i = 0; i < pieces && n < step && bytes > 0; i++) {
			size_t part = MIN(MIN(iov[i].iov_len, step - n), bytes);
			memcpy(iov[i].iov_base, p, part);
			p += part;
			bytes -= part;
			n += part;
		}
		nbds_conn_received(&conn, n);
		nbds_conn_check(&conn);
	}
	drain();
	return bytes;
}

static inline void feed(const void *data, size_t bytes)
{
	feed_stepwise(data, bytes, SIZE_MAX);
}

static inline const uint8_t *expect(size_t bytes)
{
	static uint8_t taken[1 << 20];
	cr_assert(ge(sz, output_bytes, bytes), "the machine said too little");
	memcpy(taken, output, bytes);
	memmove(output, output + bytes, output_bytes - bytes);
	output_bytes -= bytes;
	return taken;
}

static inline void expect_nothing(void)
{
	cr_assert(eq(sz, output_bytes, 0));
}

/* ------------------------------------------------------------------ speaking NBD */

static inline void send_hello(uint32_t flags)
{
	uint8_t p[4];
	store_be32(p, flags);
	feed(p, sizeof(p));
}

static inline size_t put_option(uint8_t *p, uint32_t option, const void *data, uint32_t bytes)
{
	store_be64(p, NBDS_OPTION_MAGIC);
	store_be32(p + 8, option);
	store_be32(p + 12, bytes);
	if (bytes)
		memcpy(p + 16, data, bytes);
	return 16 + bytes;
}

static inline void send_option(uint32_t option, const void *data, uint32_t bytes)
{
	uint8_t p[20000];
	feed(p, put_option(p, option, data, bytes));
}

/* INFO and GO: name, count of infos, infos. */
static inline uint32_t put_go_data(uint8_t *p, const char *name, const uint16_t *infos, uint16_t count)
{
	uint32_t n = (uint32_t)strlen(name);
	store_be32(p, n);
	memcpy(p + 4, name, n);
	store_be16(p + 4 + n, count);
	for (uint16_t i = 0; i < count; i++)
		store_be16(p + 6 + n + 2 * i, infos[i]);
	return 6 + n + 2u * count;
}

static inline uint32_t put_meta_data(uint8_t *p, const char *name, const char *const *queries, uint32_t count)
{
	uint32_t at = 4 + (uint32_t)strlen(name);
	store_be32(p, (uint32_t)strlen(name));
	memcpy(p + 4, name, strlen(name));
	store_be32(p + at, count);
	at += 4;
	for (uint32_t i = 0; i < count; i++) {
		store_be32(p + at, (uint32_t)strlen(queries[i]));
		memcpy(p + at + 4, queries[i], strlen(queries[i]));
		at += 4 + (uint32_t)strlen(queries[i]);
	}
	return at;
}

/* The next option reply: its code; *@bytes and the data behind. */
static inline uint32_t expect_reply(uint32_t option, uint32_t *bytes, uint8_t *data)
{
	const uint8_t *p = expect(NBDS_REP_HEAD_BYTES);
	cr_assert(eq(u64, load_be64(p), NBDS_REP_MAGIC));
	cr_assert(eq(u32, load_be32(p + 8), option));
	uint32_t code = load_be32(p + 12), n = load_be32(p + 16);
	const uint8_t *d = expect(n);
	if (data)
		memcpy(data, d, n);
	if (bytes)
		*bytes = n;
	return code;
}

static inline void expect_ack(uint32_t option)
{
	cr_assert(eq(u32, expect_reply(option, NULL, NULL), NBDS_REP_ACK));
}

static inline void expect_refusal(uint32_t option, uint32_t code)
{
	cr_assert(eq(u32, expect_reply(option, NULL, NULL), code));
	expect_nothing();
}

static inline void start_with(enum nbds_tls_policy tls)
{
	fake_init(&fake);
	output = malloc(OUTPUT_BYTES);
	output_bytes = 0;
	cr_assert(eq(int, nbds_conn_init(&conn, &fake.backend, fake.exports, 3, tls, "test"), 0));
	drain();
	expect(NBDS_GREETING_BYTES);
}

static inline void setup(void)
{
	start_with(NBDS_TLS_OFF);
}

static inline void teardown(void)
{
	fake_release(&fake, false);
	nbds_conn_fini(&conn);
	free(output);
	if (fake.buffers_out)
		abort(); /* a buffer was lost */
}

static inline void go(const char *name)
{
	uint8_t data[64];
	send_hello(3);
	send_option(NBDS_OPT_GO, data, put_go_data(data, name, NULL, 0));
	while (expect_reply(NBDS_OPT_GO, NULL, NULL) == NBDS_REP_INFO)
		;
	cr_assert(eq(int, conn.state, CONN_REQ_HEAD));
}

static inline void go_structured(const char *name, uint32_t contexts)
{
	static const char *const names[] = {"base:allocation", "qemu:allocation-depth"};
	uint8_t data[128];
	send_hello(3);
	send_option(NBDS_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_ack(NBDS_OPT_STRUCTURED_REPLY);
	send_option(NBDS_OPT_SET_META_CONTEXT, data, put_meta_data(data, name, names, contexts));
	while (expect_reply(NBDS_OPT_SET_META_CONTEXT, NULL, NULL) == NBDS_REP_META_CONTEXT)
		;
	send_option(NBDS_OPT_GO, data, put_go_data(data, name, NULL, 0));
	while (expect_reply(NBDS_OPT_GO, NULL, NULL) == NBDS_REP_INFO)
		;
}

static inline size_t put_request(uint8_t *p, uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
				 uint32_t length)
{
	store_be32(p, NBDS_REQUEST_MAGIC);
	store_be16(p + 4, flags);
	store_be16(p + 6, type);
	store_be64(p + 8, cookie);
	store_be64(p + 16, offset);
	store_be32(p + 24, length);
	return NBDS_REQUEST_HEAD_BYTES;
}

static inline void send_request(uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length)
{
	uint8_t p[NBDS_REQUEST_HEAD_BYTES];
	feed(p, put_request(p, flags, type, cookie, offset, length));
}

static inline uint32_t expect_simple(uint64_t cookie)
{
	const uint8_t *p = expect(NBDS_SIMPLE_HEAD_BYTES);
	cr_assert(eq(u32, load_be32(p), NBDS_SIMPLE_MAGIC));
	cr_assert(eq(u64, load_be64(p + 8), cookie));
	return load_be32(p + 4);
}

static inline uint32_t expect_chunk(uint64_t cookie, uint16_t flags, uint16_t type)
{
	const uint8_t *p = expect(NBDS_CHUNK_HEAD_BYTES);
	cr_assert(eq(u32, load_be32(p), NBDS_CHUNK_MAGIC));
	cr_assert(eq(u16, load_be16(p + 4), flags));
	cr_assert(eq(u16, load_be16(p + 6), type));
	cr_assert(eq(u64, load_be64(p + 8), cookie));
	return load_be32(p + 16);
}

static inline void expect_error_chunk(uint64_t cookie, uint32_t code)
{
	uint32_t bytes = expect_chunk(cookie, NBDS_CHUNK_DONE, NBDS_CHUNK_ERROR);
	const uint8_t *p = expect(bytes);
	cr_assert(eq(u32, load_be32(p), code));
	cr_assert(eq(u32, load_be16(p + 4), bytes - 6));
	cr_assert(gt(u32, bytes, 6u), "an error comes with a sentence");
}

#endif
