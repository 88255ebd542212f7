/* Exit codes: the stock tool's numbers, which scripts and managers know. */
#ifndef PLOOP_CLI_EXIT_CODE_H
#define PLOOP_CLI_EXIT_CODE_H

enum cli_exit {
	EXIT_CREAT = 1,
	EXIT_DEVICE = 2,
	EXIT_DEVIOC = 3,
	EXIT_OPEN = 4,
	EXIT_MALLOC = 5,
	EXIT_READ = 6,
	EXIT_WRITE = 7,
	EXIT_PLOOPFMT = 11,
	EXIT_SYS = 12,
	EXIT_EBUSY = 17,
	EXIT_MOUNT = 21,
	EXIT_UMOUNT = 22,
	EXIT_LOCK = 23, /* also: cannot read DiskDescriptor.xml, which was part of locking */
	EXIT_MKFS = 24,
	EXIT_ABORT = 29,
	EXIT_PLOOPINUSE = 37,
	EXIT_PARAM = 38,
	EXIT_DISKDESCR = 39,
	EXIT_DEV_NOT_MOUNTED = 40,
	EXIT_FSCK = 41,
	EXIT_NOSNAP = 43,
	EXIT_UMOUNT_BUSY = 46,
};

/* What the command was doing when it failed. */
enum cli_step {
	CLI_AT_OTHER,
	CLI_AT_CREATE,           /* making the image */
	CLI_AT_OPEN,             /* opening an image or a chain */
	CLI_AT_READ,
	CLI_AT_WRITE,
	CLI_AT_DESCRIPTOR,       /* reading DiskDescriptor.xml */
	CLI_AT_DESCRIPTOR_WRITE, /* writing it */
	CLI_AT_SNAPSHOT,         /* looking up a snapshot */
	CLI_AT_CHAIN,            /* changing which images a disk consists of */
	CLI_AT_MERGE,            /* merging or removing one of them */
	CLI_AT_DEVICE,
	CLI_AT_MOUNT,
	CLI_AT_UMOUNT,
	CLI_AT_MKFS,
	CLI_AT_FSCK,
};

/* The stock exit code of a negative errno met at @step. Positive codes and 0 pass through. */
int cli_exit_code(int err, enum cli_step step);

#endif
