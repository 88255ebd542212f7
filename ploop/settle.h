/* Bring what a dead server left in its holder's memory (D2) into the image, for those who repair images. */
#ifndef PLOOP_SETTLE_H
#define PLOOP_SETTLE_H

#include "ploop.h"

/* 1: there was something, and the image has it now, durable, and is closed. 0: nothing, or a live server has the image.
 * -errno: there is something and it cannot be brought in; the sentence says why. */
int settle_image(const struct pl_image_ref *ref);

/* The same for the top of @chain, with the images that its partial clusters need. */
int settle_chain(const struct pl_chain_spec *chain);

/* The same for an image, the top of @chain as far as that goes, that cannot be opened with its chain as it is: below
 * the top and marked in use, because its server died before it was sealed (seal.h) or while a merge wrote into it;
 * or a top that a merge was draining. Without anything to bring in it is only closed, if we may. */
int settle_below(const struct pl_chain_spec *chain);

#endif
