/* The file of settings beside a descriptor: what is stored is loaded, and what is not understood is refused. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/units.h"
#include "ploop.h"

static char folder[] = "/tmp/ploop-settings.XXXXXX";
static char descriptor[64], file[128];

static void setup(void)
{
	cr_assert(ne(ptr, mkdtemp(folder), NULL));
	snprintf(descriptor, sizeof(descriptor), "%s/DiskDescriptor.xml", folder);
	snprintf(file, sizeof(file), "%s.settings", descriptor);
}

static void teardown(void)
{
	unlink(file);
	rmdir(folder);
}

TestSuite(ploop_settings, .init = setup, .fini = teardown, .timeout = 30);

static struct pl_settings load(int want)
{
	struct pl_settings s = {.size = sizeof(s)};
	pl_error_clear();
	int r = pl_settings_load(descriptor, &s);
	cr_assert(eq(int, r, want), "%s", pl_error());
	cr_assert(eq(int, pl_error()[0] != '\0', r < 0));
	return s;
}

static void put(const char *text, size_t bytes)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(sz, (size_t)write(fd, text, bytes), bytes));
	close(fd);
}

Test(ploop_settings, without_a_file_nothing_is_limited)
{
	struct pl_settings s = load(0);
	cr_expect(eq(u64, s.limits.bytes_per_s, 0));
	cr_expect(eq(u64, s.limits.requests_per_s, 0));
	cr_expect(eq(int, s.on_full, PL_FULL_WAITS));
	cr_expect(eq(sz, s.limits.size, sizeof(s.limits)));
}

Test(ploop_settings, what_is_stored_is_loaded)
{
	struct pl_settings s = {sizeof(s), {sizeof(s.limits), 20 << 20, 300, 60000}, PL_FULL_FAILS};
	cr_assert(eq(int, pl_settings_store(descriptor, &s), 0), "%s", pl_error());
	struct pl_settings got = load(0);
	cr_expect(eq(u64, got.limits.bytes_per_s, 20 << 20));
	cr_expect(eq(u64, got.limits.requests_per_s, 300));
	cr_expect(eq(u32, got.limits.burst_ms, 60000));
	cr_expect(eq(int, got.on_full, PL_FULL_FAILS));
	s.limits.bytes_per_s = PL_LIMIT_MAX;
	cr_assert(eq(int, pl_settings_store(descriptor, &s), 0), "%s", pl_error());
	cr_expect(eq(u64, load(0).limits.bytes_per_s, PL_LIMIT_MAX));
}

Test(ploop_settings, a_line_may_lack)
{
	static const char text[] = "ploop-settings 1\n\niopslimit 7\n";
	put(text, strlen(text));
	struct pl_settings s = load(0);
	cr_expect(eq(u64, s.limits.requests_per_s, 7));
	cr_expect(eq(u64, s.limits.bytes_per_s, 0));
}

Test(ploop_settings, what_is_not_understood_is_refused)
{
	static const char *const texts[] = {
		"",
		"\n",
		"ploop-settings 2\n",
		"ploop-settings 1 \n",
		"iolimit 1\n",
		"ploop-settings 1\niolimit\n",
		"ploop-settings 1\niolimit \n",
		"ploop-settings 1\niolimit -1\n",
		"ploop-settings 1\niolimit +1\n",
		"ploop-settings 1\niolimit  1\n",
		"ploop-settings 1\niolimit 1M\n",
		"ploop-settings 1\niolimit 1 \n",
		"ploop-settings 1\niolimit 0x10\n",
		"ploop-settings 1\niolimit 1125899906842625\n",
		"ploop-settings 1\niolimit 99999999999999999999999\n",
		"ploop-settings 1\niopslimit 1125899906842625\n",
		"ploop-settings 1\nburst_ms 60001\n",
		"ploop-settings 1\non_full perhaps\n",
		"ploop-settings 1\non_full\n",
		"ploop-settings 1\n iolimit 1\n",
		"ploop-settings 1\niolimi 1\n",
		"ploop-settings 1\niolimits 1\n",
		"ploop-settings 1\niolimit 1\niolimit 1\n",
		"ploop-settings 1\r\niolimit 1\r\n",
	};
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		put(texts[i], strlen(texts[i]));
		load(-EUCLEAN);
	}
	put("ploop-settings 1\niolimit 1\0\n", 28);
	load(-EUCLEAN);
}

Test(ploop_settings, a_file_too_long_is_refused)
{
	static char text[5000];
	memset(text, '\n', sizeof(text));
	memcpy(text, "ploop-settings 1", 16);
	put(text, 4096);
	load(0);
	put(text, 4097);
	load(-EUCLEAN);
}

Test(ploop_settings, no_other_file_is_read)
{
	cr_assert(eq(int, symlink("/etc/passwd", file), 0));
	load(-ELOOP);
	unlink(file);
	cr_assert(eq(int, mkfifo(file, 0600), 0));
	load(-EMEDIUMTYPE);
}

Test(ploop_settings, what_would_be_refused_is_not_stored)
{
	struct pl_settings s = {.size = sizeof(s), .limits = {sizeof(s.limits), PL_LIMIT_MAX + 1, 0, 0}};
	cr_expect(eq(int, pl_settings_store(descriptor, &s), -EINVAL));
	s.limits = (struct pl_limits){sizeof(s.limits), 0, 0, 60001};
	cr_expect(eq(int, pl_settings_store(descriptor, &s), -EINVAL));
	cr_expect(eq(int, access(file, F_OK), -1));
}
