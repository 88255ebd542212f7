/* Merging bare image files, for the two commands that do it. */
#ifndef PLOOP_CLI_MERGE_IMAGES_H
#define PLOOP_CLI_MERGE_IMAGES_H

#include <stdbool.h>

/* Merge the files @words, base last, into the base, or into the new file @into. Only with @raw_base may the base be a
 * file without a header. Returns an exit code or CLI_MISUSE. */
int merge_images(int count, char **words, const char *into, bool raw_base);

#endif
