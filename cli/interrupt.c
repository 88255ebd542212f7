#include "cli/interrupt.h"

#include "base/units.h"
#include "ploop.h"

#include <errno.h>
#include <signal.h>

static volatile sig_atomic_t seen;

static void note(int number)
{
	seen = number;
}

void interrupt_catch(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	/* No SA_RESTART: waiting ends. Once only: the second signal ends a process that does not come to look. */
	struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND};
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &action, NULL);
}

bool interrupt_seen(void)
{
	return seen != 0;
}

int interrupt_check(void)
{
	return seen ? pl_fail(-EINTR, "interrupted by signal %d", (int)seen) : 0;
}
