/* Bytes as requests on a disk in memory, judged by the model; at the end the power fails or the disk is closed. */
#ifndef PLOOP_TEST_FUZZ_OPS_H
#define PLOOP_TEST_FUZZ_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "tests/support/crash_run.h"

/* NULL, or what was wrong; valid until the next call. @broken: with the sync lies of crash_plan. */
const char *fuzz_ops(const uint8_t *data, size_t size, bool broken);

#endif
