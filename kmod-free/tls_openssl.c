/* libssl over two memory BIOs: one takes what comes from the network, the other holds what is for it. */
#include "tls_openssl.h"

#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/units.h"
#include "ploop.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#define MAX_PSK_BYTES 64u /* SHA-512's length; psktool writes 32 */

struct tls_context {
	SSL_CTX *ssl;
	char *psk_file;
};

struct tls {
	SSL *ssl;
	BIO *from_network, *to_network; /* @ssl owns them */
	bool said_goodbye;
	char description[128];
};

/* The newest sentence of OpenSSL's queue behind ours. */
static int ssl_fail(int err, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	return pl_fail(err, "%s: %s", what, reason ? reason : "TLS error");
}

/* ------------------------------------------------------------------ pre-shared keys */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Hexadecimal up to the end of the line; 0: not a key. */
static unsigned decode_key(const char *text, unsigned char *key, unsigned max)
{
	unsigned n = 0;
	for (; hex_digit(text[0]) >= 0 && hex_digit(text[1]) >= 0 && n < max; text += 2)
		key[n++] = (unsigned char)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
	return text[strspn(text, "\r\n")] == '\0' ? n : 0;
}

/* The key of @user, 0 when there is none. The file is read each time, so that it can change under a running server. */
static unsigned find_key(const char *path, const char *user, unsigned char *key, unsigned max)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	char line[1024];
	size_t n = strlen(user);
	unsigned found = 0;
	while (n > 0 && !found && fgets(line, sizeof(line), f))
		if (strncmp(line, user, n) == 0 && line[n] == ':')
			found = decode_key(line + n + 1, key, max);
	OPENSSL_cleanse(line, sizeof(line));
	fclose(f);
	return found;
}

static const struct tls_context *context_of(SSL *ssl)
{
	return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* TLS 1.2. */
static unsigned psk_server(SSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
	return find_key(context_of(ssl)->psk_file, identity ? identity : "", key, max);
}

/* TLS 1.3: a session whose secret is the key, bound to the SHA-256 suite as external keys are by default. */
static int psk_find_session(SSL *ssl, const unsigned char *identity, size_t bytes, SSL_SESSION **out)
{
	static const unsigned char aes128_gcm_sha256[] = {0x13, 0x01};
	char user[256];
	unsigned char key[MAX_PSK_BYTES];
	*out = NULL;
	if (bytes == 0 || bytes >= sizeof(user) || memchr(identity, '\0', bytes))
		return 1;
	memcpy(user, identity, bytes);
	user[bytes] = '\0';
	unsigned n = find_key(context_of(ssl)->psk_file, user, key, sizeof(key));
	if (n == 0)
		return 1; /* not ours: the handshake goes on without and fails there */

	SSL_SESSION *session = SSL_SESSION_new();
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes128_gcm_sha256);
	bool ok = session && cipher && SSL_SESSION_set1_master_key(session, key, n) &&
		  SSL_SESSION_set_cipher(session, cipher) && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION);
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok) {
		SSL_SESSION_free(session);
		return 0;
	}
	*out = session;
	return 1;
}

static int use_psk(struct tls_context *context, const char *path)
{
	context->psk_file = realpath(path, NULL); /* it is read again later, from another folder */
	if (!context->psk_file || access(path, R_OK) < 0)
		return pl_fail(-errno, "%s: %s", path, strerror(errno));
	SSL_CTX_set_psk_server_callback(context->ssl, psk_server);
	SSL_CTX_set_psk_find_session_callback(context->ssl, psk_find_session);
	/* Suites of TLS 1.2 that need a key and no certificate, and keep past traffic secret. */
	if (SSL_CTX_set_cipher_list(context->ssl, "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:"
						  "DHE-PSK-AES128-GCM-SHA256:ECDHE-PSK-AES128-CBC-SHA256") != 1 ||
	    SSL_CTX_set_ciphersuites(context->ssl, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set_dh_auto(context->ssl, 1) != 1)
		return ssl_fail(-EIO, "cannot choose cipher suites");
	return 0;
}

/* ------------------------------------------------------------------ certificates */

static int certificate_path(char *out, size_t bytes, const char *dir, const char *name)
{
	if ((size_t)snprintf(out, bytes, "%s/%s", dir, name) >= bytes)
		return pl_fail(-ENAMETOOLONG, "%s: too long", dir);
	if (access(out, R_OK) < 0)
		return pl_fail(-errno, "%s: %s", out, strerror(errno));
	return 0;
}

static int use_certificates(SSL_CTX *ssl, const char *dir, bool verify_peer)
{
	char path[4096];
	int r = certificate_path(path, sizeof(path), dir, "server-cert.pem");
	if (r < 0)
		return r;
	if (SSL_CTX_use_certificate_chain_file(ssl, path) != 1)
		return ssl_fail(-EINVAL, path);
	r = certificate_path(path, sizeof(path), dir, "server-key.pem");
	if (r < 0)
		return r;
	if (SSL_CTX_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1)
		return ssl_fail(-EINVAL, path);
	if (!verify_peer)
		return 0;
	r = certificate_path(path, sizeof(path), dir, "ca-cert.pem");
	if (r < 0)
		return r;
	if (SSL_CTX_load_verify_locations(ssl, path, NULL) != 1)
		return ssl_fail(-EINVAL, path);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	return 0;
}

/* ------------------------------------------------------------------ context */

int tls_context_new(const struct tls_options *options, struct tls_context **out)
{
	if (!options->certificate_dir == !options->psk_file)
		return pl_fail(-EINVAL, "TLS needs either certificates or a file of pre-shared keys");
	if (options->verify_peer && !options->certificate_dir)
		return pl_fail(-EINVAL, "only clients with certificates can be verified");
	struct tls_context *context = calloc(1, sizeof(*context));
	if (!context)
		return pl_fail(-ENOMEM, "no memory for TLS");
	context->ssl = SSL_CTX_new(TLS_server_method());
	if (!context->ssl) {
		free(context);
		return ssl_fail(-ENOMEM, "cannot start TLS");
	}
	SSL_CTX_set_app_data(context->ssl, context);
	SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
	SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context->ssl, 0);
	int r = options->psk_file ? use_psk(context, options->psk_file)
				  : use_certificates(context->ssl, options->certificate_dir, options->verify_peer);
	if (r < 0) {
		tls_context_free(context);
		return r;
	}
	*out = context;
	return 0;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl);
	free(context->psk_file);
	free(context);
}

/* ------------------------------------------------------------------ one connection */

int tls_new(struct tls_context *context, struct tls **out)
{
	struct tls *t = calloc(1, sizeof(*t));
	if (!t)
		return pl_fail(-ENOMEM, "no memory for TLS");
	t->ssl = SSL_new(context->ssl);
	t->from_network = BIO_new(BIO_s_mem());
	t->to_network = BIO_new(BIO_s_mem());
	if (!t->ssl || !t->from_network || !t->to_network) {
		BIO_free(t->from_network);
		BIO_free(t->to_network);
		SSL_free(t->ssl);
		free(t);
		return ssl_fail(-ENOMEM, "cannot start TLS");
	}
	SSL_set_bio(t->ssl, t->from_network, t->to_network);
	SSL_set_accept_state(t->ssl);
	*out = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

int tls_feed(struct tls *t, const void *data, size_t bytes)
{
	size_t n;
	if (BIO_write_ex(t->from_network, data, bytes, &n) != 1 || n != bytes)
		return ssl_fail(-ENOMEM, "no memory for TLS");
	return 0;
}

size_t tls_fed_bytes(const struct tls *t)
{
	return BIO_ctrl_pending(t->from_network) + (size_t)SSL_pending(t->ssl);
}

static int want(struct tls *t, int r, const char *what)
{
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		return pl_fail(-EPIPE, "%s: the client said goodbye", what);
	default:
		return ssl_fail(-EPROTO, what);
	}
}

int tls_handshake(struct tls *t)
{
	ERR_clear_error();
	int r = SSL_do_handshake(t->ssl);
	return r == 1 ? 1 : want(t, r, "TLS handshake");
}

ssize_t tls_read(struct tls *t, void *buf, size_t bytes)
{
	size_t n;
	ERR_clear_error();
	int r = SSL_read_ex(t->ssl, buf, bytes, &n);
	return r == 1 ? (ssize_t)n : want(t, r, "TLS");
}

/* The memory BIO takes everything, so a write is never partial. */
int tls_write(struct tls *t, const void *data, size_t bytes)
{
	size_t n;
	ERR_clear_error();
	if (SSL_write_ex(t->ssl, data, bytes, &n) != 1 || n != bytes)
		return ssl_fail(-EPROTO, "TLS");
	return 0;
}

void tls_goodbye(struct tls *t)
{
	if (t->said_goodbye)
		return;
	t->said_goodbye = true;
	ERR_clear_error();
	SSL_shutdown(t->ssl);
	ERR_clear_error();
}

size_t tls_take(struct tls *t, void *buf, size_t bytes)
{
	size_t n = 0;
	return BIO_read_ex(t->to_network, buf, bytes, &n) == 1 ? n : 0;
}

size_t tls_ready_bytes(const struct tls *t)
{
	return BIO_ctrl_pending(t->to_network);
}

const char *tls_describe(struct tls *t)
{
	snprintf(t->description, sizeof(t->description), "TLS started version=%s cipher=%s", SSL_get_version(t->ssl),
		 SSL_get_cipher_name(t->ssl));
	return t->description;
}
