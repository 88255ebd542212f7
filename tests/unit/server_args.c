/* The words that start ploop-server: what is said in a struct arrives as the same struct. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "kmod-free/server_args.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct server_args args;

static int parse(char **argv)
{
	int argc = 0;
	while (argv[argc])
		argc++;
	memset(&args, 0, sizeof(args));
	return server_args_parse(&args, argc, argv);
}

static int parse_text(const char *option, const char *value)
{
	static char image[] = "raw:-1::0::/disk", words[2][128];
	char copy[sizeof(image)];
	memcpy(copy, image, sizeof(image));
	snprintf(words[0], sizeof(words[0]), "%s", option);
	snprintf(words[1], sizeof(words[1]), "%s", value ? value : "");
	char *argv[] = {(char *)"ploop-server", (char *)"--image", copy, words[0], value ? words[1] : NULL, NULL};
	return parse(argv);
}

static void expect_all_flags(const struct pl_serve_options *got)
{
	cr_assert(got->chain.preallocated);
	cr_assert(got->readonly);
	cr_assert(got->no_partial);
	cr_assert(got->leave);
	cr_assert(got->daemonize);
	cr_assert(got->tls_verify_peer);
	cr_assert(got->insecure_tcp);
	cr_assert(got->fuse_allow_other);
}

Test(server_args, everything_said_arrives)
{
	static const struct pl_image_ref images[] = {
		{.path = "/b/base.hds", .name = "base.hds", .dir_fd = 77, .format = PL_FORMAT_RAW,
		 .guid = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"},
		{.path = "/odd: path\n:x", .name = "odd:name", .dir_fd = 78, .format = PL_FORMAT_PLOOP},
		{.path = "/named by:the operator", .dir_fd = -1, .format = PL_FORMAT_PLOOP},
	};
	static const uint32_t uids[] = {1000, 65534};
	const struct pl_serve_options said = {
		.size = sizeof(said),
		.chain = {.images = images, .count = 3, .cluster_sectors = 2048, .size_sectors = 1ull << 40,
			  .preallocated = true},
		.readonly = true,
		.no_partial = true,
		.leave = true,
		.export_name = "",
		.description = "two words",
		.socket = "/s",
		.tcp = "[::1]:10809",
		.pid_file = "/p",
		.daemonize = true,
		.tls_certificates = "/pki",
		.tls_psk_file = "/psk",
		.tls_verify_peer = true,
		.insecure_tcp = true,
		.allow_uids = uids,
		.allow_uid_count = 2,
		.fuse_mount_point = "/m",
		.fuse_part_offset_bytes = 1 << 20,
		.fuse_part_length_bytes = 1 << 30,
		.fuse_allow_other = true,
		.control = "/run/ploop/ctl-1-2",
		.keeper = "/run/ploop/ploop1/keeper",
		.resume = (const char *const[]){"/sbin/ploop", "server"},
		.resume_count = 2,
		.log_categories = "nbd,map",
	};
	char **argv = pl_serve_argv(&said);
	cr_assert(ne(ptr, argv, NULL));
	cr_assert(eq(int, parse(argv), 0), "%s", pl_error());
	const struct pl_serve_options *got = &args.options;
	cr_assert(eq(sz, got->chain.count, 3));
	for (size_t i = 0; i < 3; i++) {
		const struct pl_image_ref *g = &got->chain.images[i];
		cr_assert(eq(str, (char *)g->path, (char *)images[i].path));
		cr_assert(eq(int, g->dir_fd, images[i].dir_fd));
		cr_assert(eq(int, g->format, images[i].format));
		cr_assert(eq(str, (char *)g->guid, (char *)images[i].guid));
		if (g->dir_fd >= 0)
			cr_assert(eq(str, (char *)g->name, (char *)images[i].name));
	}
	cr_assert(eq(u32, got->chain.cluster_sectors, 2048u));
	cr_assert(eq(u64, got->chain.size_sectors, 1ull << 40));
	expect_all_flags(got);
	cr_assert(eq(str, (char *)got->export_name, ""));
	cr_assert(eq(str, (char *)got->description, "two words"));
	cr_assert(eq(str, (char *)got->tcp, "[::1]:10809"));
	cr_assert(eq(str, (char *)got->control, "/run/ploop/ctl-1-2"));
	cr_assert(eq(str, (char *)got->log_categories, "nbd,map"));
	cr_assert(eq(str, (char *)got->keeper, "/run/ploop/ploop1/keeper"));
	cr_assert(eq(sz, got->resume_count, 2));
	cr_assert(eq(str, (char *)got->resume[1], "server"));
	cr_assert(eq(sz, got->allow_uid_count, 2));
	cr_assert(eq(u32, got->allow_uids[1], 65534u));
	cr_assert(eq(u64, got->fuse_part_length_bytes, 1u << 30));

	free(argv);
}

static bool has_word(char **words, const char *word)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

Test(server_args, a_successor_is_started_by_who_finds_the_images_or_by_the_same_words)
{
	static const struct pl_image_ref image = {.path = "/a.hds", .dir_fd = -1, .format = PL_FORMAT_PLOOP};
	struct pl_serve_options o = {
		.size = sizeof(o),
		.chain = {.images = &image, .count = 1, .cluster_sectors = 64},
		.bundle_lock_fd = 9,
		.fuse_mount_point = "/m",
	};
	char **words = server_args_again(&o, "/libexec/ploop-server");
	cr_assert(eq(str, words[0], "/libexec/ploop-server"));
	cr_assert(has_word(words, "--image"));
	cr_assert(not(has_word(words, "--bundle-lock")), "it was let go");
	free(words);

	o.resume = (const char *const[]){"/sbin/ploop", "server", "resume", "/bundle"};
	o.resume_count = 4;
	words = server_args_again(&o, "/libexec/ploop-server");
	cr_assert(eq(str, words[0], "/sbin/ploop"));
	cr_assert(eq(str, words[4], "--"));
	cr_assert(not(has_word(words, "--image")));
	cr_assert(not(has_word(words, "--cluster-sectors")));
	cr_assert(has_word(words, "--fuse"));
	cr_assert(has_word(words, "--resume"), "the next one needs them too");
	free(words);
}

Test(server_args, wrong_words_are_refused)
{
	cr_assert(eq(int, parse_text("--nonsense", NULL), -EINVAL));
	cr_assert(eq(int, parse_text("--socket", NULL), -EINVAL));
	cr_assert(eq(int, parse_text("--cluster-sectors", "4294967296"), -EINVAL));
	cr_assert(eq(int, parse_text("--cluster-sectors", "-1"), -EINVAL));
	cr_assert(eq(int, parse_text("--size-sectors", "12x"), -EINVAL));
	cr_assert(eq(int, parse_text("--size-sectors", ""), -EINVAL));
	cr_assert(eq(int, parse_text("--image", "raw:-1::0:"), -EINVAL));
	cr_assert(eq(int, parse_text("--image", "qcow2:-1::0::/d"), -EINVAL));
	cr_assert(eq(int, parse_text("--image", "raw:3::5:name:/d"), -EINVAL));
	cr_assert(eq(int, parse_text("--image", "raw:3::99999999999999999999:name:/d"), -EINVAL));
	cr_assert(eq(int, parse_text("--image", "raw:-2::0::/d"), -EINVAL));
	cr_assert(eq(int, parse_text("--read-only", NULL), 0));
}

Test(server_args, no_image_is_refused)
{
	char *argv[] = {(char *)"ploop-server", (char *)"--read-only", NULL};
	cr_assert(eq(int, parse(argv), -EINVAL));
}

/* What the server starts does not keep the lock of the bundle. */
Test(server_args, the_lock_of_the_bundle_is_not_passed_on)
{
	char number[16];
	int fd = fcntl(STDERR_FILENO, F_DUPFD, 77); /* as it arrives */
	snprintf(number, sizeof(number), "%d", fd);
	cr_assert(eq(int, parse_text("--bundle-lock", number), 0), "%s", pl_error());
	cr_expect(eq(int, fcntl(fd, F_GETFD), FD_CLOEXEC));
	close(fd);
}
