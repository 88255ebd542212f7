/* Between the two halves of the reader: the element tree (descriptor.c, libxml2) and its meaning (descriptor_read.c).
 */
#ifndef PLOOP_LAYOUT_DESCRIPTOR_XML_H
#define PLOOP_LAYOUT_DESCRIPTOR_XML_H

#include "layout/descriptor.h"

typedef struct _xmlNode xmlNode; /* libxml2's, opaque outside descriptor.c */

/* The first child of that name, as stock looks them up; NULL when there is none or no parent. */
xmlNode *lay_xml_child(const xmlNode *parent, const char *name);
/* The next sibling of that name, or NULL. */
xmlNode *lay_xml_next(const xmlNode *node, const char *name);

const char *lay_xml_name(const xmlNode *node);
long lay_xml_line(const xmlNode *node);
/* The content, malloc'ed; NULL: no memory. */
char *lay_xml_text(const xmlNode *node);

/* The element with all below it as lines of text, malloc'ed, indented for @depth. NULL: no memory. */
char *lay_xml_dump(xmlNode *node, int depth);
/* The same for the children whose names are not in the NULL-terminated list; *@out stays when there are none. -ENOMEM.
 */
int lay_xml_dump_unknown(const xmlNode *parent, int depth, const char *const *known, char **out);

/* The meaning of a tree, in *@d as far as it got on failure. */
int lay_desc_read(const xmlNode *root, struct lay_desc *d, struct lay_desc_why *why);

#endif
