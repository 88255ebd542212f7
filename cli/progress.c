#include "cli/progress.h"

#include "cli/console.h"
#include "cli/interrupt.h"

static bool cancelled(void *arg)
{
	return interrupt_seen();
}

struct pl_progress progress_begin(const char *label)
{
	interrupt_catch();
	return (struct pl_progress){.step = console_progress, .cancelled = cancelled, .arg = (void *)label};
}
