/* Giving back the space of clusters that no BAT entry and no extension uses: leaks of a crash, tails of a
 * preallocation. The check has marked what is used, and found nothing wrong. */
#include "ploop/check.h"

#include "ploop/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

static bool is_used(const struct check *c, uint64_t f)
{
	return c->bat.used[f / 64] >> (f % 64) & 1;
}

static int punch(struct check *c, uint64_t first, uint64_t end)
{
	uint64_t cluster = lay_cluster_bytes(&c->h);
	if (fallocate(c->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * cluster),
		      (off_t)((end - first) * cluster)) == 0)
		return 0;
	int r = pl_fail(-errno, "give back space of %s: %s", c->ref->path, strerror(errno));
	return check_stop(c, CHECK_WRITE, r);
}

int check_sparse(struct check *c)
{
	uint64_t length, before, after;
	int r = file_length(c->fd, &length, &before, c->ref->path);
	for (uint64_t f = lay_header_clusters(&c->h), end; !r && f < c->bat.file_clusters; f = end + 1) {
		for (end = f; end < c->bat.file_clusters && !is_used(c, end);)
			end++;
		if (end > f)
			r = punch(c, f, end);
	}
	if (!r)
		r = file_sync(c->fd, c->ref->path);
	if (!r)
		r = file_length(c->fd, &length, &after, c->ref->path);
	if (!r && before > after)
		check_say(c, "space-returned", false, "Returned %" PRIu64 " bytes of unused clusters", before - after);
	return r;
}
