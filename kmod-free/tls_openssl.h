/* TLS for servers over memory: the one file that knows OpenSSL's libssl. Certificates or pre-shared keys, TLS 1.2 and
 * 1.3. Nothing of OpenSSL is touched before the first tls_context_new(). */
#ifndef PLOOP_TLS_OPENSSL_H
#define PLOOP_TLS_OPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls_options {
	const char *certificate_dir; /* ca-cert.pem, server-cert.pem, server-key.pem */
	const char *psk_file;        /* lines of user:hexadecimal key */
	bool verify_peer;            /* clients must show a certificate of our CA; with certificates only */
};

struct tls_context;
struct tls;

/* Exactly one of the two sources. -EINVAL, -ENOENT …: the sentence names the file. */
int tls_context_new(const struct tls_options *options, struct tls_context **out);
void tls_context_free(struct tls_context *context);

int tls_new(struct tls_context *context, struct tls **out);
void tls_free(struct tls *t);

/* Bytes from the network. */
int tls_feed(struct tls *t, const void *data, size_t bytes);
size_t tls_fed_bytes(const struct tls *t); /* of them not used yet */
/* 1: done, 0: more bytes are needed, negative: failed. */
int tls_handshake(struct tls *t);
/* Plain bytes; 0: more from the network are needed · -EPIPE: the other side said goodbye · -EPROTO. */
ssize_t tls_read(struct tls *t, void *buf, size_t bytes);
/* Encrypt; takes all. */
int tls_write(struct tls *t, const void *data, size_t bytes);
void tls_goodbye(struct tls *t);
/* Take bytes for the network. */
size_t tls_take(struct tls *t, void *buf, size_t bytes);
size_t tls_ready_bytes(const struct tls *t);
/* What was agreed, for a log line; valid as long as @t. */
const char *tls_describe(struct tls *t);

#endif
