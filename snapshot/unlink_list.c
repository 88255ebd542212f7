#include "snapshot/unlink_list.h"

#include "layout/descriptor_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MOST_BYTES (64 * KIB)

/* ---- writing */

static bool is_plain(const char *name)
{
	return name && *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int fail(const struct pl_bundle *b, const char *what, int err)
{
	return pl_fail(err, "%s: %s " UNLINK_LIST_NAME ": %s", b->folder, what, strerror(-err));
}

int unlink_list_set(const struct pl_bundle *b, int lock_fd, const char *const *names, size_t count)
{
	autofree char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	if (!f)
		return fail(b, "write", -ENOMEM);
	for (size_t i = 0; i < count; i++)
		if (is_plain(names[i]))
			fprintf(f, "%s\n", names[i]);
	if (fclose(f) || !text)
		return fail(b, "write", -ENOMEM);
	int r = folder_put_file(lock_fd, UNLINK_LIST_NAME, text, n, false);
	return r ? fail(b, "write", r) : 0;
}

/* ---- judging */

/* The length of @name without one ".{GUID}" at its end, or 0. */
static size_t without_guid(const char *name, size_t length)
{
	char text[sizeof(struct lay_guid)];
	struct lay_guid guid;
	if (length <= sizeof(text) || name[length - sizeof(text)] != '.')
		return 0;
	memcpy(text, name + length - (sizeof(text) - 1), sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	return lay_guid_parse(text, &guid) ? length - sizeof(text) : 0;
}

size_t unlink_list_stem(const char *name)
{
	size_t n = strlen(name);
	for (size_t shorter; (shorter = without_guid(name, n));)
		n = shorter;
	return n;
}

static bool is_named(const struct pl_bundle *b, const char *name)
{
	for (size_t i = 0; i < b->desc.count; i++)
		if (b->images[i].dir_fd >= 0 && !strcmp(b->images[i].name, name))
			return true;
	return false;
}

/* Is it called as images of this bundle are? */
static bool is_ours(const struct pl_bundle *b, const char *name)
{
	size_t n = unlink_list_stem(name);
	for (size_t i = 0; is_plain(name) && i < b->desc.count; i++) {
		const char *image = b->images[i].dir_fd >= 0 ? b->images[i].name : "";
		if (is_plain(image) && unlink_list_stem(image) == n && !strncmp(image, name, n))
			return true;
	}
	return false;
}

/* ---- sweeping */

static void tell(struct unlink_report *report, const struct pl_bundle *b, enum pl_log_level level, const char *name,
		 const char *what)
{
	pl_log(level, "snap", "%s file=%.200s bundle=%s", what, name, b->folder);
	char *longer = NULL;
	if (!report || asprintf(&longer, "%s%s%.200s: %s", report->text ? report->text : "", report->text ? "; " : "",
				name, what) < 0)
		return;
	free(report->text);
	report->text = longer;
}

static int remove_one(const struct pl_bundle *b, int lock_fd, const char *name, struct unlink_report *report)
{
	struct stat st;
	if (is_plain(name) && is_named(b, name))
		return 0;
	if (!is_ours(b, name)) {
		tell(report, b, PL_LOG_WARN, lay_shown(name).text,
		     "listed for removal, but not called like an image of this disk: kept");
		return 0;
	}
	if (fstatat(lock_fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode)) {
		tell(report, b, PL_LOG_WARN, name, "listed for removal, but not a regular file: kept");
		return 0;
	}
	if (unlinkat(lock_fd, name, 0))
		return -errno;
	if (st.st_nlink == 1)
		survive_forget_image(st.st_dev, st.st_ino);
	tell(report, b, PL_LOG_INFO, name, "removed, nothing needs it");
	return 0;
}

static int read_list(const struct pl_bundle *b, char **out)
{
	struct pl_image_ref ref = {.path = UNLINK_LIST_NAME, .name = UNLINK_LIST_NAME, .dir_fd = b->folder_fd};
	uint64_t n, space;
	autofd int fd = pl_image_open_fd(&ref, O_RDONLY);
	if (fd < 0)
		return fd;
	int r = file_length(fd, &n, &space, UNLINK_LIST_NAME);
	if (r)
		return r;
	if (n > MOST_BYTES)
		return pl_fail(-EUCLEAN, "%s: " UNLINK_LIST_NAME " has %llu bytes, the limit is %llu", b->folder,
			       (unsigned long long)n, (unsigned long long)MOST_BYTES);
	autofree char *text = calloc(1, n + 1);
	if (!text)
		return fail(b, "read", -ENOMEM);
	r = file_read(fd, text, n, 0, UNLINK_LIST_NAME);
	if (!r)
		*out = mem_steal(&text);
	return r;
}

int unlink_list_sweep(struct pl_bundle *b, int lock_fd, struct unlink_report *report)
{
	autofree char *text = NULL;
	int r = bundle_reload(b); /* what is named is decided by what is on disk */
	if (r)
		return r;
	folder_drop_temp(lock_fd, LAY_DESC_NAME);
	folder_drop_temp(lock_fd, UNLINK_LIST_NAME);
	r = read_list(b, &text);
	if (r)
		return r == -ENOENT ? pl_error_clear(), 0 : r;
	for (char *line = text, *next; !r && *line; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = '\0';
		r = remove_one(b, lock_fd, line, report);
	}
	if (!r && fsync(lock_fd)) /* the files are gone before the list is */
		r = -errno;
	if (!r && (unlinkat(lock_fd, UNLINK_LIST_NAME, 0) || fsync(lock_fd)))
		r = -errno;
	return r ? fail(b, "follow", r) : 0;
}
