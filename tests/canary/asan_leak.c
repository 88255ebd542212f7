/* expect: LeakSanitizer: detected memory leaks */
#include <criterion/criterion.h>
#include <stdlib.h>

static void *volatile lost;

Test(canary, a_leak_fails_the_run)
{
	lost = malloc(77);
	lost = NULL;
}
