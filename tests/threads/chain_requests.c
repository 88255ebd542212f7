/* The thread backend under a chain of three: random requests of all kinds against the model. Without Criterion, whose
 * shared memory does not go with ThreadSanitizer. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/invariant.h"
#include "tests/support/rig.h"

static void must(bool ok, const struct rig *r)
{
	if (!ok)
		fprintf(stderr, "SEED=%llu: %s %s\n", (unsigned long long)prng_seed(1), r->why, pl_error());
	invariant(ok);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[256], path[300];
	struct pl_loop *loop;
	struct pl_loop_options options = {.size = sizeof(options), .backend = PL_BACKEND_PLAIN};
	snprintf(dir, sizeof(dir), "%s/chain-XXXXXX", tmp ? tmp : "/tmp");
	invariant(mkdtemp(dir));
	invariant(pl_loop_new(&options, &loop) == 0);
	struct rig_shape shape = {.version = 2, .clusters = 24, .depth = 3, .dir = dir};
	struct rig *r = rig_new(loop, &shape, prng_seed(1));
	must(!r->why[0], r);
	for (int life = 0; life < 4; life++) {
		must(rig_open(r) == 0, r);
		must(rig_judge(r, MODEL_PROCESS_DIED) && rig_run(r, 150) && rig_drain(r), r);
		must(rig_close(r) == 0, r);
	}
	rig_free(r);
	pl_loop_free(loop);
	for (uint32_t i = 0; i < shape.depth; i++) {
		snprintf(path, sizeof(path), "%s/level-%u", dir, i);
		unlink(path);
	}
	return rmdir(dir) != 0;
}
