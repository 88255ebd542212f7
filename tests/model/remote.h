/* An operation as a command does it: in a process of its own, which may die on the way, while the disk runs here and
 * answers its calls. */
#ifndef TEST_MODEL_REMOTE_H
#define TEST_MODEL_REMOTE_H

#include "guest.h"

#include <stddef.h>

typedef int bundle_call(struct pl_bundle *b, struct pl_live *live, void *arg);

struct remote_result {
	int res;
	bool died;
	char text[512]; /* the sentence, or where it died */
};

/* @call with the bundle in @folder. @g: the disk, if it runs; its guest goes on meanwhile. @stop_after: how many points
 * it passes before it dies; -1: all. @cancel_after: after so many turns the engine's changes are cancelled; 0: never.
 */
struct remote_result remote_call(const char *folder, struct guest *g, bundle_call *call, void *arg, int stop_after,
				 uint32_t cancel_after);

#endif
