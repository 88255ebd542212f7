/* The one place that turns an errno and what was being done into an exit code. */
#include "cli/exit_code.h"

#include "base/units.h"

#include <errno.h>

/* When the errno says nothing more specific, the step decides. */
static const int code_of_step[] = {
	[CLI_AT_OTHER] = EXIT_SYS,
	[CLI_AT_CREATE] = EXIT_CREAT,
	[CLI_AT_OPEN] = EXIT_OPEN,
	[CLI_AT_READ] = EXIT_READ,
	[CLI_AT_WRITE] = EXIT_WRITE,
	[CLI_AT_DESCRIPTOR] = EXIT_LOCK,
	[CLI_AT_DESCRIPTOR_WRITE] = EXIT_DISKDESCR,
	[CLI_AT_SNAPSHOT] = EXIT_NOSNAP,
	[CLI_AT_CHAIN] = EXIT_WRITE,
	[CLI_AT_MERGE] = EXIT_WRITE,
	[CLI_AT_DEVICE] = EXIT_DEVICE,
	[CLI_AT_MOUNT] = EXIT_MOUNT,
	[CLI_AT_UMOUNT] = EXIT_UMOUNT,
	[CLI_AT_MKFS] = EXIT_MKFS,
	[CLI_AT_FSCK] = EXIT_FSCK,
};

/* Steps whose one code covers every reason. */
static int step_has_one_code(enum cli_step step)
{
	return step == CLI_AT_DESCRIPTOR || step == CLI_AT_MKFS || step == CLI_AT_FSCK;
}

/* Operations on a chain know better than the general rule which side is wrong; 0: they do not. */
static int code_of_chain(int err, enum cli_step step)
{
	switch (err) {
	case -ENOENT:
		return EXIT_NOSNAP;
	case -E2BIG: /* too many images */
	case -EMLINK:
	case -EXDEV:
		return EXIT_PARAM;
	case -ESTALE:
		return EXIT_DISKDESCR;
	case -EBUSY:
		return step == CLI_AT_MERGE ? EXIT_EBUSY : EXIT_PLOOPINUSE;
	case -ECANCELED:
		return EXIT_SYS;
	case -EACCES:
	case -EPERM:
	case -EROFS:
		return EXIT_OPEN;
	default:
		return 0;
	}
}

int cli_exit_code(int err, enum cli_step step)
{
	if (err >= 0)
		return err;
	if (err == -ENOMEM)
		return EXIT_MALLOC;
	if (step_has_one_code(step))
		return code_of_step[step];
	int code = step == CLI_AT_CHAIN || step == CLI_AT_MERGE ? code_of_chain(err, step) : 0;
	if (code)
		return code;
	switch (err) {
	case -EUCLEAN:
	case -EMEDIUMTYPE:
	case -EOPNOTSUPP:
	case -ELOOP:
	case -ESTALE:
	case -E2BIG:
		return EXIT_PLOOPFMT;
	case -EINVAL:
	case -ERANGE:
		return EXIT_PARAM;
	case -EINTR:
		return EXIT_SYS;
	case -EBUSY:
		return step == CLI_AT_MOUNT ? EXIT_MOUNT : step == CLI_AT_UMOUNT ? EXIT_UMOUNT_BUSY : EXIT_PLOOPINUSE;
	case -EEXIST:
		return step == CLI_AT_DESCRIPTOR_WRITE ? EXIT_EBUSY : EXIT_PARAM;
	default:
		return code_of_step[step];
	}
}
