/* The element tree of a descriptor: the only user of libxml2.
 *
 * lay_desc_parse: bytes -> limits and well-formedness (here) -> values of elements (descriptor_read.c) -> tree of GUIDs
 * (descriptor_tree.c). The parser never fetches anything and never sees an entity: a DOCTYPE stops it. Memory and time
 * are bounded by the LAY_DESC_MAX_ limits, which are enforced while parsing. */
#include "layout/descriptor_tree.h"
#include "layout/descriptor_xml.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xmlIO.h>
#include <stdio.h>
#include <string.h>

DEFINE_AUTO(xmlDoc *, doc, xmlFreeDoc, NULL)
#define autodoc __attribute__((cleanup(doc_autop)))
DEFINE_AUTO(xmlParserCtxt *, ctxt, xmlFreeParserCtxt, NULL)
#define autoctxt __attribute__((cleanup(ctxt_autop)))
DEFINE_AUTO(xmlChar *, xmlchar, xmlFree, NULL)
#define autoxmlchar __attribute__((cleanup(xmlchar_autop)))

/* ---- bytes to tree, with limits */

struct watch {
	struct lay_desc_why *why;
	bool refused;
	uint32_t elements;
};

static void on_doctype(void *parser, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
	xmlParserCtxt *ctxt = parser;
	struct watch *watch = ctxt->_private;
	watch->refused = true;
	lay_desc_refuse(watch->why, -EUCLEAN, "it has a DOCTYPE: entities are not supported");
	xmlStopParser(ctxt);
}

static void on_element(void *parser, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri, int ns_count,
		       const xmlChar **ns, int attribute_count, int defaulted_count, const xmlChar **attributes)
{
	xmlParserCtxt *ctxt = parser;
	struct watch *watch = ctxt->_private;
	watch->elements++;
	watch->refused = watch->elements > LAY_DESC_MAX_ELEMENTS || ctxt->nodeNr >= LAY_DESC_MAX_DEPTH;
	if (!watch->refused) {
		xmlSAX2StartElementNs(ctxt, name, prefix, uri, ns_count, ns, attribute_count, defaulted_count,
				      attributes);
		return;
	}
	lay_desc_refuse(watch->why, -EUCLEAN, "line %d: element number %u at level %d: the limits are %u and %d",
			xmlSAX2GetLineNumber(ctxt), watch->elements, ctxt->nodeNr + 1, LAY_DESC_MAX_ELEMENTS,
			LAY_DESC_MAX_DEPTH);
	xmlStopParser(ctxt);
}

static int refuse_syntax(const xmlParserCtxt *ctxt, struct lay_desc_why *why)
{
	const xmlError *e = &ctxt->lastError;
	const char *message = e->message ? e->message : "no root element";
	return lay_desc_refuse(why, -EUCLEAN, "line %d is not valid XML: %.*s", e->line, (int)strcspn(message, "\n"),
			       lay_shown(message).text);
}

static int check_size(const char *xml, size_t bytes, struct lay_desc_why *why)
{
	if (bytes > LAY_DESC_MAX_BYTES)
		return lay_desc_refuse(why, -EUCLEAN, "it is %zu bytes long, the limit is %llu", bytes,
				       (unsigned long long)LAY_DESC_MAX_BYTES);
	if (bytes == 0)
		return lay_desc_refuse(why, -EUCLEAN, "it is empty");
	size_t equal_signs = 0;
	for (size_t i = 0; i < bytes; i++)
		equal_signs += xml[i] == '=';
	if (equal_signs > LAY_DESC_MAX_EQUAL_SIGNS)
		return lay_desc_refuse(why, -EUCLEAN, "it has %zu equal signs (attributes), the limit is %u",
				       equal_signs, LAY_DESC_MAX_EQUAL_SIGNS);
	return 0;
}

static int load(const char *xml, size_t bytes, xmlDoc **out, struct lay_desc_why *why)
{
	int r = check_size(xml, bytes, why);
	if (r)
		return r;
	autoctxt xmlParserCtxt *ctxt = xmlNewParserCtxt();
	if (!ctxt)
		return lay_desc_refuse(why, -ENOMEM, "no memory to parse it");
	struct watch watch = {why, false, 0};
	ctxt->_private = &watch;
	ctxt->sax->internalSubset = on_doctype;
	ctxt->sax->startElementNs = on_element;
	ctxt->sax->comment = NULL; /* not counted as elements, so not kept either */
	ctxt->sax->processingInstruction = NULL;

	/* The encoding is given rather than believed: check_size() has looked at bytes. */
	autodoc xmlDoc *doc = xmlCtxtReadMemory(ctxt, xml, (int)bytes, NULL, "UTF-8",
						XML_PARSE_NONET | XML_PARSE_NOBLANKS | XML_PARSE_NOCDATA |
							XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (watch.refused)
		return -EUCLEAN;
	if (!doc || !xmlDocGetRootElement(doc))
		return refuse_syntax(ctxt, why);
	*out = doc_steal(&doc);
	return 0;
}

/* ---- elements */

static xmlNode *this_or_next(xmlNode *node, const char *name)
{
	while (node && (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name)))
		node = node->next;
	return node;
}

xmlNode *lay_xml_child(const xmlNode *parent, const char *name)
{
	return parent ? this_or_next(parent->children, name) : NULL;
}

xmlNode *lay_xml_next(const xmlNode *node, const char *name)
{
	return this_or_next(node->next, name);
}

const char *lay_xml_name(const xmlNode *node)
{
	return (const char *)node->name;
}

long lay_xml_line(const xmlNode *node)
{
	return xmlGetLineNo(node);
}

char *lay_xml_text(const xmlNode *node)
{
	autoxmlchar xmlChar *text = xmlNodeGetContent(node);
	return text ? strdup((const char *)text) : NULL;
}

static int dump_to(FILE *f, xmlNode *node, int depth)
{
	xmlOutputBuffer *out = xmlOutputBufferCreateFile(f, NULL);
	if (!out)
		return -ENOMEM;
	fprintf(f, "%*s", 2 * depth, "");
	xmlNodeDumpOutput(out, node->doc, node, depth, 1, "UTF-8");
	int n = xmlOutputBufferClose(out); /* flushes; @f stays open */
	fputc('\n', f);
	return n < 0 || ferror(f) ? -ENOMEM : 0;
}

char *lay_xml_dump(xmlNode *node, int depth)
{
	autofree char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	if (!f)
		return NULL;
	int r = dump_to(f, node, depth);
	return fclose(f) || r ? NULL
			      : mem_steal(&text); /* NULL also when fclose() had no memory, which it keeps quiet */
}

static bool is_listed(const xmlNode *node, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp((const char *)node->name, *list))
			return true;
	return false;
}

int lay_xml_dump_unknown(const xmlNode *parent, int depth, const char *const *known, char **out)
{
	autofree char *text = NULL;
	size_t n = 0;
	int r = 0;
	FILE *f = open_memstream(&text, &n);
	if (!f)
		return -ENOMEM;
	for (xmlNode *i = parent ? parent->children : NULL; i && !r; i = i->next)
		if (i->type == XML_ELEMENT_NODE && !is_listed(i, known))
			r = dump_to(f, i, depth);
	if (fclose(f) || r || !text)
		return -ENOMEM;
	if (n)
		*out = mem_steal(&text);
	return 0;
}

/* ---- the whole */

static void on_error(void *arg, xmlError *e)
{
	bool *no_memory = arg;
	*no_memory |= e->code == XML_ERR_NO_MEMORY;
}

static int parse(const char *xml, size_t bytes, struct lay_desc *d, struct lay_desc_why *why)
{
	autodoc xmlDoc *doc = NULL;
	int r = load(xml, bytes, &doc, why);
	return r ? r : lay_desc_read(xmlDocGetRootElement(doc), d, why);
}

int lay_desc_parse(const void *xml, size_t bytes, struct lay_desc *out, struct lay_desc_why *why)
{
	/* libxml2 leaves text out when it has no memory for it, and says so only here; otherwise it prints. */
	bool no_memory = false;
	xmlStructuredErrorFunc callers = xmlStructuredError;
	void *callers_arg = xmlStructuredErrorContext;
	autodesc struct lay_desc d = {0};

	xmlSetStructuredErrorFunc(&no_memory, on_error);
	int r = parse(xml, bytes, &d, why);
	xmlSetStructuredErrorFunc(callers_arg, callers);
	if (no_memory)
		r = lay_desc_refuse(why, -ENOMEM, "no memory to read it");
	if (r)
		return r;
	*out = d;
	d = (struct lay_desc){0};
	return 0;
}
