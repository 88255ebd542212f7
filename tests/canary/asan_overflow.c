/* expect: AddressSanitizer: heap-buffer-overflow */
#include <criterion/criterion.h>
#include <stdlib.h>

static char volatile seen;

__attribute__((noinline)) static char at(const char *p, size_t i)
{
	return p[i];
}

Test(canary, an_overflow_fails_the_run)
{
	char *p = calloc(1, 8);
	volatile size_t past = 8;

	seen = at(p, past);
	free(p);
}
