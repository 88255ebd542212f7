/* Looking at an image file without opening it. */
#ifndef PLOOP_IMAGE_FD_H
#define PLOOP_IMAGE_FD_H

#include "ploop.h"

#include <sys/stat.h>

/* Reach the file as pl_image_open_fd() would and refuse what it would refuse by type. */
int image_look(const struct pl_image_ref *ref, struct stat *st);

#endif
