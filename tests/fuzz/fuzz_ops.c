/* Any bytes as requests on a disk: what it shows is what the model allows, also after a power failure. */
#include <stdio.h>

#include "base/invariant.h"
#include "tests/support/fuzz_ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why = fuzz_ops(data, size, false);
	if (why)
		fprintf(stderr, "%s\n", why);
	invariant(!why);
	return 0;
}
