/* TLS between a socket and the NBD machine: the same questions (where do bytes land, what is to be sent), answered for
 * encrypted bytes. */
#ifndef PLOOP_NBDS_SECURE_H
#define PLOOP_NBDS_SECURE_H

#include "nbds_conn.h"

struct tls_context;
struct nbds_secure;

int nbds_secure_new(struct tls_context *context, struct nbds_secure **out);
void nbds_secure_free(struct nbds_secure *s); /* NULL is fine */

/* Where encrypted bytes must land; 0: the machine is to take what is here first. */
int nbds_secure_sink(struct nbds_secure *s, struct nbds_conn *c, struct iovec iov[2]);
/* They landed, or the machine can take more: decrypt and hand over. Negative errno and sentence: end the connection. */
int nbds_secure_received(struct nbds_secure *s, struct nbds_conn *c, size_t n);
int nbds_secure_resume(struct nbds_secure *s, struct nbds_conn *c);

/* Encrypted bytes to send, one piece; stays where it is until nbds_secure_sent(). */
size_t nbds_secure_output(struct nbds_secure *s, struct nbds_conn *c, struct iovec *iov, size_t *bytes);
void nbds_secure_sent(struct nbds_secure *s, size_t n);
bool nbds_secure_has_output(const struct nbds_secure *s);

#endif
