/* libnbd as a client: in step, many requests at once, and told to misbehave. */
#include "tests/nbd/served.h"

TestSuite(libnbd, .init = setup, .fini = teardown, .timeout = 60);

/* ------------------------------------------------------------------ in step */

static int count_chunks(void *chunks, const void *part, size_t bytes, uint64_t offset, unsigned status, int *error)
{
	++*(unsigned *)chunks;
	return 0;
}

Test(libnbd, what_is_written_is_read_back)
{
	static uint8_t out[MIB], in[MIB];
	struct nbd_handle *h = client();
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 512);
	cr_assert(eq(int, nbd_pwrite(h, out, sizeof(out), 5 * MIB + 512, LIBNBD_CMD_FLAG_FUA), 0));
	cr_assert(eq(int, nbd_pread(h, in, sizeof(in), 5 * MIB + 512, 0), 0));
	cr_assert(eq(int, memcmp(in, out, sizeof(in)), 0));
	cr_assert(eq(int, nbd_flush(h, 0), 0));
	cr_assert(eq(int, nbd_cache(h, MIB, 0, 0), 0));
	cr_assert(eq(int, nbd_trim(h, 4096, 6 * MIB, LIBNBD_CMD_FLAG_FUA), 0));
	cr_assert(eq(int, nbd_zero(h, 8192, 6 * MIB, LIBNBD_CMD_FLAG_NO_HOLE), 0));
	unsigned chunks = 0;
	nbd_chunk_callback count = {.callback = count_chunks, .user_data = &chunks};
	memset(in, 1, 8192);
	cr_assert(eq(int, nbd_pread_structured(h, in, 8192, 6 * MIB, count, LIBNBD_CMD_FLAG_DF), 0));
	cr_assert(eq(u32, chunks, 1u));
	for (size_t i = 0; i < 8192; i++)
		cr_assert(eq(u8, in[i], 0));
	leave(h);
}

Test(libnbd, works_without_structured_replies)
{
	static uint8_t out[300 * 1024] = {9, 8, 7}, in[300 * 1024];
	struct nbd_handle *h = nbd_create();
	nbd_set_request_structured_replies(h, false);
	cr_assert(eq(int, nbd_connect_unix(h, socket_path), 0));
	cr_assert(eq(int, nbd_pwrite(h, out, sizeof(out), 1024, 0), 0));
	cr_assert(eq(int, nbd_pread(h, in, sizeof(in), 1024, 0), 0));
	cr_assert(eq(int, memcmp(in, out, sizeof(in)), 0));
	leave(h);
}

static int sum_holes(void *sum, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
	for (size_t i = 0; i < n; i += 2)
		*(uint64_t *)sum += entries[i + 1] & LIBNBD_STATE_HOLE ? entries[i] : 0;
	return 0;
}

Test(libnbd, block_status_tells_what_was_written)
{
	static uint8_t data[MIB] = {1};
	uint64_t holes = 0;
	struct nbd_handle *h = client();
	cr_assert(eq(int, nbd_pwrite(h, data, MIB, 3 * MIB, 0), 0));
	nbd_extent_callback sum = {.callback = sum_holes, .user_data = &holes};
	cr_assert(eq(int, nbd_block_status(h, DISK_BYTES, 0, sum, 0), 0));
	cr_assert(eq(u64, holes, DISK_BYTES - MIB));
	leave(h);
}

Test(libnbd, a_flush_on_one_connection_covers_the_others)
{
	static uint8_t out[4096] = {42}, in[4096];
	struct nbd_handle *a = client(), *b = client(), *c = client();
	cr_assert(eq(int, nbd_can_multi_conn(a), 1));
	cr_assert(eq(int, nbd_pwrite(a, out, sizeof(out), MIB, 0), 0));
	cr_assert(eq(int, nbd_flush(b, 0), 0));
	kill(server_pid, SIGKILL); /* no close: only the flush can have made it stay */
	waitpid(server_pid, NULL, 0);
	server_pid = 0;
	nbd_close(a);
	nbd_close(b);
	nbd_close(c);
	read_back(in, sizeof(in), MIB);
	cr_assert(eq(int, memcmp(in, out, sizeof(in)), 0));
	unlink(socket_path);
}

/* ------------------------------------------------------------------ many at once */

#define SLOTS 200u
#define SLOT_BYTES 4096u

static int check_error(void *failed, int *error)
{
	*(unsigned *)failed += *error != 0;
	return 1;
}

static void await_all(struct nbd_handle *h)
{
	while (nbd_aio_in_flight(h) > 0)
		cr_assert(ge(int, nbd_poll(h, 20000), 1), "%s", nbd_get_error());
}

static void many_in_flight(void)
{
	static uint8_t out[SLOTS][SLOT_BYTES], in[SLOTS][SLOT_BYTES];
	unsigned failed = 0;
	struct nbd_handle *h = client();
	nbd_completion_callback check = {.callback = check_error, .user_data = &failed};
	for (int round = 0; round < 5; round++) {
		for (unsigned i = 0; i < SLOTS; i++) {
			memset(out[i], (int)(i * 31 + (unsigned)round), SLOT_BYTES);
			uint64_t at = (uint64_t)(i * 37 % SLOTS) * 65536;
			cr_assert(gt(i64, nbd_aio_pwrite(h, out[i], SLOT_BYTES, at, check, 0), 0));
		}
		await_all(h);
		for (unsigned i = 0; i < SLOTS; i++) {
			uint64_t at = (uint64_t)(i * 37 % SLOTS) * 65536;
			cr_assert(gt(i64, nbd_aio_pread(h, in[i], SLOT_BYTES, at, check, 0), 0));
		}
		await_all(h);
		cr_assert(eq(int, memcmp(in, out, sizeof(in)), 0));
	}
	cr_assert(eq(u32, failed, 0u));
	leave(h);
}

Test(libnbd, many_requests_in_flight_each_get_their_own_bytes)
{
	many_in_flight();
}

static void setup_plain(void)
{
	backend = PL_BACKEND_PLAIN;
	setup();
}

Test(libnbd, the_same_without_io_uring, .init = setup_plain)
{
	many_in_flight();
	await_clean_end();
}

Test(libnbd, every_reply_that_came_before_a_graceful_end_holds)
{
	static uint8_t out[SLOTS][SLOT_BYTES], in[SLOT_BYTES];
	int64_t cookies[SLOTS];
	bool acknowledged[SLOTS] = {false};
	struct nbd_handle *h = client();
	for (unsigned i = 0; i < SLOTS; i++) {
		memset(out[i], (int)i + 1, SLOT_BYTES);
		cookies[i] = nbd_aio_pwrite(h, out[i], SLOT_BYTES, i * 65536ull, NBD_NULL_COMPLETION, 0);
	}
	stop_server();
	while (nbd_aio_in_flight(h) > 0 && nbd_poll(h, 20000) >= 1)
		;
	unsigned count = 0;
	for (unsigned i = 0; i < SLOTS; i++)
		count += acknowledged[i] = cookies[i] > 0 && nbd_aio_command_completed(h, (uint64_t)cookies[i]) == 1;
	nbd_close(h);
	int status;
	waitpid(server_pid, &status, 0);
	server_pid = 0;
	cr_assert(eq(int, status, 0));
	for (unsigned i = 0; i < SLOTS; i++) {
		if (!acknowledged[i])
			continue;
		read_back(in, SLOT_BYTES, i * 65536ull);
		cr_assert(eq(int, memcmp(in, out[i], SLOT_BYTES), 0));
	}
	cr_log_info("%u of %u were acknowledged\n", count, SLOTS);
}

/* ------------------------------------------------------------------ told to misbehave */

Test(libnbd, wrong_requests_get_errors_and_the_conversation_goes_on)
{
	static uint8_t buf[8192];
	struct nbd_handle *h = client();
	nbd_set_strict_mode(h, 0);
	cr_assert(eq(int, nbd_pread(h, buf, 512, DISK_BYTES, 0), -1));
	cr_assert(eq(int, nbd_get_errno(), EINVAL));
	cr_assert(eq(int, nbd_pwrite(h, buf, 4096, DISK_BYTES - 512, 0), -1));
	cr_assert(eq(int, nbd_get_errno(), ENOSPC));
	cr_assert(eq(int, nbd_pread(h, buf, 100, 0, 0), -1));
	cr_assert(eq(int, nbd_get_errno(), EINVAL));
	cr_assert(eq(int, nbd_pwrite(h, buf, 512, 1, 0), -1));
	cr_assert(eq(int, nbd_pread(h, buf, 512, 0, LIBNBD_CMD_FLAG_NO_HOLE), -1));
	cr_assert(eq(int, nbd_trim(h, 512, 0, LIBNBD_CMD_FLAG_REQ_ONE), -1));
	cr_assert(eq(int, nbd_zero(h, 512, UINT64_MAX - 511, 0), -1));
	cr_assert(eq(int, nbd_trim(h, 0, 0, 0), -1));
	cr_assert(eq(int, nbd_pwrite(h, buf, sizeof(buf), 0, 0), 0));
	cr_assert(eq(int, nbd_pread(h, buf, sizeof(buf), 0, 0), 0));
	leave(h);
}

Test(libnbd, payload_past_32_mib_is_refused_and_drained)
{
	uint8_t *buf = calloc(1, 33 * MIB);
	struct nbd_handle *h = client();
	nbd_set_strict_mode(h, 0);
	cr_assert(eq(int, nbd_pwrite(h, buf, 33 * MIB, 0, 0), -1));
	cr_assert(eq(int, nbd_pwrite(h, buf, 32 * MIB, 0, 0), 0), "%s", nbd_get_error());
	cr_assert(eq(int, nbd_pread(h, buf, 32 * MIB, 0, 0), 0));
	leave(h);
	free(buf);
}
