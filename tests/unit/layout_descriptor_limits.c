/* DiskDescriptor.xml made to exhaust the reader, and the reader without memory. */
#include "bundle_sample.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

/* ---- limits: each large input ends soon, in little memory */

struct text {
	char *at;
	size_t n;
	FILE *f;
};

static FILE *text_begin(struct text *t)
{
	t->f = open_memstream(&t->at, &t->n);
	cr_assert(t->f != NULL);
	return t->f;
}

static void expect_limit(struct text *t, int err, const char *sentence)
{
	struct lay_desc_why why = {""};
	struct timespec start, end;
	struct rusage use;
	fclose(t->f);
	clock_gettime(CLOCK_MONOTONIC, &start);
	cr_expect(eq(int, parse_text(t->at, t->n, &why), err));
	clock_gettime(CLOCK_MONOTONIC, &end);
	cr_expect(strstr(why.text, sentence) != NULL, "%s", why.text);
	cr_expect(lt(int, (int)(end.tv_sec - start.tv_sec), 10));
	cr_expect(eq(int, getrusage(RUSAGE_SELF, &use), 0));
#ifndef __SANITIZE_ADDRESS__
	cr_expect(lt(long, use.ru_maxrss, 96 * 1024));
#endif
	free(t->at);
}

static void repeat(FILE *f, const char *piece, size_t times)
{
	while (times--)
		fputs(piece, f);
}

Test(layout_descriptor_limits, size_is_limited)
{
	struct text t;
	repeat(text_begin(&t), " ", LAY_DESC_MAX_BYTES + 1);
	expect_limit(&t, -EUCLEAN, "it is 4194305 bytes long, the limit is 4194304");
}

Test(layout_descriptor_limits, elements_are_limited)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<Virtuozzo_disk_image>", f);
	repeat(f, "<a/>", 1000000);
	fputs("</Virtuozzo_disk_image>", f);
	expect_limit(&t, -EUCLEAN, "element number 40961 at level 2: the limits are 40960 and 16");
}

Test(layout_descriptor_limits, attributes_are_limited)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<Virtuozzo_disk_image", f);
	for (int i = 0; i < 300000; i++)
		fprintf(f, " a%x=''", i);
	fputs("/>", f);
	expect_limit(&t, -EUCLEAN, "it has 300000 equal signs (attributes), the limit is 4096");
}

Test(layout_descriptor_limits, namespaces_under_the_limit_end_soon)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<p0:Virtuozzo_disk_image xmlns:p0='a'", f);
	for (int i = 1; i < (int)LAY_DESC_MAX_EQUAL_SIGNS; i++)
		fprintf(f, " xmlns:p%x='%x'", i, i);
	fputs(">", f);
	repeat(f, "<p0:a/>", LAY_DESC_MAX_ELEMENTS - 1);
	fputs("</p0:Virtuozzo_disk_image>", f);
	expect_limit(&t, -EUCLEAN, "has no element Disk_Parameters");
}

Test(layout_descriptor_limits, comments_and_instructions_take_no_memory)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<Virtuozzo_disk_image>", f);
	repeat(f, "<!----><?a?>", 300000);
	fputs("</Virtuozzo_disk_image>", f);
	expect_limit(&t, -EUCLEAN, "has no element Disk_Parameters");
}

Test(layout_descriptor_limits, images_are_limited)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<Virtuozzo_disk_image><Disk_Parameters/><StorageData><Storage><Blocksize>64</Blocksize>", f);
	repeat(f, "<Image/>", LAY_DESC_MAX_IMAGES + 1);
	fputs("</Storage></StorageData></Virtuozzo_disk_image>", f);
	expect_limit(&t, -EUCLEAN, "Storage has 4097 Images, expected 1 to 4096");
}

Test(layout_descriptor_limits, longest_possible_chain_is_read_soon)
{
	struct text t;
	FILE *f = text_begin(&t);
	fputs("<Virtuozzo_disk_image><Disk_Parameters/><StorageData><Storage><Blocksize>64</Blocksize>", f);
	for (unsigned i = 1; i <= LAY_DESC_MAX_IMAGES; i++)
		fprintf(f, "<Image><GUID>{%08x-0000-0000-0000-000000000000}</GUID><File>%u</File></Image>", i, i);
	fputs("</Storage></StorageData><Snapshots><TopGUID>{00000001-0000-0000-0000-000000000000}</TopGUID>", f);
	for (unsigned i = 1; i <= LAY_DESC_MAX_IMAGES; i++)
		fprintf(f,
			"<Shot><GUID>{%08x-0000-0000-0000-000000000000}</GUID>"
			"<ParentGUID>{%08x-0000-0000-0000-000000000000}</ParentGUID></Shot>",
			i, i % LAY_DESC_MAX_IMAGES + 1);
	fputs("</Snapshots></Virtuozzo_disk_image>", f);
	expect_limit(&t, -ELOOP, "is its own ancestor"); /* every node is walked before the cycle is seen */
}

/* ---- no memory: the N-th allocation fails, N = 1, 2, 3… until the run is clean */

#ifndef __SANITIZE_ADDRESS__ /* which has a malloc of its own */

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);

#define EXPORTED __attribute__((visibility("default"))) /* to libxml2 */

static long calls_left = -1; /* negative: none fails */

static bool fails(void)
{
	bool yes = calls_left == 0;
	calls_left -= calls_left >= 0;
	if (yes)
		errno = ENOMEM;
	return yes;
}

EXPORTED void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

EXPORTED void *calloc(size_t count, size_t n)
{
	return fails() ? NULL : __libc_calloc(count, n);
}

EXPORTED void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

enum outcome { REFUSED, SAME, CLEAN, WRONG };

static enum outcome parse_without(long call, const char *xml, size_t n)
{
	autodesc struct lay_desc d = {0};
	autofree char *got = NULL;
	struct lay_desc_why why = {""};
	size_t got_n;
	calls_left = call;
	int r = lay_desc_parse(xml, n, &d, &why);
	if (!r)
		r = lay_desc_write(&d, &got, &got_n);
	else if (!why.text[0])
		return WRONG;
	bool failed = calls_left < 0;
	calls_left = -1;
	if (r)
		return r == -ENOMEM && failed ? REFUSED : WRONG;
	if (strcmp(got, xml))
		return WRONG;
	return failed ? SAME : CLEAN;
}

/* In a process of its own: libxml2 (2.9.14) reads through NULL when it gets no memory for its input buffer. */
static int outcome_without(long call, const char *xml, size_t n)
{
	int status;
	pid_t child = fork();
	if (child == 0)
		_exit(parse_without(call, xml, n));
	cr_assert(eq(int, waitpid(child, &status, 0), child));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_told(const char *name)
{
	size_t n;
	autofree char *xml = read_sample(name, &n);
	int crashed_in_libxml2 = 0, outcome = REFUSED;
	long call;
	for (call = 0; outcome != CLEAN; call++) {
		outcome = outcome_without(call, xml, n);
		cr_assert(ne(int, outcome, WRONG), "%s: allocation %ld", name, call);
		crashed_in_libxml2 += outcome < 0;
	}
	cr_expect(gt(long, call, 100), "%s: only %ld allocations", name, call);
	cr_expect(le(int, crashed_in_libxml2, 1), "%s", name);
}

Test(layout_descriptor_limits, failing_allocation_is_told_and_nothing_left_out)
{
	expect_told("stable/unknown-elements");
	expect_told("stable/branch");
	expect_told("stable/encrypted");
	expect_told("stable/volume");
}

#endif
