/* The operations' fuzzer can fail: on a device whose sync lies, some bytes are found that it refuses. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "tests/support/fuzz_ops.h"

static const char *try_random_bytes(uint32_t tries, bool broken)
{
	struct prng p = {prng_seed(1)};
	for (uint32_t i = 0; i < tries; i++) {
		uint8_t bytes[200];
		for (size_t b = 0; b < sizeof(bytes); b++)
			bytes[b] = (uint8_t)prng_next(&p);
		const char *why = fuzz_ops(bytes, sizeof(bytes), broken);
		if (why)
			return why;
	}
	return NULL;
}

Test(fuzz_ops, random_bytes_agree_with_the_model, .timeout = 120)
{
	const char *why = try_random_bytes(200, false);
	cr_expect(eq(ptr, (void *)why, NULL), "%s", why ? why : "");
}

Test(fuzz_ops, a_lying_sync_is_found, .timeout = 120)
{
	const char *why = try_random_bytes(2000, true);
	cr_expect(ne(ptr, (void *)why, NULL));
	cr_log_info("%s", why ? why : "");
}
