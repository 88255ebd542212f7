/* Disks that are block devices of this machine now, and must be left alone. */
#ifndef PLOOP_CLI_ATTACHED_H
#define PLOOP_CLI_ATTACHED_H

/* 0, or the exit code for "in use" with a sentence that names the device of the disk that @word means. */
int attached_refuse(const char *word);

#endif
