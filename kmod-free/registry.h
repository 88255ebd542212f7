/* The running disks of this machine: one folder each.
 *
 *	/run/ploop/lock                taken while an entry is made, so that a disk or a name is not taken twice
 *	/run/ploop/ploop1000/         locked by whoever attaches or detaches it
 *	                      state    struct pl_device as lines "key value", replaced as a whole; absent: half made
 *	                      pid      the server's
 *	                      keeper   command socket of the keeper (keeper.h), who knows the server of this moment
 *	                      control  of a disk without a bundle's control socket: its own (pl_device_control())
 *	                      fuse/    mount point of the transport "fuse"
 *
 * An entry whose folder is not locked and whose server does not run is stale. It is listed, as not alive, as long as it
 * is mounted, and removed by device.c otherwise. Pid and start time name a process beyond doubt. */
#ifndef PLOOP_REGISTRY_H
#define PLOOP_REGISTRY_H

#include "ploop-serve.h"

#include <limits.h>

#define REGISTRY_STATE "state"
#define REGISTRY_PID   "pid"
#define REGISTRY_KEEPER "keeper"
#define REGISTRY_CONTROL "control"

/* The lock over all entries, until the descriptor is closed. */
int registry_lock(int *fd);

/* Path of a file of an entry. -ENAMETOOLONG. */
int registry_path(const char *name, const char *file, char path[PATH_MAX]);

/* Make the folder of @name and lock it: *@fd. -EEXIST. */
int registry_make(const char *name, int *fd);
/* Lock the folder of an entry, waiting if @wait. -ENOENT: it is gone · -EAGAIN: somebody else works on it. */
int registry_lock_entry(const char *name, bool wait, int *fd);
/* Remove the folder and what belongs in it. */
int registry_remove(const char *name);

/* Does a server run, or come again? Sets alive and what the keeper knows. */
void registry_look(struct pl_device *device);
int registry_save(const struct pl_device *device);
/* -ENOENT: no such entry, or half made · -EUCLEAN: not a state file. */
int registry_load(const char *name, struct pl_device **out);

/* Names of all folders, sorted; registry_names_free(). */
int registry_names(char ***out, size_t *count);
void registry_names_free(char **names, size_t count);

/* registry_text.c: struct pl_device and the text of its state file. */
char *registry_encode(const struct pl_device *device); /* NULL: no memory */
int registry_decode(char *text, struct pl_device *device); /* changes @text */

#endif
