/* A disk opened for the length of one function. */
#ifndef PLOOP_CLI_WITH_DISK_H
#define PLOOP_CLI_WITH_DISK_H

#include "ploop.h"

/* Look without lock, also at a disk that somebody writes. */
#define WITH_DISK_PEEK (PL_OPEN_READONLY | PL_OPEN_PEEK)

/* Open @chain on a loop of its own with enum pl_open_flags, call @use, close. Returns the first failure. */
int with_disk(const struct pl_chain_spec *chain, uint32_t flags, int (*use)(struct pl_disk *disk, void *arg),
	      void *arg);

#endif
