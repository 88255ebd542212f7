/* Where partition 1 of a running disk lies, whoever wrote its table. */
#ifndef PLOOP_CLI_GUEST_PARTITION_H
#define PLOOP_CLI_GUEST_PARTITION_H

#include <stdint.h>

/* *@length_bytes = 0: there is no partition table, or no partition 1 in it. */
int guest_find_partition(const char *node, uint64_t *offset_bytes, uint64_t *length_bytes);

#endif
