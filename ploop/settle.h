/* Bring what a dead server left in its holder's memory (D2) into the image, for those who repair images. */
#ifndef PLOOP_SETTLE_H
#define PLOOP_SETTLE_H

#include "ploop.h"

/* 1: there was something, and the image has it now, durable, and is closed. 0: nothing, or a live server has the image.
 * -errno: there is something and it cannot be brought in; the sentence says why. */
int settle_image(const struct pl_image_ref *ref);

#endif
