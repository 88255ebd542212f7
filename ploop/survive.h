/* What outlives this process (D2): the shared memory of pending map changes, also held by a tiny second process.
 *
 *   server --spawn--> ploop-holder (keeps the memory, listens on RUN_DIR/hold-DEV-INO)
 *   server dies; the holder stays as long as the memory has changes that the image lacks
 *   next server: locks the image (D10) --connect--> holder --SCM_RIGHTS--> the same memory
 *   clean close: the table is empty, the holder is told to go */
#ifndef PLOOP_SURVIVE_H
#define PLOOP_SURVIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "ploop/pending.h"
#include "ploop/store.h"

/* Descriptors that the program ploop-holder begins with. */
enum { HOLD_LISTEN_FD = 3, HOLD_MEMORY_FD, HOLD_LIFE_FD /* of the server that starts it */, HOLD_FDS_END };

/* Requests on the holder's socket, one byte each. */
#define HOLD_TAKE 'T' /* answered by the memory's fd; the connection then is the life line of the server */
#define HOLD_PEEK 'P' /* answered by the memory's fd */
#define HOLD_BYE 'B'  /* nothing is needed any more */

struct survive {
	struct pending_shm *shm; /* NULL: nothing to survive */
	int life_fd;             /* to the holder, or -1 */
	int memory_fd;           /* of shm, for another holder; or -1 */
	char *program;           /* the holder's; NULL: none is wanted */
	bool memory_writable;    /* an inherited table is ours, not only peeked at */
	bool inherited;          /* the table came from a dead server */
	bool owned;              /* shm is ours to unmap: no pending table was made of it */
};

/* The memory for the image in @store: a dead server's if there is one, else new and held by @holder_program (NULL: by
 * nobody). The caller has the image locked. -errno. */
int survive_attach(struct store *store, uint32_t guest_clusters, uint32_t cluster_sectors, const char *holder_program,
		   struct survive *out);
/* What the dead server left is of no use: empty the table (a peeked one is only let go). */
void survive_forget(struct survive *s);
/* The holder is gone: start another one with the same memory. -errno: nobody holds it now. */
int survive_restart(struct survive *s, struct store *store);
/* Only look: shm is NULL when no holder is there. */
int survive_peek(struct store *store, uint32_t guest_clusters, uint32_t cluster_sectors, struct survive *out);
/* The image is gone for good: remove the name that a killed holder of it may have left. */
void survive_forget_image(dev_t dev, ino_t ino);
/* Who serves the image in @store, or did last; 0: no holder is there, or our lock's owner is somebody else. */
uint32_t survive_server_pid(struct store *store);
/* @clean: the image has everything, the holder may go. */
void survive_detach(struct survive *s, bool clean);

#endif
