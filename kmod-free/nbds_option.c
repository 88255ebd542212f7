/* Negotiation: one paragraph per option. Whatever the client says is checked here once; a wrong magic or a length past
 * the limit ends the connection, anything else wrong gets an error reply with a sentence. */
#include "nbds_conn.h"

#include "base/byteorder.h"
#include "base/invariant.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ answers */

/* Out of memory for a few bytes of text: the connection goes. */
#define ANSWER(c, ok, next) ((ok) ? (next) : nbds_drop((c), "no memory for an answer"))

static bool put_reply_head(struct nbds_conn *c, uint32_t reply, uint32_t bytes)
{
	uint8_t head[NBDS_REP_HEAD_BYTES];
	store_be64(head, NBDS_REP_MAGIC);
	store_be32(head + 8, c->option);
	store_be32(head + 12, reply);
	store_be32(head + 16, bytes);
	return nbds_text_add(c, head, sizeof(head));
}

static bool put_reply(struct nbds_conn *c, uint32_t reply, const void *data, uint32_t bytes)
{
	return put_reply_head(c, reply, bytes) && nbds_text_add(c, data, bytes);
}

static enum conn_state acknowledge(struct nbds_conn *c, enum conn_state next)
{
	return ANSWER(c, put_reply_head(c, NBDS_REP_ACK, 0), next);
}

static enum conn_state refuse(struct nbds_conn *c, uint32_t reply, const char *text)
{
	return ANSWER(c, put_reply(c, reply, text, (uint32_t)strlen(text)), CONN_OPT_HEAD);
}

/* ------------------------------------------------------------------ reading option data */

/* What is left of an option's data. A read past its end makes it bad for good. */
struct cursor {
	const uint8_t *at;
	uint32_t left;
	bool bad;
};

static const uint8_t *take(struct cursor *r, uint32_t bytes)
{
	static const uint8_t nothing[4];
	if (r->bad || bytes > r->left) {
		r->bad = true;
		return nothing;
	}
	const uint8_t *p = r->at;
	r->at += bytes;
	r->left -= bytes;
	return p;
}

struct text {
	const char *at;
	uint32_t bytes;
};

/* u32 length, bytes. */
static struct text take_text(struct cursor *r)
{
	uint32_t bytes = load_be32(take(r, 4));
	if (bytes > NBDS_MAX_NAME_BYTES)
		r->bad = true;
	const char *at = (const char *)take(r, r->bad ? 0 : bytes);
	return (struct text){at, r->bad ? 0 : bytes};
}

static bool text_is(struct text t, const char *s)
{
	return t.bytes == strlen(s) && memcmp(t.at, s, t.bytes) == 0;
}

static const struct nbds_export *find_export(const struct nbds_conn *c, struct text name)
{
	for (size_t i = 0; i < c->export_count; i++)
		if (text_is(name, c->exports[i].name))
			return &c->exports[i];
	return NULL;
}

/* ------------------------------------------------------------------ HELLO, OPT_HEAD */

enum conn_state nbds_on_hello(struct nbds_conn *c, const uint8_t *p)
{
	uint32_t flags = load_be32(p);
	if (flags & ~(NBDS_FLAG_FIXED_NEWSTYLE | NBDS_FLAG_NO_ZEROES))
		return nbds_drop(c, "client flags %#x, known are %#x", flags,
				 NBDS_FLAG_FIXED_NEWSTYLE | NBDS_FLAG_NO_ZEROES);
	c->fixed_newstyle = flags & NBDS_FLAG_FIXED_NEWSTYLE;
	c->no_zeroes = flags & NBDS_FLAG_NO_ZEROES;
	return CONN_OPT_HEAD;
}

enum conn_state nbds_on_option_head(struct nbds_conn *c, const uint8_t *p)
{
	if (load_be64(p) != NBDS_OPTION_MAGIC)
		return nbds_drop(c, "option magic %#018llx", (unsigned long long)load_be64(p));
	c->option = load_be32(p + 8);
	c->want = load_be32(p + 12);
	if (c->want > NBDS_MAX_OPTION_BYTES)
		return nbds_drop(c, "option %u has %u bytes, the limit is %u", c->option, c->want,
				 NBDS_MAX_OPTION_BYTES);
	if (!c->fixed_newstyle && c->option != NBDS_OPT_EXPORT_NAME)
		return nbds_drop(c, "option %u from a client without fixed newstyle", c->option);
	return CONN_OPT_DATA;
}

/* ------------------------------------------------------------------ the options */

static void start_transmission(struct nbds_conn *c, const struct nbds_export *e)
{
	c->export = e;
	if (c->meta_export != e)
		c->contexts = 0;
	pl_log(PL_LOG_INFO, "nbd", "client connected peer=%s export=%s tls=%d structured=%d", c->peer, e->name,
	       c->encrypted, c->structured);
}

/* Old clients: no error reply exists, so a wrong name ends the connection. */
static enum conn_state on_export_name(struct nbds_conn *c, struct cursor *r)
{
	if (r->left > NBDS_MAX_NAME_BYTES)
		return nbds_drop(c, "export name of %u bytes, the limit is %u", r->left, NBDS_MAX_NAME_BYTES);
	const struct nbds_export *e = find_export(c, (struct text){(const char *)r->at, r->left});
	if (!e)
		return nbds_drop(c, "no such export");

	uint8_t data[10 + NBDS_EXPORT_NAME_ZEROES] = {0};
	store_be64(data, e->size_bytes);
	store_be16(data + 8, nbds_transmission_flags(c, e));
	start_transmission(c, e);
	return ANSWER(c, nbds_text_add(c, data, c->no_zeroes ? 10 : sizeof(data)), CONN_REQ_HEAD);
}

static enum conn_state on_abort(struct nbds_conn *c, struct cursor *r)
{
	return acknowledge(c, CONN_CLOSING);
}

static enum conn_state on_list(struct nbds_conn *c, struct cursor *r)
{
	if (r->left)
		return refuse(c, NBDS_REP_ERR_INVALID, "LIST has no data");
	for (size_t i = 0; i < c->export_count; i++) {
		uint8_t length[4];
		uint32_t bytes = (uint32_t)strlen(c->exports[i].name);
		store_be32(length, bytes);
		if (!put_reply_head(c, NBDS_REP_SERVER, 4 + bytes) || !nbds_text_add(c, length, 4) ||
		    !nbds_text_add(c, c->exports[i].name, bytes))
			return nbds_drop(c, "no memory for an answer");
	}
	return acknowledge(c, CONN_OPT_HEAD);
}

/* Bytes behind the request came in the clear: somebody in the middle may have put them there. */
static enum conn_state on_starttls(struct nbds_conn *c, struct cursor *r)
{
	if (r->left)
		return refuse(c, NBDS_REP_ERR_INVALID, "STARTTLS has no data");
	if (c->tls_policy == NBDS_TLS_OFF)
		return refuse(c, NBDS_REP_ERR_POLICY, "this server has no TLS");
	if (c->encrypted)
		return refuse(c, NBDS_REP_ERR_INVALID, "TLS has started already");
	uint32_t behind = c->in_end - c->in_start - c->want;
	if (behind)
		return nbds_drop(c, "%u bytes in the clear behind STARTTLS", behind);
	return acknowledge(c, CONN_TLS);
}

static bool put_info_export(struct nbds_conn *c, const struct nbds_export *e)
{
	uint8_t data[12];
	store_be16(data, NBDS_INFO_EXPORT);
	store_be64(data + 2, e->size_bytes);
	store_be16(data + 10, nbds_transmission_flags(c, e));
	return put_reply(c, NBDS_REP_INFO, data, sizeof(data));
}

static bool put_info_block_size(struct nbds_conn *c)
{
	uint8_t data[14];
	store_be16(data, NBDS_INFO_BLOCK_SIZE);
	store_be32(data + 2, NBDS_MIN_BLOCK_BYTES);
	store_be32(data + 6, NBDS_PREFERRED_BLOCK_BYTES);
	store_be32(data + 10, NBDS_MAX_PAYLOAD_BYTES);
	return put_reply(c, NBDS_REP_INFO, data, sizeof(data));
}

static bool put_info_text(struct nbds_conn *c, uint16_t info, const char *text)
{
	uint8_t type[2];
	store_be16(type, info);
	size_t bytes = strlen(text);
	return put_reply_head(c, NBDS_REP_INFO, 2 + (uint32_t)bytes) && nbds_text_add(c, type, 2) &&
	       nbds_text_add(c, text, bytes);
}

/* name, u16 count, u16 wanted infos. The block sizes are told unasked: requests off them are refused. */
static enum conn_state on_info_or_go(struct nbds_conn *c, struct cursor *r)
{
	struct text name = take_text(r);
	uint16_t count = load_be16(take(r, 2));
	if (r->bad || r->left != count * 2u)
		return refuse(c, NBDS_REP_ERR_INVALID, "lengths inside the option do not add up");
	const struct nbds_export *e = find_export(c, name);
	if (!e)
		return refuse(c, NBDS_REP_ERR_UNKNOWN, "no such export");

	bool ok = put_info_export(c, e) && put_info_block_size(c);
	bool wants_name = false, wants_description = false;
	for (uint16_t i = 0; i < count; i++) {
		uint16_t info = load_be16(take(r, 2));
		wants_name |= info == NBDS_INFO_NAME;
		wants_description |= info == NBDS_INFO_DESCRIPTION;
	}
	if (wants_name)
		ok = ok && put_info_text(c, NBDS_INFO_NAME, e->name);
	if (wants_description && e->description)
		ok = ok && put_info_text(c, NBDS_INFO_DESCRIPTION, e->description);
	if (!ok)
		return nbds_drop(c, "no memory for an answer");
	if (c->option == NBDS_OPT_INFO)
		return acknowledge(c, CONN_OPT_HEAD);
	start_transmission(c, e);
	return acknowledge(c, CONN_REQ_HEAD);
}

static enum conn_state on_structured_reply(struct nbds_conn *c, struct cursor *r)
{
	if (r->left)
		return refuse(c, NBDS_REP_ERR_INVALID, "STRUCTURED_REPLY has no data");
	c->structured = true;
	return acknowledge(c, CONN_OPT_HEAD);
}

/* ------------------------------------------------------------------ metadata contexts */

static const struct {
	const char *name;
	const char *namespace; /* with its colon */
} context_table[NBDS_CONTEXT_COUNT] = {
	[NBDS_BASE_ALLOCATION] = {"base:allocation", "base:"},
	[NBDS_ALLOCATION_DEPTH] = {"qemu:allocation-depth", "qemu:"},
};

/* LIST takes a bare namespace, too; SET wants whole names. Unknown ones are passed over. */
static uint32_t contexts_for(const struct nbds_conn *c, struct text query)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < NBDS_CONTEXT_COUNT; i++)
		if (text_is(query, context_table[i].name) ||
		    (c->option == NBDS_OPT_LIST_META_CONTEXT && text_is(query, context_table[i].namespace)))
			found |= BIT(i);
	return found;
}

static bool put_context(struct nbds_conn *c, uint32_t context)
{
	uint8_t id[4];
	const char *name = context_table[context].name;
	store_be32(id, c->option == NBDS_OPT_SET_META_CONTEXT ? context : 0);
	return put_reply_head(c, NBDS_REP_META_CONTEXT, 4 + (uint32_t)strlen(name)) && nbds_text_add(c, id, 4) &&
	       nbds_text_add(c, name, strlen(name));
}

/* name, u32 count, queries. A SET, also a failing one, forgets the contexts set before. */
static enum conn_state on_meta_context(struct nbds_conn *c, struct cursor *r)
{
	bool set = c->option == NBDS_OPT_SET_META_CONTEXT;
	if (set)
		c->contexts = 0;
	if (!c->structured)
		return refuse(c, NBDS_REP_ERR_INVALID, "ask for STRUCTURED_REPLY first");

	struct text name = take_text(r);
	uint32_t count = load_be32(take(r, 4));
	uint32_t found = count == 0 && !set ? BIT(NBDS_CONTEXT_COUNT) - 1 : 0;
	for (uint32_t i = 0; i < count && !r->bad; i++)
		found |= contexts_for(c, take_text(r));
	if (r->bad || r->left)
		return refuse(c, NBDS_REP_ERR_INVALID, "lengths inside the option do not add up");
	const struct nbds_export *e = find_export(c, name);
	if (!e)
		return refuse(c, NBDS_REP_ERR_UNKNOWN, "no such export");

	for (uint32_t i = 0; i < NBDS_CONTEXT_COUNT; i++)
		if ((found & BIT(i)) && !put_context(c, i))
			return nbds_drop(c, "no memory for an answer");
	if (set) {
		c->contexts = found;
		c->meta_export = e;
	}
	return acknowledge(c, CONN_OPT_HEAD);
}

/* ------------------------------------------------------------------ OPT_DATA */

enum conn_state nbds_on_option_data(struct nbds_conn *c, const uint8_t *p)
{
	struct cursor r = {p, c->want, false};
	if (c->tls_policy == NBDS_TLS_REQUIRED && !c->encrypted && c->option != NBDS_OPT_STARTTLS &&
	    c->option != NBDS_OPT_ABORT) {
		if (c->option == NBDS_OPT_EXPORT_NAME)
			return nbds_drop(c, "an export was asked for without TLS");
		return refuse(c, NBDS_REP_ERR_TLS_REQD, "this server wants TLS first");
	}
	switch (c->option) {
	case NBDS_OPT_EXPORT_NAME:
		return on_export_name(c, &r);
	case NBDS_OPT_ABORT:
		return on_abort(c, &r);
	case NBDS_OPT_LIST:
		return on_list(c, &r);
	case NBDS_OPT_STARTTLS:
		return on_starttls(c, &r);
	case NBDS_OPT_INFO:
	case NBDS_OPT_GO:
		return on_info_or_go(c, &r);
	case NBDS_OPT_STRUCTURED_REPLY:
		return on_structured_reply(c, &r);
	case NBDS_OPT_LIST_META_CONTEXT:
	case NBDS_OPT_SET_META_CONTEXT:
		return on_meta_context(c, &r);
	default:
		return refuse(c, NBDS_REP_ERR_UNSUP, "unknown option");
	}
}
