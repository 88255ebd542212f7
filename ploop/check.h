/* `ploop check` of one image, inside. The order of the tests is in check.c. */
#ifndef PLOOP_CHECK_H
#define PLOOP_CHECK_H

#include "layout/bat.h"
#include "ploop.h"

/* The stock tool's exit codes that a check can give. */
enum check_exit {
	CHECK_OK = 0,
	CHECK_OPEN = 4,
	CHECK_MEMORY = 5,
	CHECK_READ = 6,
	CHECK_WRITE = 7,
	CHECK_DAMAGED = 11,
	CHECK_SYNC = 16,
	CHECK_CONVERTING = 17,
	CHECK_LENGTH = 19,
	CHECK_IN_USE = 37,
	CHECK_PARAMETER = 38,
};

struct check {
	const struct pl_image_ref *ref;
	struct pl_check_options o;
	int fd;
	bool may_write;
	uint64_t file_bytes;
	struct lay_header h;
	struct lay_bat_scan bat; /* bat.used: set when duplicates or free clusters matter, then owned */
	bool has_fatal;		 /* a fatal finding stands */
	bool has_skipped;	 /* a soft finding stands */
	enum check_exit exit;
};

/* End the check: remember the exit code and pass @err, whose sentence is set, on. */
static inline int check_stop(struct check *c, enum check_exit code, int err)
{
	c->exit = code;
	return err;
}

/* Tell the caller of a finding, or in other words than a finding's. */
void check_report(struct check *c, enum lay_finding_id id, const struct lay_fault *fault, enum pl_verdict verdict);
void check_say(struct check *c, const char *id, bool is_error, const char *fmt, ...) PL_PRINTF(4, 5);

/* Write c->h; durable on return. */
int check_write_header(struct check *c);

/* The format extension of a closed image: what it occupies is marked in bat.used; a broken one is taken out of the
 * header. An unknown necessary feature ends all writing. check_ext.c */
int check_ext(struct check *c);

/* Every slot of the header area. Repairs are durable on return. check_bat.c */
int check_bat(struct check *c);

/* Give back the space of clusters that nothing uses; after a check without findings. check_sparse.c */
int check_sparse(struct check *c);

#endif
