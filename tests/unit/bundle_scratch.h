/* A folder per test with a bundle in it, d/, made from the samples in tests/bundles. */
#ifndef TEST_BUNDLE_SCRATCH_H
#define TEST_BUNDLE_SCRATCH_H

#include "bundle_sample.h"
#include "ploop/bundle.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#define XML "d/DiskDescriptor.xml"

static char scratch[4096]; /* canonical; the working directory of a test */

static inline void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	char template[4096];
	snprintf(template, sizeof(template), "%s/ploop-bundle.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(template) != NULL);
	cr_assert(realpath(template, scratch) != NULL);
	umask(022);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void teardown(void)
{
	nftw(scratch, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- making bundles */

static inline void enter(void)
{
	cr_assert(eq(int, chdir(scratch), 0));
	cr_assert(eq(int, mkdir("d", 0755), 0));
}

static inline void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	cr_assert(f != NULL, "%s: %s", path, strerror(errno));
	fputs(text, f);
	cr_assert(eq(int, fclose(f), 0));
}

static inline void get(const char *path, char *out, size_t room)
{
	FILE *f = fopen(path, "r");
	cr_assert(f != NULL, "%s: %s", path, strerror(errno));
	out[fread(out, 1, room - 1, f)] = '\0';
	fclose(f);
}

/* d/ with a descriptor of sample @name. */
static inline void make(const char *name)
{
	size_t n;
	autofree char *text = read_sample(name, &n);
	enter();
	put(XML, text);
}

/* d/ with a single-image descriptor whose File is @file, a leading "@" in it standing for the folder of the test. */
static inline void make_with_file(const char *file)
{
	char xml[16384];
	size_t n;
	autofree char *text = read_sample("stable/fresh", &n);
	const char *at = strstr(text, "root.hds");
	bool absolute = *file == '@';
	snprintf(xml, sizeof(xml), "%.*s%s%s%s", (int)(at - text), text, absolute ? scratch : "", file + absolute,
		 at + strlen("root.hds"));
	enter();
	put(XML, xml);
}

static inline struct pl_bundle *opened(const char *path, const char *const *outside)
{
	struct pl_bundle_options options = {.size = sizeof(options), .outside = outside};
	struct pl_bundle *b = NULL;
	cr_assert(eq(int, pl_bundle_open(path, &options, &b), 0), "%s", pl_error());
	return b;
}

/* Where the only image of d/ is. */
static inline struct pl_image_ref only_image(struct pl_bundle *b)
{
	struct pl_chain_spec chain;
	cr_assert(eq(int, pl_bundle_chain(b, NULL, &chain), 0), "%s", pl_error());
	cr_assert(eq(sz, chain.count, 1));
	return chain.images[0];
}

#endif
