/* Errors of the host's storage: each is counted and told of precisely, at most once a second, so that a guest which
 * tries again and again does not fill the log. */
#ifndef PLOOP_IO_ERROR_H
#define PLOOP_IO_ERROR_H

#include <stdint.h>

struct io_errors {
	uint64_t count;
	uint64_t told_count; /* those that a line told of, or of how many it left out */
	uint64_t told_ns;
};

#endif
