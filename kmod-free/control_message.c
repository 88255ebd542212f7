#include "control_message.h"

#include "control_rows.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

static const char *const methods[] = {
#define X(name, word) word,
	CONTROL_METHODS(X)
#undef X
};

const char *control_method_word(enum control_method method)
{
	return methods[method];
}

static void put_json(struct json_object *o)
{
	json_object_put(o);
}
DEFINE_AUTO(struct json_object *, json, put_json, NULL)
#define autojson __attribute__((cleanup(json_autop)))

static void free_tokener(struct json_tokener *t)
{
	json_tokener_free(t);
}
DEFINE_AUTO(struct json_tokener *, tokener, free_tokener, NULL)
#define autotokener __attribute__((cleanup(tokener_autop)))

/* ------------------------------------------------------------------ struct to text */

static struct json_object *buckets_of(const uint64_t *buckets)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < PL_LATENCY_BUCKETS; i++)
		json_object_array_add(list, json_object_new_uint64(buckets[i]));
	return list;
}

static struct json_object *value_of(const struct row *row, const void *field)
{
	switch (row->kind) {
	case KIND_U32:
		return json_object_new_uint64(*(const uint32_t *)field);
	case KIND_U64:
		return json_object_new_uint64(*(const uint64_t *)field);
	case KIND_BOOL:
		return json_object_new_boolean(*(const bool *)field);
	case KIND_TEXT:
		return json_object_new_string(field);
	case KIND_BUCKETS:
		return buckets_of(field);
	case KIND_INTO:
	case KIND_FULL:
	case KIND_SET_FULL:
		return json_object_new_string(words[row->kind][*(const unsigned *)field]);
	case KIND_END:
		break;
	}
	return NULL;
}

static bool is_default(const struct row *row, const void *field)
{
	return row->optional && ((row->kind == KIND_U32 && *(const uint32_t *)field == 0) ||
				 (row->kind == KIND_BOOL && !*(const bool *)field) ||
				 (row->kind == KIND_TEXT && *(const char *)field == '\0'));
}

static void add_rows(struct json_object *o, const struct row *rows, const void *from)
{
	for (const struct row *row = rows; row && row->kind; row++) {
		const void *field = (const char *)from + row->at;
		if (!is_default(row, field))
			json_object_object_add(o, row->key, value_of(row, field));
	}
}

/* One line. Slashes stay as they are: paths are read by people, too. */
static int to_line(struct json_object *o, char **out, size_t *bytes)
{
	size_t n = 0;
	const char *text = o ? json_object_to_json_string_length(
				       o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n)
			     : NULL;
	char *line = text ? malloc(n + 1) : NULL;
	if (!line)
		return pl_fail(-ENOMEM, "no memory for a control message");
	memcpy(line, text, n);
	line[n] = '\n';
	*out = line;
	*bytes = n + 1;
	return 0;
}

int control_request_encode(const struct control_request *request, char **out, size_t *bytes)
{
	autojson struct json_object *o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_uint64(request->id));
	json_object_object_add(o, "do", json_object_new_string(methods[request->method]));
	add_rows(o, request_rows[request->method], request);
	return to_line(o, out, bytes);
}

static struct json_object *members_of(const struct control_reply *reply)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; i < reply->member_count; i++) {
		struct json_object *o = json_object_new_object();
		json_object_object_add(o, "path", json_object_new_string(reply->members[i].path));
		add_rows(o, member_rows, &reply->members[i]);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *result_of(const struct control_reply *reply)
{
	struct json_object *o = json_object_new_object();
	add_rows(o, result_rows[reply->method], reply);
	if (reply->method == CONTROL_MEMBERS)
		json_object_object_add(o, "members", members_of(reply));
	return o;
}

static void add_error(struct json_object *o, const struct control_reply *reply)
{
	const char *name = strerrorname_np(-reply->err);
	json_object_object_add(o, "error", json_object_new_string(name ? name : "EIO"));
	json_object_object_add(o, "message", json_object_new_string(reply->message));
}

int control_reply_encode(const struct control_reply *reply, char **out, size_t *bytes)
{
	autojson struct json_object *o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_uint64(reply->id));
	switch (reply->kind) {
	case CONTROL_RESULT:
		json_object_object_add(o, "result", result_of(reply));
		break;
	case CONTROL_ERROR:
		add_error(o, reply);
		break;
	case CONTROL_PROGRESS:
		json_object_object_add(o, "event", json_object_new_string("progress"));
		add_rows(o, progress_rows, reply);
		break;
	}
	return to_line(o, out, bytes);
}

/* ------------------------------------------------------------------ text to struct */

static int read_number(const struct row *row, struct json_object *v, void *field)
{
	uint64_t n = json_object_get_uint64(v); /* 0 of a negative one; of one too large the largest */
	if (!json_object_is_type(v, json_type_int) || n > row->most || (n == 0 && json_object_get_int64(v) != 0))
		return pl_fail(-EINVAL, "%s: want a number up to %llu", row->key, (unsigned long long)row->most);
	if (row->kind == KIND_U32)
		*(uint32_t *)field = (uint32_t)n;
	else
		*(uint64_t *)field = n;
	return 0;
}

static int read_text(const struct row *row, struct json_object *v, char *field)
{
	const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
	size_t n = text ? strlen(text) : 0;
	if (!text || n >= row->most || n != (size_t)json_object_get_string_len(v))
		return pl_fail(-EINVAL, "%s: want a string of less than %llu bytes, none of them zero", row->key,
			       (unsigned long long)row->most);
	memcpy(field, text, n + 1);
	return 0;
}

static int read_word(const struct row *row, struct json_object *v, unsigned *field)
{
	const char *text = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
	char known[64] = "";
	for (unsigned i = 0; words[row->kind][i]; i++) {
		const char *word = words[row->kind][i];
		if (strcmp(text, word) == 0) {
			*field = i;
			return 0;
		}
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s\"%s\"", i ? " or " : "", word);
	}
	return pl_fail(-EINVAL, "%s: want %s", row->key, known);
}

static int read_buckets(const struct row *row, struct json_object *v, uint64_t *field)
{
	if (!json_object_is_type(v, json_type_array) || json_object_array_length(v) != PL_LATENCY_BUCKETS)
		return pl_fail(-EINVAL, "%s: want %u numbers", row->key, PL_LATENCY_BUCKETS);
	const struct row number = {.key = row->key, .kind = KIND_U64, .most = row->most};
	int r = 0;
	for (size_t i = 0; i < PL_LATENCY_BUCKETS && r == 0; i++)
		r = read_number(&number, json_object_array_get_idx(v, i), &field[i]);
	return r;
}

static int read_value(const struct row *row, struct json_object *v, void *field)
{
	switch (row->kind) {
	case KIND_U32:
	case KIND_U64:
		return read_number(row, v, field);
	case KIND_BOOL:
		if (!json_object_is_type(v, json_type_boolean))
			return pl_fail(-EINVAL, "%s: want true or false", row->key);
		*(bool *)field = json_object_get_boolean(v);
		return 0;
	case KIND_TEXT:
		return read_text(row, v, field);
	case KIND_BUCKETS:
		return read_buckets(row, v, field);
	case KIND_INTO:
	case KIND_FULL:
	case KIND_SET_FULL:
		return read_word(row, v, field);
	case KIND_END:
		break;
	}
	return -EINVAL;
}

static int read_rows(struct json_object *o, const struct row *rows, void *to)
{
	for (const struct row *row = rows; row && row->kind; row++) {
		struct json_object *v;
		if (!json_object_object_get_ex(o, row->key, &v)) {
			if (row->optional)
				continue;
			return pl_fail(-EINVAL, "%s: is missing", row->key);
		}
		int r = read_value(row, v, (char *)to + row->at);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The object that is all of the line, or NULL. */
static struct json_object *parse(const char *line, size_t bytes)
{
	autotokener struct json_tokener *t = json_tokener_new_ex(CONTROL_MAX_DEPTH);
	if (!t || bytes > INT32_MAX)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	autojson struct json_object *o = json_tokener_parse_ex(t, line, (int)bytes);
	bool whole = json_tokener_get_error(t) == json_tokener_success && json_tokener_get_parse_end(t) == bytes;
	return whole && json_object_is_type(o, json_type_object) ? json_steal(&o) : NULL;
}

static bool read_id(struct json_object *o, uint64_t *id)
{
	struct json_object *v;
	const struct row row = {.key = "id", .kind = KIND_U64, .most = INT64_MAX};
	return json_object_object_get_ex(o, row.key, &v) && read_number(&row, v, id) == 0;
}

static const struct row *find_row(const struct row *rows, const char *key)
{
	for (const struct row *row = rows; row->kind; row++)
		if (strcmp(row->key, key) == 0)
			return row;
	return NULL;
}

/* Who says more than we understand means something that we would not do. */
static int refuse_unknown_words(struct json_object *o, const struct control_request *request)
{
	json_object_object_foreach(o, key, value) {
		(void)value;
		if (strcmp(key, "id") != 0 && strcmp(key, "do") != 0 && !find_row(request_rows[request->method], key))
			return pl_fail(-EINVAL, "%s takes no \"%.40s\"", methods[request->method], key);
	}
	return 0;
}

static int read_method(struct json_object *o, enum control_method *out)
{
	struct json_object *v;
	if (!json_object_object_get_ex(o, "do", &v) || !json_object_is_type(v, json_type_string))
		return pl_fail(-EINVAL, "do: want the name of a method");
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		if (strcmp(methods[i], json_object_get_string(v)) == 0) {
			*out = (enum control_method)i;
			return 0;
		}
	}
	return pl_fail(-EOPNOTSUPP, "\"%.40s\" is no method of this server", json_object_get_string(v));
}

int control_request_decode(const char *line, size_t bytes, struct control_request *out)
{
	*out = (struct control_request){0};
	autojson struct json_object *o = parse(line, bytes);
	if (!o)
		return pl_fail(-EBADMSG, "a request is a line with one JSON object");
	if (!read_id(o, &out->id) || out->id == 0) {
		out->id = 0;
		return pl_fail(-EBADMSG, "a request has an id, a number from 1 on");
	}
	int r = read_method(o, &out->method);
	if (r == 0)
		r = refuse_unknown_words(o, out);
	return r == 0 ? read_rows(o, request_rows[out->method], out) : r;
}

/* ------------------------------------------------------------------ replies */

/* The array first, the paths behind it. */
static int read_members(struct json_object *result, struct control_reply *out)
{
	struct json_object *list;
	if (!json_object_object_get_ex(result, "members", &list) || !json_object_is_type(list, json_type_array))
		return pl_fail(-EINVAL, "members: want a list");
	size_t n = json_object_array_length(list), bytes = n * sizeof(struct pl_member);
	for (size_t i = 0; i < n; i++) {
		struct json_object *path, *o = json_object_array_get_idx(list, i);
		if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, "path", &path) ||
		    !json_object_is_type(path, json_type_string))
			return pl_fail(-EINVAL, "members: one has no path");
		bytes += strlen(json_object_get_string(path)) + 1;
	}
	autofree struct pl_member *members = calloc(1, bytes ? bytes : 1);
	if (!members)
		return pl_fail(-ENOMEM, "no memory for %zu members", n);
	char *at = (char *)(members + n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(list, i);
		const char *path = json_object_get_string(json_object_object_get(o, "path"));
		int r = read_rows(o, member_rows, &members[i]);
		if (r < 0)
			return r;
		members[i].path = at;
		size_t length = strlen(path) + 1;
		memcpy(at, path, length);
		at += length;
	}
	out->members = mem_steal(&members);
	out->member_count = n;
	return 0;
}

static int errno_of(const char *name)
{
	for (int e = 1; e < 256; e++) {
		const char *known = strerrorname_np(e);
		if (known && strcmp(known, name) == 0)
			return -e;
	}
	return -EIO;
}

static void read_error(struct json_object *o, struct json_object *name, struct control_reply *out)
{
	struct json_object *message;
	out->err = errno_of(json_object_is_type(name, json_type_string) ? json_object_get_string(name) : "");
	bool said = json_object_object_get_ex(o, "message", &message) && json_object_is_type(message, json_type_string);
	snprintf(out->message, sizeof(out->message), "%s", said ? json_object_get_string(message) : "");
}

static int read_reply(struct json_object *o, const struct control_request *awaited, struct control_reply *out)
{
	struct json_object *v;
	out->method = awaited->method;
	if (json_object_object_get_ex(o, "error", &v)) {
		out->kind = CONTROL_ERROR;
		read_error(o, v, out);
		return 0;
	}
	if (out->id == awaited->id && json_object_object_get_ex(o, "event", &v)) {
		out->kind = CONTROL_PROGRESS;
		return read_rows(o, progress_rows, out);
	}
	out->kind = CONTROL_RESULT;
	if (out->id != awaited->id)
		return 0;
	if (!json_object_object_get_ex(o, "result", &v) || !json_object_is_type(v, json_type_object))
		return pl_fail(-EINVAL, "there is no result");
	if (awaited->method == CONTROL_MEMBERS)
		return read_members(v, out);
	return read_rows(v, result_rows[awaited->method], out);
}

int control_reply_decode(const char *line, size_t bytes, const struct control_request *awaited,
			 struct control_reply *out)
{
	*out = (struct control_reply){0};
	autojson struct json_object *o = parse(line, bytes);
	if (!o || !read_id(o, &out->id))
		return pl_fail(-EPROTO, "the server's answer is not understood");
	int r = read_reply(o, awaited, out);
	if (r < 0 && r != -ENOMEM)
		return pl_wrap(-EPROTO, "the server's answer to %s", methods[awaited->method]);
	return r;
}
