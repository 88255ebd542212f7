/* expect: runtime error: signed integer overflow */
#include <criterion/criterion.h>
#include <limits.h>

Test(canary, undefined_behaviour_fails_the_run)
{
	volatile int most = INT_MAX;
	volatile int more = most + 1;
	(void)more;
}
