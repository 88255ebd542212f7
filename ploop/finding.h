/* What layout/findings.def says about a finding, for the engine and `ploop check`. Callable from any thread. */
#ifndef PLOOP_FINDING_H
#define PLOOP_FINDING_H

#include "layout/header.h"

enum finding_severity { SEVERITY_NOTE, SEVERITY_SOFT, SEVERITY_FATAL, SEVERITY_HEADER };
enum finding_repair { REPAIR_NEVER, REPAIR_FORCE, REPAIR_HARD, REPAIR_IGNORE, REPAIR_DROP };

struct finding_info {
	const char *name; /* stable, e.g. "bat-beyond-file" */
	enum finding_severity severity;
	enum finding_repair repair;
};
const struct finding_info *finding_info(enum lay_finding_id id);

/* The sentence, without file name and full stop, cut to @out_bytes. */
void finding_text(enum lay_finding_id id, const struct lay_fault *fault, char *out, size_t out_bytes);

/* The errno of a finding that stops us: -EMEDIUMTYPE, -EOPNOTSUPP, -EBUSY or -EUCLEAN. */
int finding_errno(enum lay_finding_id id);

/* Set the sentence "@path: …" and return finding_errno(). */
int finding_fail(enum lay_finding_id id, const struct lay_fault *fault, const char *path);

#endif
