/* Any bytes as a conversation with the NBD server: nothing outside the disk is touched, no buffer is lost, and the
 * machine's invariants hold after every step.
 *
 * The first byte chooses TLS policy, when requests complete, and whether the rest is sent as it is or read as a list of
 * sentences with the right magic, so that the judgement of fields is reached. */
#include "base/byteorder.h"
#include "base/invariant.h"
#include "tests/support/nbds_fake.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake fake;
static struct nbds_conn conn;
static uint64_t said_bytes;

static void listen_to_it(void)
{
	struct iovec iov[6];
	size_t n, bytes;
	while ((n = nbds_conn_output(&conn, iov, 6, &bytes)) > 0) {
		for (size_t i = 0; i < n; i++)
			for (size_t at = 0; at < iov[i].iov_len; at += 64)
				said_bytes += *((volatile uint8_t *)iov[i].iov_base + at) ? 1 : 2;
		nbds_conn_sent(&conn, bytes > 40 ? bytes / 2 : bytes);
		nbds_conn_check(&conn);
	}
	if (nbds_conn_wants_tls(&conn))
		nbds_conn_tls_started(&conn);
}

/* Hand over @bytes, at most @step at a time, as far as the machine takes them. */
static void say(const uint8_t *p, size_t bytes, size_t step)
{
	for (unsigned idle = 0; bytes > 0 && conn.state < CONN_CLOSING && idle < 3;) {
		struct iovec iov[2];
		int pieces = nbds_conn_sink(&conn, iov);
		size_t n = 0;
		for (int i = 0; i < pieces && n < step && bytes > 0; i++) {
			size_t part = MIN(MIN(iov[i].iov_len, step - n), bytes);
			memcpy(iov[i].iov_base, p, part);
			p += part;
			bytes -= part;
			n += part;
		}
		idle = n ? 0 : idle + 1;
		if (n)
			nbds_conn_received(&conn, n);
		nbds_conn_check(&conn);
		if (!n)
			fake_release(&fake, idle & 1);
		listen_to_it();
		nbds_conn_resume(&conn);
		nbds_conn_check(&conn);
	}
}

static size_t say_option(const uint8_t *p, size_t size, size_t step)
{
	uint8_t head[NBDS_OPTION_HEAD_BYTES];
	uint32_t bytes = (uint32_t)MIN(p[2], size - 3);
	store_be64(head, NBDS_OPTION_MAGIC);
	store_be32(head + 8, p[1] & 15);
	store_be32(head + 12, bytes);
	say(head, sizeof(head), step);
	say(p + 3, bytes, step);
	return 3 + bytes;
}

static size_t say_request(const uint8_t *p, size_t step)
{
	static const uint8_t payload[FAKE_DISK_BYTES / 4] = {1, 2, 3};
	uint8_t head[NBDS_REQUEST_HEAD_BYTES];
	uint32_t length = (uint32_t)load_be16(p + 5) << (p[0] & 0x40 ? 9 : 0);
	store_be32(head, NBDS_REQUEST_MAGIC);
	store_be16(head + 4, p[2] & 31);
	store_be16(head + 6, p[1] & 15);
	store_be64(head + 8, p[1]);
	store_be64(head + 16, (uint64_t)load_be16(p + 3) << (p[0] & 0x20 ? 9 : 0));
	store_be32(head + 24, length);
	say(head, sizeof(head), step);
	if (conn.state == CONN_REQ_DATA || conn.state == CONN_REQ_SKIP)
		say(payload, MIN(length, sizeof(payload)), step * 64);
	return 7;
}

static void say_sentences(const uint8_t *p, size_t size, size_t step)
{
	static const uint8_t hello[4] = {0, 0, 0, 3};
	say(hello, sizeof(hello), step);
	while (size >= 7 && conn.state < CONN_CLOSING) {
		size_t n = nbds_conn_is_negotiating(&conn) ? say_option(p, size, step) : say_request(p, step);
		p += n;
		size -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	uint8_t mode = data[0];
	size_t step = 1 + (size_t)data[1] * data[1];
	fake_reset(&fake);
	fake.hold = mode & 4;
	fake.buffers_left = mode & 8 ? 3 : 1000;
	enum nbds_tls_policy tls = mode % 4 == 3 ? NBDS_TLS_OFF : mode % 4;
	invariant(nbds_conn_init(&conn, &fake.backend, fake.exports, 3, tls, "fuzzer") == 0);
	listen_to_it();
	if (mode & 16)
		say_sentences(data + 2, size - 2, step);
	else
		say(data + 2, size - 2, step);
	if (mode & 32)
		nbds_conn_close(&conn);
	if (mode & 64)
		nbds_conn_kill(&conn);
	fake_release(&fake, mode & 128);
	listen_to_it();
	while (fake.held_count) { /* replies made room for requests that waited */
		fake_release(&fake, false);
		listen_to_it();
	}
	nbds_conn_fini(&conn);
	invariant(fake.buffers_out == 0);
	return 0;
}
