/* An image is one word, FORMAT:FD:GUID:LENGTH:NAME:PATH. FD is the inherited folder that NAME lies in and LENGTH how
 * many bytes NAME has; an image that the operator named by its path alone is FORMAT:-1::0::PATH. */
#include "server_args.h"

#include "base/cleanup.h"
#include "base/invariant.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum kind { KIND_FLAG, KIND_TEXT, KIND_PATH, KIND_U32, KIND_U64, KIND_IMAGE, KIND_UID, KIND_WORD };

#define AT(field) offsetof(struct pl_serve_options, field)

static const struct row {
	const char *name;
	enum kind kind;
	size_t at;
	const char *help;
} rows[] = {
	{"--image", KIND_IMAGE, 0, "FORMAT:FD:GUID:LENGTH:NAME:PATH  an image of the chain, base first"},
	{"--cluster-sectors", KIND_U32, AT(chain.cluster_sectors), "N  cluster size the descriptor tells"},
	{"--size-sectors", KIND_U64, AT(chain.size_sectors), "N  disk size the descriptor tells"},
	{"--preallocated", KIND_FLAG, AT(chain.preallocated), "discard keeps the space"},
	{"--no-partial", KIND_FLAG, AT(no_partial), "copy whole clusters at a first write"},
	{"--leave", KIND_FLAG, AT(leave), "do not fill partial clusters at the end"},
	{"--read-only", KIND_FLAG, AT(readonly), "refuse writes"},
	{"--export", KIND_TEXT, AT(export_name), "NAME  what clients ask for; default: the empty name"},
	{"--description", KIND_TEXT, AT(description), "TEXT  what clients may show"},
	{"--socket", KIND_PATH, AT(socket), "PATH  serve NBD at this unix socket"},
	{"--tcp", KIND_TEXT, AT(tcp), "HOST:PORT  serve NBD there; needs TLS or --insecure-tcp"},
	{"--tls-x509", KIND_PATH, AT(tls_certificates), "DIR  ca-cert.pem, server-cert.pem, server-key.pem"},
	{"--tls-psk", KIND_PATH, AT(tls_psk_file), "FILE  lines of user:hexkey"},
	{"--tls-verify-peer", KIND_FLAG, AT(tls_verify_peer), "clients must have a certificate of our CA"},
	{"--insecure-tcp", KIND_FLAG, AT(insecure_tcp), "let TCP clients in without TLS"},
	{"--allow-uid", KIND_UID, 0, "UID  let this user in besides root and our own"},
	{"--pid-file", KIND_PATH, AT(pid_file), "PATH  written when ready"},
	{"--daemonize", KIND_FLAG, AT(daemonize), "return when ready, serve in the background"},
	{"--fuse", KIND_PATH, AT(fuse_mount_point), "DIR  show the disk as files there"},
	{"--fuse-part-offset", KIND_U64, AT(fuse_part_offset_bytes), "N  first partition, bytes"},
	{"--fuse-part-length", KIND_U64, AT(fuse_part_length_bytes), "N  its length"},
	{"--fuse-allow-other", KIND_FLAG, AT(fuse_allow_other), "other users may come in"},
	{"--nbd-device", KIND_TEXT, AT(nbd_device), "NAME  connect an nbd device of the kernel, known by this name"},
	{"--control", KIND_PATH, AT(control), "PATH  let operations on the bundle ask for changes at this unix socket"},
	{"--no-changes", KIND_FLAG, AT(no_changes), "the control socket tells figures, and changes nothing"},
	{"--settings", KIND_PATH, AT(settings), "DESCRIPTOR  limits and the like from the file beside it"},
	{"--on-full", KIND_TEXT, AT(on_full), "wait|fail  when the host has no space, whatever the settings say"},
	{"--keeper", KIND_PATH, AT(keeper), "PATH  be started again after death by a process with this unix socket"},
	{"--resume", KIND_WORD, 0, "WORD  a word of the program that finds the images again after death"},
	{"--bundle-lock", KIND_U32, AT(bundle_lock_fd), "FD  lock of the bundle, closed when ready"},
	{"--debug", KIND_TEXT, AT(log_categories), "LIST  log lines of these categories"},
};

static void *field(const struct pl_serve_options *o, const struct row *row)
{
	return (char *)o + row->at;
}

/* ------------------------------------------------------------------ struct to words */

/* The words are made twice: counted, then written into one allocation. */
struct words {
	char **argv; /* NULL: count only */
	char *text;
	size_t count, bytes;
	const char *folder; /* put before paths that are not whole; NULL: they stay as they are */
};

static void add_word(struct words *w, const char *fmt, ...) PL_PRINTF(2, 3);
static void add_word(struct words *w, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *at = w->argv ? w->text + w->bytes : NULL;
	int n = vsnprintf(at, at ? SIZE_MAX / 2 : 0, fmt, ap);
	va_end(ap);
	if (w->argv)
		w->argv[w->count] = at;
	w->count++;
	w->bytes += (size_t)n + 1;
}

static void add_image(struct words *w, const char *name, const struct pl_image_ref *i)
{
	bool inside = i->dir_fd >= 0;
	add_word(w, "%s", name);
	add_word(w, "%s:%d:%s:%zu:%s:%s", i->format == PL_FORMAT_RAW ? "raw" : "ploop", inside ? i->dir_fd : -1,
		 i->guid, inside ? strlen(i->name) : 0, inside ? i->name : "", i->path ? i->path : "");
}

static void add_path(struct words *w, const char *name, const char *path)
{
	if (!path)
		return;
	bool is_whole = path[0] == '/' || !w->folder;
	add_word(w, "%s", name);
	add_word(w, "%s%s%s", is_whole ? "" : w->folder, is_whole ? "" : "/", path);
}

static void add_row(struct words *w, const struct pl_serve_options *o, const struct row *row)
{
	const void *p = field(o, row);
	switch (row->kind) {
	case KIND_FLAG:
		if (*(const bool *)p)
			add_word(w, "%s", row->name);
		break;
	case KIND_TEXT:
		if (*(const char *const *)p) {
			add_word(w, "%s", row->name);
			add_word(w, "%s", *(const char *const *)p);
		}
		break;
	case KIND_PATH:
		add_path(w, row->name, *(const char *const *)p);
		break;
	case KIND_U32:
	case KIND_U64: {
		uint64_t v = row->kind == KIND_U32 ? *(const uint32_t *)p : *(const uint64_t *)p;
		if (v) {
			add_word(w, "%s", row->name);
			add_word(w, "%" PRIu64, v);
		}
		break;
	}
	case KIND_IMAGE:
		for (size_t i = 0; i < o->chain.count; i++)
			add_image(w, row->name, &o->chain.images[i]);
		break;
	case KIND_UID:
		for (size_t i = 0; i < o->allow_uid_count; i++) {
			add_word(w, "%s", row->name);
			add_word(w, "%" PRIu32, o->allow_uids[i]);
		}
		break;
	case KIND_WORD:
		for (size_t i = 0; i < o->resume_count; i++) {
			add_word(w, "%s", row->name);
			add_word(w, "%s", o->resume[i]);
		}
		break;
	}
}

static void add_all(struct words *w, const char *program, const struct pl_serve_options *o)
{
	add_word(w, "%s", program);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		add_row(w, o, &rows[i]);
}

/* Beside the running program (the build tree), else where it was installed. */
static void find_program(char *out, size_t bytes)
{
	ssize_t n = readlink("/proc/self/exe", out, bytes - 1);
	if (n > 0) {
		out[n] = '\0';
		char *slash = strrchr(out, '/');
		size_t at = slash ? (size_t)(slash - out) + 1 : 0;
		if ((size_t)snprintf(out + at, bytes - at, "ploop-server") < bytes - at && access(out, X_OK) == 0)
			return;
	}
	snprintf(out, bytes, "%s/ploop-server", PLOOP_LIBEXECDIR);
}

/* @folder: see struct words. */
static char **make_argv(const char *program, const struct pl_serve_options *options, const char *folder,
			void (*add)(struct words *w, const char *program, const struct pl_serve_options *o))
{
	struct words w = {.folder = folder};
	add(&w, program, options);
	size_t pointers = (w.count + 1) * sizeof(char *);
	char **argv = calloc(1, pointers + w.bytes);
	if (!argv)
		return NULL;
	w = (struct words){.argv = argv, .text = (char *)argv + pointers, .folder = folder};
	add(&w, program, options);
	return argv;
}

char **pl_serve_argv(const struct pl_serve_options *options)
{
	char program[4096];
	find_program(program, sizeof(program));
	return make_argv(program, options, NULL, add_all);
}

/* The lock was let go long ago; who resumes finds images and takes a lock of his own. */
static void add_again(struct words *w, const char *program, const struct pl_serve_options *o)
{
	struct pl_serve_options again = *o;
	again.bundle_lock_fd = 0;
	if (o->resume_count == 0) {
		add_all(w, program, &again);
		return;
	}
	again.chain = (struct pl_chain_spec){0};
	for (size_t i = 0; i < o->resume_count; i++)
		add_word(w, "%s", o->resume[i]);
	add_all(w, "--", &again);
}

char **server_args_again(const struct pl_serve_options *options, const char *program)
{
	autofree char *folder = getcwd(NULL, 0);
	return folder ? make_argv(program, options, folder, add_again) : NULL;
}

/* Pointers only. */
static char **join_words(const char *const *before, char *const *words)
{
	size_t first = 0, second = 0;
	while (before && before[first])
		first++;
	while (words[second])
		second++;
	char **all = calloc(first + second + 1, sizeof(*all));
	for (size_t i = 0; all && i < first + second; i++)
		all[i] = i < first ? (char *)before[i] : words[i - first];
	return all;
}

int server_args_exec(const struct pl_serve_options *options, const char *const *before)
{
	autofree char **words = pl_serve_argv(options);
	autofree char **argv = words ? join_words(before, words) : NULL;
	if (!argv)
		return pl_fail(-ENOMEM, "no memory for the words of ploop-server");
	for (size_t i = 0; i < options->chain.count; i++)
		if (options->chain.images[i].dir_fd >= 0)
			fcntl(options->chain.images[i].dir_fd, F_SETFD, 0);
	if (options->bundle_lock_fd)
		fcntl((int)options->bundle_lock_fd, F_SETFD, 0);
	execv(argv[0], argv);
	return pl_fail(-errno, "%s: %s", argv[0], strerror(errno));
}

int pl_serve_exec(const struct pl_serve_options *options)
{
	return server_args_exec(options, NULL);
}

/* ------------------------------------------------------------------ words to struct */

static int parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || v > max)
		return pl_fail(-EINVAL, "%s: want a number up to %" PRIu64, text, max);
	*out = v;
	return 0;
}

/* The field up to the next colon, cut off in place. */
static char *cut(char **text)
{
	char *start = *text;
	char *colon = start ? strchr(start, ':') : NULL;
	if (!colon)
		return NULL;
	*colon = '\0';
	*text = colon + 1;
	return start;
}

static int parse_image(char *text, struct pl_image_ref *out)
{
	char *rest = text;
	const char *format = cut(&rest), *fd = cut(&rest), *guid = cut(&rest), *length = cut(&rest);
	uint64_t n = 0, dir_fd = 0;
	bool inside = fd && strcmp(fd, "-1") != 0;
	if (!length || parse_number(length, PATH_MAX, &n) < 0 || (inside && parse_number(fd, INT32_MAX, &dir_fd) < 0) ||
	    strlen(rest) < n + 1 || rest[n] != ':' || strlen(guid) > PL_GUID_TEXT)
		return pl_fail(-EINVAL, "--image %s: want FORMAT:FD:GUID:LENGTH:NAME:PATH", text);
	rest[n] = '\0';
	*out = (struct pl_image_ref){.name = rest, .path = rest + n + 1, .dir_fd = inside ? (int)dir_fd : -1};
	snprintf(out->guid, sizeof(out->guid), "%s", guid);
	if (strcmp(format, "raw") != 0 && strcmp(format, "ploop") != 0)
		return pl_fail(-EINVAL, "--image: format %s, known are ploop and raw", format);
	out->format = format[0] == 'r' ? PL_FORMAT_RAW : PL_FORMAT_PLOOP;
	if (inside)
		fcntl(out->dir_fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int parse_row(struct server_args *a, const struct row *row, char *value)
{
	struct pl_serve_options *o = &a->options;
	void *p = field(o, row);
	uint64_t v = 0;
	int r = 0;
	switch (row->kind) {
	case KIND_FLAG:
		*(bool *)p = true;
		break;
	case KIND_TEXT:
	case KIND_PATH:
		*(const char **)p = value;
		break;
	case KIND_U32:
		r = parse_number(value, UINT32_MAX, &v);
		*(uint32_t *)p = (uint32_t)v;
		break;
	case KIND_U64:
		r = parse_number(value, INT64_MAX, &v);
		*(uint64_t *)p = v;
		break;
	case KIND_IMAGE:
		if (o->chain.count == ARRAY_LEN(a->images))
			return pl_fail(-EINVAL, "more than %zu images", ARRAY_LEN(a->images));
		r = parse_image(value, &a->images[o->chain.count++]);
		break;
	case KIND_UID:
		if (o->allow_uid_count == ARRAY_LEN(a->uids))
			return pl_fail(-EINVAL, "more than %zu users", ARRAY_LEN(a->uids));
		r = parse_number(value, UINT32_MAX - 1, &v);
		a->uids[o->allow_uid_count++] = (uint32_t)v;
		break;
	case KIND_WORD:
		if (o->resume_count == ARRAY_LEN(a->resume))
			return pl_fail(-EINVAL, "more than %zu words", ARRAY_LEN(a->resume));
		a->resume[o->resume_count++] = value;
		break;
	}
	return r < 0 ? pl_wrap(r, "%s", row->name) : 0;
}

static const struct row *find_row(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

static int parse_words(struct server_args *a, int argc, char **argv)
{
	a->options = (struct pl_serve_options){
		.size = sizeof(a->options),
		.chain = {.size = sizeof(a->options.chain), .images = a->images},
		.allow_uids = a->uids,
		.resume = a->resume,
	};
	for (int i = 0; i < argc; i++) {
		a->help |= strcmp(argv[i], "--help") == 0;
		if (a->help)
			return 0;
		const struct row *row = find_row(argv[i]);
		if (!row)
			return pl_fail(-EINVAL, "%s: unknown option", argv[i]);
		if (row->kind != KIND_FLAG && i + 1 == argc)
			return pl_fail(-EINVAL, "%s wants a value", argv[i]);
		int r = parse_row(a, row, row->kind == KIND_FLAG ? NULL : argv[++i]);
		if (r < 0)
			return r;
	}
	return 0;
}

int server_args_parse(struct server_args *a, int argc, char **argv)
{
	int r = parse_words(a, argc - 1, argv + 1);
	if (r < 0 || a->help)
		return r;
	if (a->options.chain.count == 0)
		return pl_fail(-EINVAL, "no --image");
	if (a->options.bundle_lock_fd) /* ours: a holder that kept it would hold the lock */
		fcntl((int)a->options.bundle_lock_fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

int pl_serve_exec_again(char **words, size_t count, const struct pl_chain_spec *chain, int bundle_lock_fd)
{
	autofree struct server_args *a = calloc(1, sizeof(*a));
	if (!a)
		return pl_fail(-ENOMEM, "no memory for the words of ploop-server");
	int r = parse_words(a, (int)count, words);
	if (r < 0)
		return r;
	a->options.chain = *chain;
	a->options.bundle_lock_fd = (uint32_t)bundle_lock_fd;
	return pl_serve_exec(&a->options);
}

void server_args_help(void)
{
	printf("usage: ploop-server --image ... [options]\n"
	       "Serve one disk. People use `ploop serve` and `ploop mount`, which start this program.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		printf("  %s %s\n", rows[i].name, rows[i].help);
}
