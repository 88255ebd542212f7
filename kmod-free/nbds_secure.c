/* Bytes between a socket and the machine when TLS lies in between. Two bounded buffers: what came from the network
 * goes through one into OpenSSL; what is to be sent is taken from it into the other, where the kernel may read at
 * leisure. */
#include "nbds_secure.h"

#include "base/invariant.h"
#include "tls_openssl.h"

#include <errno.h>
#include <stdlib.h>

struct nbds_secure {
	struct tls *tls;
	bool shaken;
	size_t out_start, out_end;
	uint8_t in[NBDS_TLS_INPUT_BYTES];
	uint8_t out[NBDS_TLS_OUTPUT_BYTES];
};

int nbds_secure_new(struct tls_context *context, struct nbds_secure **out)
{
	struct nbds_secure *s = malloc(sizeof(*s)); /* large: touched as far as used */
	if (!s)
		return pl_fail(-ENOMEM, "no memory for TLS");
	s->shaken = false;
	s->out_start = s->out_end = 0;
	int r = tls_new(context, &s->tls);
	if (r < 0) {
		free(s);
		return r;
	}
	*out = s;
	return 0;
}

void nbds_secure_free(struct nbds_secure *s)
{
	if (!s)
		return;
	tls_free(s->tls);
	free(s);
}

int nbds_secure_sink(struct nbds_secure *s, struct nbds_conn *c, struct iovec iov[2])
{
	if (s->shaken && (tls_fed_bytes(s->tls) >= sizeof(s->in) || nbds_conn_sink(c, iov) == 0))
		return 0;
	iov[0] = (struct iovec){s->in, sizeof(s->in)};
	return 1;
}

static int shake(struct nbds_secure *s, struct nbds_conn *c)
{
	int r = tls_handshake(s->tls);
	if (r <= 0)
		return r;
	s->shaken = true;
	pl_log(PL_LOG_INFO, "nbd", "%s peer=%s", tls_describe(s->tls), c->peer);
	nbds_conn_tls_started(c);
	return 0;
}

int nbds_secure_resume(struct nbds_secure *s, struct nbds_conn *c)
{
	if (!s->shaken) {
		int r = shake(s, c);
		if (r < 0)
			return r;
	}
	nbds_conn_resume(c);
	struct iovec iov[2];
	while (s->shaken && nbds_conn_sink(c, iov) > 0) {
		ssize_t n = tls_read(s->tls, iov[0].iov_base, iov[0].iov_len);
		if (n <= 0)
			return (int)n;
		nbds_conn_received(c, (size_t)n);
	}
	return 0;
}

int nbds_secure_received(struct nbds_secure *s, struct nbds_conn *c, size_t n)
{
	int r = tls_feed(s->tls, s->in, n);
	return r < 0 ? r : nbds_secure_resume(s, c);
}

/* Encrypt replies until the output buffer would be full. */
static void encrypt(struct nbds_secure *s, struct nbds_conn *c)
{
	while (tls_ready_bytes(s->tls) < sizeof(s->out) / 2) {
		struct iovec iov[2];
		size_t bytes;
		if (nbds_conn_output(c, iov, 2, &bytes) == 0)
			return;
		size_t n = MIN(iov[0].iov_len, sizeof(s->out) / 4);
		if (tls_write(s->tls, iov[0].iov_base, n) < 0)
			return; /* the connection is beyond use: reading says why */
		nbds_conn_sent(c, n);
	}
}

size_t nbds_secure_output(struct nbds_secure *s, struct nbds_conn *c, struct iovec *iov, size_t *bytes)
{
	if (s->out_start == s->out_end) {
		if (s->shaken)
			encrypt(s, c);
		if (nbds_conn_finished(c))
			tls_goodbye(s->tls);
		s->out_start = 0;
		s->out_end = tls_take(s->tls, s->out, sizeof(s->out));
	}
	*bytes = s->out_end - s->out_start;
	iov[0] = (struct iovec){s->out + s->out_start, *bytes};
	return *bytes > 0;
}

void nbds_secure_sent(struct nbds_secure *s, size_t n)
{
	invariant(n <= s->out_end - s->out_start);
	s->out_start += n;
}

bool nbds_secure_has_output(const struct nbds_secure *s)
{
	return s->out_start < s->out_end || tls_ready_bytes(s->tls) > 0;
}
