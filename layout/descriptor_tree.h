/* Between the parts of the descriptor: what the XML said about Shots, and how a refusal is written. */
#ifndef PLOOP_LAYOUT_DESCRIPTOR_TREE_H
#define PLOOP_LAYOUT_DESCRIPTOR_TREE_H

#include "layout/descriptor.h"

struct lay_desc_shot {
	struct lay_guid guid;
	struct lay_guid parent;
	enum lay_desc_state state;
};

/* Join @shots with the nodes of @desc (which have GUID and file so far) and check that the result is a tree. @shots
 * has room for one more. A missing TopGUID is desc->top.text "". -EUCLEAN, -ELOOP, -ENOMEM. */
int lay_desc_join(struct lay_desc *desc, struct lay_desc_shot *shots, size_t shot_count, struct lay_desc_why *why);

/* Write the sentence and return @err. */
int lay_desc_refuse(struct lay_desc_why *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A value for a sentence: cut, and without bytes that a terminal could obey. */
struct lay_shown {
	char text[68];
};
struct lay_shown lay_shown(const char *value);

#endif
