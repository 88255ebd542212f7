/* What an operator wants of a disk, besides what the descriptor says: DiskDescriptor.xml.settings, beside it.
 *
 *	ploop-settings 1
 *	iolimit 20971520       bytes a second, reads and writes together; 0: no limit
 *	iopslimit 300          requests a second; 0: no limit
 *	burst_ms 100           after a pause so much time's worth goes at once
 *	on_full wait           or fail: what a write does that finds no space on the host
 *
 * Each line once or not at all, in any order after the first. What is not understood is refused (D9); the file is
 * replaced as a whole, as the descriptor is (D6). Without it nothing is limited, and writes wait. */
#include "ploop/bundle.h"

#include "ploop/door.h"
#include "ploop/image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SUFFIX     ".settings"
#define FIRST_LINE "ploop-settings 1"
#define MOST_BYTES 4096u
#define NAME_BYTES 48u /* with the ending of the file that replaces it, a short name */

enum key { KEY_IOLIMIT, KEY_IOPSLIMIT, KEY_BURST, KEY_ON_FULL, KEYS };
static const char *const keys[KEYS] = {"iolimit", "iopslimit", "burst_ms", "on_full"};
static const char *const on_full_words[] = {"wait", "fail"};

struct place {
	char name[NAME_BYTES]; /* of the file */
	int folder;            /* open for reading: the caller closes it */
	const char *descriptor;
};

static int open_place(const char *descriptor, struct place *out)
{
	const char *slash = strrchr(descriptor, '/');
	const char *name = slash ? slash + 1 : descriptor;
	autofree char *folder = slash ? strndup(descriptor, (size_t)(slash - descriptor) + 1) : strdup(".");
	if (!folder)
		return pl_fail(-ENOMEM, "no memory for the settings of %s", descriptor);
	*out = (struct place){.descriptor = descriptor};
	if (snprintf(out->name, sizeof(out->name), "%s" SUFFIX, name) >= (int)sizeof(out->name))
		return pl_fail(-ENAMETOOLONG, "%s: the name is too long for a file of settings beside it", descriptor);
	out->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return out->folder < 0 ? pl_fail(-errno, "%s: %s", folder, strerror(errno)) : 0;
}

/* ------------------------------------------------------------------ reading */

static int bad(const struct place *p, const char *line, const char *why)
{
	return pl_fail(-EUCLEAN, "%s" SUFFIX ": \"%.60s\": %s; remove the file, or set it anew", p->descriptor, line,
		       why);
}

static bool read_number(const char *text, uint64_t most, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *out <= most;
}

static bool read_value(enum key key, const char *text, struct pl_settings *out)
{
	uint64_t n = 0;
	switch (key) {
	case KEY_IOLIMIT:
		return read_number(text, PL_LIMIT_MAX, &out->limits.bytes_per_s);
	case KEY_IOPSLIMIT:
		return read_number(text, PL_LIMIT_MAX, &out->limits.requests_per_s);
	case KEY_BURST:
		if (!read_number(text, DOOR_MAX_BURST_MS, &n))
			return false;
		out->limits.burst_ms = (uint32_t)n;
		return true;
	case KEY_ON_FULL:
		for (size_t i = 0; i < ARRAY_LEN(on_full_words); i++) {
			if (strcmp(text, on_full_words[i]) == 0) {
				out->on_full = (enum pl_on_full)i;
				return true;
			}
		}
		return false;
	case KEYS:
		break;
	}
	return false;
}

static int read_line(const struct place *p, char *line, bool seen[KEYS], struct pl_settings *out)
{
	char *value = strchr(line, ' ');
	size_t n = value ? (size_t)(value - line) : 0;
	for (int key = 0; key < KEYS; key++) {
		if (strlen(keys[key]) != n || memcmp(keys[key], line, n) != 0)
			continue;
		if (seen[key])
			return bad(p, line, "it is said twice");
		seen[key] = true;
		return read_value((enum key)key, value + 1, out) ? 0 : bad(p, line, "the value is not understood");
	}
	return bad(p, line, "not a setting");
}

static int decode(const struct place *p, char *text, size_t bytes, struct pl_settings *out)
{
	bool seen[KEYS] = {false};
	char *line, *rest = text;
	if (strlen(text) != bytes)
		return bad(p, text, "a zero byte in the file");
	line = strsep(&rest, "\n");
	if (strcmp(line, FIRST_LINE) != 0)
		return bad(p, line, "the first line is not \"" FIRST_LINE "\"");
	while ((line = strsep(&rest, "\n"))) {
		int r = *line ? read_line(p, line, seen, out) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int load(const struct place *p, struct pl_settings *out)
{
	char text[MOST_BYTES + 1];
	uint64_t bytes, space;
	struct pl_image_ref ref = {.path = p->name, .name = p->name, .dir_fd = p->folder};
	autofd int fd = pl_image_open_fd(&ref, O_RDONLY);
	if (fd == -ENOENT)
		return pl_error_clear(), 0;
	if (fd < 0)
		return pl_wrap(fd, "settings of %s", p->descriptor);
	int r = file_length(fd, &bytes, &space, p->name);
	if (r == 0 && bytes > MOST_BYTES)
		return bad(p, "", "the file is longer than settings can be");
	if (r == 0)
		r = file_read(fd, text, bytes, 0, p->name);
	if (r < 0)
		return pl_wrap(r, "settings of %s", p->descriptor);
	text[bytes] = '\0';
	return decode(p, text, bytes, out);
}

int pl_settings_load(const char *descriptor, struct pl_settings *out)
{
	struct place p;
	struct pl_settings s = {.size = out->size, .limits = {.size = sizeof(s.limits)}};
	int r = open_place(descriptor, &p);
	if (r < 0)
		return r;
	r = load(&p, &s);
	close(p.folder);
	if (r == 0)
		memcpy(out, &s, MIN(out->size, sizeof(s)));
	return r;
}

/* ------------------------------------------------------------------ writing */

int pl_settings_store(const char *descriptor, const struct pl_settings *settings)
{
	char text[MOST_BYTES];
	struct pl_settings s = {.size = sizeof(s)};
	memcpy(&s, settings, MIN(settings->size, sizeof(s)));
	if (s.limits.burst_ms > DOOR_MAX_BURST_MS || s.limits.bytes_per_s > PL_LIMIT_MAX ||
	    s.limits.requests_per_s > PL_LIMIT_MAX || (size_t)s.on_full >= ARRAY_LEN(on_full_words))
		return pl_fail(-EINVAL, "settings of %s: out of range", descriptor);
	int n = snprintf(text, sizeof(text),
			 FIRST_LINE "\n%s %" PRIu64 "\n%s %" PRIu64 "\n%s %" PRIu32 "\n%s %s\n", keys[KEY_IOLIMIT],
			 s.limits.bytes_per_s, keys[KEY_IOPSLIMIT], s.limits.requests_per_s, keys[KEY_BURST],
			 s.limits.burst_ms, keys[KEY_ON_FULL], on_full_words[s.on_full]);
	struct place p;
	int r = open_place(descriptor, &p);
	if (r < 0)
		return r;
	r = folder_put_file(p.folder, p.name, text, (size_t)n, false);
	close(p.folder);
	return r < 0 ? pl_fail(r, "%s" SUFFIX ": %s", descriptor, strerror(-r)) : 0;
}
