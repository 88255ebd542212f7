/* Helper programs: mkfs and friends, found in fixed directories, never through the caller's PATH. */
#ifndef PLOOP_CLI_PROGRAM_H
#define PLOOP_CLI_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#define PROGRAM_PATH_BYTES 256

/* A name with a slash is taken as it is. -ENOENT with a sentence. */
int program_find(const char *name, char path[PROGRAM_PATH_BYTES]);

/* Run argv[0] with the arguments, stdin empty, and wait. Its output is kept for the sentence of a failure; with
 * @show it goes to the console instead. Returns the exit status of the program (0…255); -ENOENT: no such program;
 * -EINTR: it died of a signal. For a status other than 0 the sentence is set: program, status, its last words. */
int program_run(const char *const *argv, bool show);

#endif
