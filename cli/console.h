/* What people see while a command works: console lines, log lines, progress. */
#ifndef PLOOP_CLI_CONSOLE_H
#define PLOOP_CLI_CONSOLE_H

#include "ploop.h"

#define CONSOLE_DEFAULT_VERBOSITY 3

/* Verbosity 0…: 3 shows console lines, 4 the engine's notices too, 5 its debug lines. PLOOP_DEBUG=a,b shows the debug
 * lines of these categories whatever the verbosity. @parsed_output: stdout is for a parser, keep console lines off. */
void console_init(int verbosity, bool parsed_output);

/* One line for people, on stdout, without newline in @fmt. */
void console_say(const char *fmt, ...) PL_PRINTF(1, 2);

/* One line that should not be missed, on stderr. */
void console_warn(const char *fmt, ...) PL_PRINTF(1, 2);

/* "LABEL  42%" redrawn in place when stderr is a terminal. @arg is the label, so that it serves as a callback. */
void console_progress(void *arg, uint64_t done, uint64_t total);
void console_progress_end(void);

#endif
