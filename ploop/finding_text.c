/* The rows of layout/findings.def turned into words. */
#include "ploop/finding.h"

#include "base/invariant.h"
#include "ploop.h"

#include <errno.h>
#include <inttypes.h>

static const struct finding_info infos[LAY_FINDING_COUNT] = {
#define FINDING(id, name, severity, repair, ...) [LAY_F_##id] = {name, SEVERITY_##severity, REPAIR_##repair},
#include "layout/findings.def"
#undef FINDING
};

const struct finding_info *finding_info(enum lay_finding_id id)
{
	invariant(id > LAY_OK && id < LAY_FINDING_COUNT);
	return &infos[id];
}

void finding_text(enum lay_finding_id id, const struct lay_fault *fault, char *out, size_t out_bytes)
{
	uint64_t index = fault->index, value = fault->value, limit = fault->limit;
	switch (id) {
#define FINDING(id, name, severity, repair, ...)                                                                       \
	case LAY_F_##id:                                                                                               \
		snprintf(out, out_bytes, __VA_ARGS__);                                                                 \
		return;
#include "layout/findings.def"
#undef FINDING
	case LAY_OK:
	case LAY_FINDING_COUNT:
		break;
	}
	invariant(!"a finding of the table");
}

int finding_errno(enum lay_finding_id id)
{
	switch (id) {
	case LAY_F_SIGNATURE:
	case LAY_F_FILE_SHORT:
		return -EMEDIUMTYPE;
	case LAY_F_TYPE:
	case LAY_F_CLUSTER_FOREIGN:
	case LAY_F_FIRST_BLOCK_FOREIGN:
		return -EOPNOTSUPP;
	case LAY_F_IN_USE:
	case LAY_F_UNFINISHED:
	case LAY_F_CONVERTING:
		return -EBUSY;
	default:
		return -EUCLEAN;
	}
}

int finding_fail(enum lay_finding_id id, const struct lay_fault *fault, const char *path)
{
	char text[256];
	finding_text(id, fault, text, sizeof(text));
	return pl_fail(finding_errno(id), "%s: %s", path, text);
}
