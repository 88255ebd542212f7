/* What a long operation of the engine shows and asks: a progress line, and whether a signal came. */
#ifndef PLOOP_CLI_PROGRESS_H
#define PLOOP_CLI_PROGRESS_H

#include "ploop.h"

/* Catch signals from here on; @label stands before the percentage and outlives the operation. */
struct pl_progress progress_begin(const char *label);

#endif
