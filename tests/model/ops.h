/* One operation at random, foretold, done, and judged. */
#ifndef TEST_MODEL_OPS_H
#define TEST_MODEL_OPS_H

#include "world.h"

void world_operate(struct world *w);

/* Do @call to @b. What was foretold is in w->story, with @err as its end; @b's tree is what came of it. true: it ended
 * as foretold, and well. false: it was refused, or died. */
bool perform(struct world *w, struct bundle *b, bundle_call *call, void *arg, int err, bool may_cancel, bool *died);
/* Ready for a story of @b. */
void foretell(struct world *w, struct bundle *b);
/* A node at random; now and then an id that nobody has. */
const char *choose_node(struct world *w, struct bundle *b);

void clone_operate(struct world *w, struct bundle *b);

#endif
