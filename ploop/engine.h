/* What snapshot/ may use of the engine besides ploop.h: the pieces that its operations are made of. */
#ifndef PLOOP_ENGINE_H
#define PLOOP_ENGINE_H

#include "ploop/bundle.h"
#include "ploop/fold.h"
#include "ploop/image_fd.h"
#include "ploop/image_file.h"
#include "ploop/lock.h"
#include "ploop/settle.h"
#include "ploop/survive.h"

#endif
