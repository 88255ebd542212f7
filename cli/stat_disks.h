/* The running disks with their figures: what `ploop stat` prints, in whatever form. */
#ifndef PLOOP_CLI_STAT_DISKS_H
#define PLOOP_CLI_STAT_DISKS_H

#include "cli/output.h"
#include "ploop-serve.h"

struct stat_disk {
	struct pl_live *live; /* NULL: it has ended */
	char socket[128];
	char device[32];      /* its name; "" when it is no block device */
	struct pl_live_stat now, before;
};

struct stat_disks {
	struct stat_disk *at;
	size_t count;
};

/* Those of @words, or all that run. 0 or -errno; on success stat_disks_close(). */
int stat_disks_open(struct stat_disks *disks, int count, char **words);
void stat_disks_close(struct stat_disks *disks);
/* Ask each; one whose server is gone is left out from now on. */
int stat_disks_ask(struct stat_disks *disks);

/* pl_full_sentence(); "" when nothing waits. */
void stat_full_text(const struct pl_disk_stat *s, char *out, size_t bytes);

void stat_print(const struct stat_disks *disks, struct out *out);
void stat_print_openmetrics(const struct stat_disks *disks);
/* The change since the last time, a line each. */
void stat_print_rates(const struct stat_disks *disks, double seconds);
void stat_print_rates_head(void);

#endif
