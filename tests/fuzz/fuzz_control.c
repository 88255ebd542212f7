/* Any bytes as a conversation of two clients with the control of a disk: the disk is asked only for what its rules
 * allow (the fake checks), what a client began ends with it, and every line we send is one that our own client
 * understands or refuses.
 *
 * The first byte chooses whether both have said hello; then pieces: a byte says who (bit 0), what happens to the change
 * that runs (bits 1, 2), whether the answers are read (bit 3), whether the client goes and comes back (bit 4), and the
 * next byte how many bytes it says. */
#include "base/invariant.h"
#include "tests/support/control_fake.h"

#include <errno.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct control_fake fake;
static struct control control;
static struct control_conn conns[2];

static void read_answers(struct control_conn *c)
{
	for (struct iovec out; (out = control_conn_output(c)).iov_len > 0; control_conn_run(c)) {
		const char *line = out.iov_base;
		invariant(line[out.iov_len - 1] == '\n');
		for (int m = 0; m < CONTROL_METHOD_COUNT; m++) {
			const struct control_request q = {.id = 1, .method = (enum control_method)m};
			struct control_reply reply;
			if (control_reply_decode(line, out.iov_len - 1, &q, &reply) == 0)
				free(reply.members);
		}
		control_conn_sent(c, out.iov_len);
	}
}

static void say(struct control_conn *c, const uint8_t *p, size_t n)
{
	while (n > 0 && !c->refused) {
		size_t part = MIN(n, control_conn_room(c));
		if (part == 0)
			read_answers(c);
		control_conn_received(c, (const char *)p, part);
		control_conn_run(c);
		p += part;
		n -= part;
	}
}

static void greet(struct control_conn *c)
{
	static const char hello[] = "{\"id\":1,\"do\":\"hello\",\"version\":1}\n";
	say(c, (const uint8_t *)hello, sizeof(hello) - 1);
	read_answers(c);
}

static void end_change(unsigned how)
{
	if (!fake.change || how == 0)
		return;
	if (how == 1) {
		fake.change->done_bytes++;
		fake.change->progress(fake.change);
	} else {
		control_fake_finish(&fake, how == 2 ? 0 : fake.cancelled ? -ECANCELED : -EAGAIN);
	}
}

static void leave(struct control_conn *c)
{
	bool ends_with_it = control.changer == c && control.what.method != CONTROL_SWITCH;
	control_conn_fini(c);
	control_settle(&control);
	invariant(!ends_with_it || fake.cancelled);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	control_fake_init(&fake, NULL);
	control_init(&control, &fake.backend);
	for (int i = 0; i < 2; i++) {
		control_conn_init(&conns[i], &control);
		if (data[0] & 1)
			greet(&conns[i]);
	}
	const uint8_t *p = data + 1, *end = data + size;
	while (end - p >= 2) {
		struct control_conn *c = &conns[*p & 1];
		size_t n = MIN(p[1], (size_t)(end - p - 2));
		say(c, p + 2, n);
		end_change(*p >> 1 & 3);
		if (*p & 8)
			read_answers(c);
		if (*p & 16) {
			leave(c);
			control_conn_init(c, &control);
			greet(c);
		}
		control_settle(&control);
		p += 2 + n;
	}
	control_close(&control);
	if (fake.change)
		control_fake_finish(&fake, -ECANCELED);
	leave(&conns[0]);
	leave(&conns[1]);
	invariant(!fake.pushed[0]);
	return 0;
}
