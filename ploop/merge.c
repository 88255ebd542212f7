#include "ploop/merge.h"

#include "ploop/change.h"

struct merge {
	int unused;
};

void merge_cancel(struct merge *m)
{
}

void pl_disk_merge(struct pl_disk *d, uint32_t child, enum pl_merge_into into, struct pl_change *change)
{
	if (change_begin(d, change) == 0)
		change_done(d, pl_fail(-EOPNOTSUPP, "not yet"));
}
