/* Clients that are none: garbage, silence, greed. Others go on, and memory is bounded. */
#include "tests/nbd/served.h"

TestSuite(hostile, .init = setup, .fini = teardown, .timeout = 60);

Test(hostile, garbage_is_dropped_and_others_go_on)
{
	static const char garbage[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	uint8_t request[NBDS_REQUEST_HEAD_BYTES];
	struct nbd_handle *h = client();
	int fd = raw_client();
	send_all(fd, garbage, sizeof(garbage));
	expect_hangup(fd, 5000);
	fd = raw_transmission();
	put_request(request, NBDS_CMD_READ, 0, 512);
	request[0] ^= 0x80;
	send_all(fd, request, sizeof(request));
	expect_hangup(fd, 5000);
	cr_assert(eq(int, nbd_flush(h, 0), 0));
	leave(h);
}

Test(hostile, who_falls_silent_within_a_request_keeps_nobody_waiting)
{
	static uint8_t bytes[NBDS_REQUEST_HEAD_BYTES + 1000], buf[MIB];
	int fds[40];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = raw_transmission();
		put_request(bytes, NBDS_CMD_WRITE, 0, 4096);
		send_all(fds[i], bytes, i % 2 ? 10 : sizeof(bytes)); /* in the header, in the payload */
	}
	struct nbd_handle *h = client();
	cr_assert(eq(int, nbd_pwrite(h, buf, sizeof(buf), 0, 0), 0));
	cr_assert(eq(int, nbd_pread(h, buf, sizeof(buf), 0, 0), 0));
	leave(h);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
}

Test(hostile, who_negotiates_for_ever_is_dropped)
{
	int fd = raw_client();
	uint64_t start = pl_now_ns();
	expect_hangup(fd, 15000);
	cr_assert(ge(u64, pl_now_ns() - start, NBDS_NEGOTIATION_NS - NS_PER_S));
}

Test(hostile, connections_past_the_limit_are_turned_away_until_one_leaves)
{
	int fds[NBDS_MAX_CONNECTIONS];
	for (size_t i = 0; i < NBDS_MAX_CONNECTIONS; i++)
		fds[i] = raw_transmission();
	expect_hangup(raw_client(), 5000);
	close(fds[0]);
	for (int tries = 0;; tries++) {
		struct nbd_handle *h = nbd_create();
		int r = nbd_connect_unix(h, socket_path);
		nbd_close(h);
		if (r == 0)
			break;
		cr_assert(lt(int, tries, 600), "the place did not become free");
		usleep(50000);
	}
	for (size_t i = 1; i < NBDS_MAX_CONNECTIONS; i++)
		close(fds[i]);
}

static uint64_t server_rss_bytes(void)
{
	char path[64];
	unsigned long size, resident = 0;
	snprintf(path, sizeof(path), "/proc/%d/statm", server_pid);
	FILE *f = fopen(path, "r");
	cr_assert(eq(int, fscanf(f, "%lu %lu", &size, &resident), 2));
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

Test(hostile, who_asks_and_never_reads_holds_bounded_memory)
{
	static uint8_t request[NBDS_REQUEST_HEAD_BYTES];
	uint64_t before = server_rss_bytes();
	int fds[8];
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = raw_transmission();
		put_request(request, NBDS_CMD_READ, 0, 1 << 20);
		for (int n = 0; n < 2000; n++)
			if (send(fds[i], request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
	}
	usleep(500000);
	cr_assert(lt(u64, server_rss_bytes() - before, 128 * MIB));
	static uint8_t buf[MIB];
	struct nbd_handle *h = client(); /* who behaves waits for a while, and not for ever */
	cr_assert(eq(int, nbd_pwrite(h, buf, sizeof(buf), 0, 0), 0), "%s", nbd_get_error());
	leave(h);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	leave(client()); /* and all of it is free again */
	await_clean_end();
}
